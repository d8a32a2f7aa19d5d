"""Functions as trees: what the generator of loops makes, and the reducer takes apart. As binary modules, and as text.

A node is a statement or an expression: its instruction, immediates, and operands. Blocks, loops and ifs have a label
for their first immediate; `then` and `else` are nodes below an `if`, whose first operand is the condition. Statements
have no value, so blocks have none.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from tests.wasm_bytes import (
    CODE,
    EXPORT,
    FUNCTION,
    GLOBAL,
    MEMORY,
    TYPE,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit.wasm.ops import OP_BY_NAME
from wasmjit.wasm.types import UNKNOWN, valtype_name

VALTYPES = {"i32": b"\x7f", "i64": b"\x7e", "f32": b"\x7d", "f64": b"\x7c"}
# Of every function: trip count, small number or modulus, two base addresses, two seeds.
PARAMS = {"n": "i32", "m": "i32", "a": "i32", "b": "i32", "s": "i64", "x": "f64"}
RESULT = "i64"
# Of every module, mutable.
GLOBALS = {"g0": "i32", "g1": "i64"}
PAGE_BYTES = 65536
STRUCTURED = ("block", "loop", "if")


class Node(NamedTuple):
    """An instruction with its immediates and operands."""

    op: str
    immediates: tuple[Any, ...] = ()
    operands: tuple[Node, ...] = ()


class Function(NamedTuple):
    """A function of type PARAMS -> RESULT: its locals' types by name, its statements, its result."""

    locals: Mapping[str, str]
    body: tuple[Node, ...]
    result: Node


class MemoryShape(NamedTuple):
    """The memory that functions have."""

    pages: int = 1
    is_64: bool = False


def const(valtype: str, value: Any) -> Node:
    """A constant; integers of any sign."""
    if valtype in ("i32", "i64"):
        bits = 32 if valtype == "i32" else 64
        value &= (1 << bits) - 1
        value -= (value >> (bits - 1)) << bits
    return Node(f"{valtype}.const", (value,))


def get(local: str) -> Node:
    """The value of a local."""
    return Node("local.get", (local,))


def put(local: str, value: Node) -> Node:
    """A store to a local."""
    return Node("local.set", (local,), (value,))


def op(instruction: str, *operands: Node) -> Node:
    """An instruction without immediates."""
    return Node(instruction, (), operands)


@cache
def _row(instruction: str) -> tuple[bytes, tuple[str, ...], str]:
    row = OP_BY_NAME[instruction]
    code = bytes([row.code]) if row.code < 256 else bytes([row.code >> 8]) + unsigned(row.code & 255)
    result = valtype_name(row.result) if row.result != UNKNOWN else ""
    return code, tuple(valtype_name(t) for t in row.params), result


def type_of(node: Node, types: Mapping[str, str]) -> str:
    """The value's type, empty for statements; `types` are those of parameters and locals."""
    if node.op in ("local.get", "local.tee"):
        return types[node.immediates[0]]
    if node.op == "global.get":
        return GLOBALS[node.immediates[0]]
    if node.op == "select":
        return type_of(node.operands[0], types)
    if node.op.endswith(".const"):
        return node.op[:3]
    if (
        node.op in ("local.set", "global.set", "drop", "br", "br_if", "then", "else", *STRUCTURED)
        or "memory." in node.op
    ):
        return ""
    return _row(node.op)[2]


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for operand in node.operands:
        yield from walk(operand)


def size(function: Function) -> int:
    """How many instructions it has."""
    return sum(1 for node in (*function.body, function.result) for _ in walk(node))


class _Encoder:
    def __init__(self, indices: Mapping[str, int]) -> None:
        self.indices = indices
        self.out = bytearray()
        self.labels: list[str] = []

    def encode(self, node: Node) -> None:
        """Appends the instructions of `node`."""
        instruction, immediates, operands = node
        if instruction in STRUCTURED:
            self._structured(node)
            return
        for operand in operands:
            self.encode(operand)
        out = self.out
        if instruction.startswith("local."):
            code = {"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}[instruction]
            out += bytes([code]) + unsigned(self.indices[immediates[0]])
        elif instruction.endswith(".const"):
            self._const(instruction, immediates[0])
        elif instruction.startswith("global."):
            out += bytes([0x23 + (instruction == "global.set"), list(GLOBALS).index(immediates[0])])
        elif instruction in ("br", "br_if"):
            depth = self.labels[::-1].index(immediates[0])
            out += bytes([0x0C + (instruction == "br_if")]) + unsigned(depth)
        elif instruction == "memory.copy":
            out += b"\xfc\x0a\0\0"
        elif instruction == "memory.fill":
            out += b"\xfc\x0b\0"
        else:
            out += _row(instruction)[0]
            if immediates:  # of a load or store: offset and alignment
                out += unsigned(immediates[1]) + unsigned(immediates[0])

    def _const(self, instruction: str, value: Any) -> None:
        if instruction[0] == "i":
            self.out += (b"\x41" if instruction[1] == "3" else b"\x42") + signed(value)
        else:
            self.out += struct.pack("<Bf" if instruction[1] == "3" else "<Bd", 0x43 + (instruction[1] == "6"), value)

    def _structured(self, node: Node) -> None:
        operands = node.operands
        if node.op == "if":
            self.encode(operands[0])
            operands = operands[1:]
        self.labels.append(node.immediates[0])
        self.out += bytes([{"block": 2, "loop": 3, "if": 4}[node.op], 0x40])
        for operand in operands:
            if operand.op == "else":
                self.out.append(5)
            for statement in operand.operands if operand.op in ("then", "else") else (operand,):
                self.encode(statement)
        self.out.append(0x0B)
        self.labels.pop()


def _body(function: Function) -> bytes:
    names = [*PARAMS, *function.locals]
    encoder = _Encoder({local: index for index, local in enumerate(names)})
    for statement in function.body:
        encoder.encode(statement)
    encoder.encode(function.result)
    runs = itertools.groupby(function.locals.values())
    declared = vector(*[unsigned(len(list(run))) + VALTYPES[t] for t, run in runs])
    code = declared + bytes(encoder.out) + b"\x0b"
    return unsigned(len(code)) + code


def binary(functions: list[Function], memory: MemoryShape, is_shared: bool = False) -> bytes:
    """A module that exports the functions as f0, f1, ... and its memory as m."""
    functype = b"\x60" + vector(*[VALTYPES[t] for t in PARAMS.values()]) + vector(VALTYPES[RESULT])
    pages = unsigned(memory.pages)
    exports = [name(f"f{index}") + b"\0" + unsigned(index) for index in range(len(functions))]
    exports.append(name("m") + b"\2\0")
    zeros = {"i32": b"\x41\0\x0b", "i64": b"\x42\0\x0b"}
    exports += [name(g) + b"\3" + unsigned(index) for index, g in enumerate(GLOBALS)]
    return module(
        section(TYPE, vector(functype)),
        section(FUNCTION, vector(*[b"\0"] * len(functions))),
        section(MEMORY, vector(bytes([1 | 2 * is_shared | 4 * memory.is_64]) + pages + pages)),
        section(GLOBAL, vector(*[VALTYPES[t] + b"\1" + zeros[t] for t in GLOBALS.values()])),
        section(EXPORT, vector(*exports)),
        section(CODE, vector(*map(_body, functions))),
    )


def _number(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return value.hex() if value == value and abs(value) != float("inf") else repr(value)


def _inline(node: Node) -> str:
    words = [node.op]
    if node.op.endswith(".const"):
        words.append(_number(node.immediates[0]))
    elif ".load" in node.op or ".store" in node.op:
        offset, align = node.immediates
        words += [f"offset={offset}"] * (offset != 0) + [f"align={1 << align}"]
    else:
        words += [f"${immediate}" for immediate in node.immediates]
    return "(" + " ".join(words + [_inline(operand) for operand in node.operands]) + ")"


def _lines(node: Node, indent: str) -> Iterator[str]:
    if node.op not in (*STRUCTURED, "then", "else"):
        yield indent + _inline(node)
        return
    head = node.op + "".join(f" ${label}" for label in node.immediates)
    operands = node.operands
    if node.op == "if":
        head += " " + _inline(operands[0])
        operands = operands[1:]
    yield f"{indent}({head}"
    for operand in operands:
        yield from _lines(operand, indent + "  ")
    yield indent + ")"


def text(function: Function, memory: MemoryShape) -> str:
    """A module of the function alone, as text."""
    params = " ".join(f"(param ${p} {t})" for p, t in PARAMS.items())
    lines = ["(module", f'  (memory (export "m") {"i64 " * memory.is_64}{memory.pages} {memory.pages})']
    if any(node.op.startswith("global.") for s in (*function.body, function.result) for node in walk(s)):
        lines += [f'  (global ${g} (export "{g}") (mut {t}) ({t}.const 0))' for g, t in GLOBALS.items()]
    lines.append(f'  (func (export "f0") {params} (result {RESULT})')
    if function.locals:
        lines.append("    " + " ".join(f"(local ${p} {t})" for p, t in function.locals.items()))
    for statement in (*function.body, function.result):
        lines += _lines(statement, "    ")
    closed = [*lines[:-1], lines[-1] + "))"]
    return _without_lone_brackets(closed)


def _without_lone_brackets(lines: list[str]) -> str:
    out: list[str] = []
    for line in lines:
        if line.strip(" )") == "" and out:
            out[-1] += line.strip()
        else:
            out.append(line)
    return "\n".join(out) + "\n"
