"""Random programs are interpreted, and continued in compiled code from where a loop begins: the outcome is the same.

Also where that code is left for better code at some loop later.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.test_loop_entries import Activation, loops_of, module_of
from wasmjit import thresholds
from wasmjit.errors import CompileError

NUM_PARAMS, NUM_LOCALS = 2, 6
FUEL = NUM_LOCALS  # the local that counts down, so that every program ends
MEMORY_BYTES = 64
MASK = 0xFFFFFFFF
# A program is made of tuples: a kind, which is the instruction's name, and what it consists of.
Node = tuple[Any, ...]
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "xor": lambda a, b: a ^ b,
    "and": lambda a, b: a & b,
    "lt_u": lambda a, b: int(a < b),
    "eq": lambda a, b: int(a == b),
}


class Generator:
    """Makes programs. `depth` is how many labels there are around statements; in expressions they count anew."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def program(self) -> list[Node]:
        """Statements with a loop among them for sure."""
        return [*self.statements(0, 3), self.loop(self.statements(1, 4)), *self.statements(0, 3)]

    def loop(self, body: list[Node]) -> Node:
        """A loop that begins again if a condition holds."""
        return ("loop", [*body, ("br_if", 0, self.expression(2))])

    def local(self) -> int:
        return self.random.randrange(NUM_LOCALS)

    def statements(self, depth: int, size: int) -> list[Node]:
        return [self.statement(depth, size - 1) for _ in range(self.random.randint(1, 1 + size))]

    def statement(self, depth: int, size: int) -> Node:
        kinds = ["set", "set", "store", "drop", "br_table"] + ["br_if"] * (depth > 0)
        if size > 0:
            kinds += ["block", "loop", "loop", "if", "if"]
        kind = self.random.choice(kinds)
        if kind == "set":
            return (kind, self.local(), self.expression(2))
        if kind == "store":
            return (kind, self.expression(1), self.expression(2))
        if kind == "drop":
            return (kind, self.expression(2))
        if kind == "br_if":
            return (kind, self.random.randrange(depth), self.expression(2))
        if kind == "br_table":
            targets = [self.random.randrange(depth + 1) for _ in range(self.random.randint(1, 4))]
            # In an arm, so that what follows is not dead.
            return ("if", self.expression(1), [(kind, targets, self.expression(1))], [])
        if kind == "if":
            arms = [self.statements(depth + 1, size - 1) if self.random.random() < 0.8 else [] for _ in range(2)]
            return (kind, self.expression(2), *arms)
        body = self.statements(depth + 1, size)
        return self.loop(body) if kind == "loop" else (kind, body)

    def expression(self, size: int) -> Node:
        kinds = ["get", "get", "constant"]
        if size > 0:
            kinds += ["load", "operation", "operation", "operation", "tee", "choice"]
        if size > 1 and self.random.random() < 0.1:
            kinds = ["block_value"]
        kind = self.random.choice(kinds)
        if kind == "get":
            return (kind, self.local())
        if kind == "constant":
            return (kind, self.random.choice((0, 1, 2, 3, 100, MASK)))
        if kind == "load":
            return (kind, self.expression(size - 1))
        if kind == "tee":
            return (kind, self.local(), self.expression(size - 1))
        if kind == "choice":
            return (kind, *(self.expression(size - 1) for _ in range(3)))
        if kind == "block_value":  # statements where there may be operands on the stack
            return (kind, self.statements(1, 2), self.expression(1))
        return (kind, self.random.choice(list(OPERATIONS)), self.expression(size - 1), self.expression(size - 1))


# ---- as text ----


def text(node: Node) -> str:
    """A node in the text format."""
    kind, *parts = node
    if kind == "get":
        return f"(local.get {parts[0]})"
    if kind == "constant":
        return f"(i32.const {parts[0]})"
    if kind == "load":
        return f"(i32.load (i32.and {text(parts[0])} (i32.const {MEMORY_BYTES - 4})))"
    if kind == "operation":
        return f"(i32.{parts[0]} {text(parts[1])} {text(parts[2])})"
    if kind in ("tee", "set"):
        return f"(local.{kind} {parts[0]} {text(parts[1])})"
    if kind == "choice":
        return f"(if (result i32) {text(parts[0])} (then {text(parts[1])}) (else {text(parts[2])}))"
    if kind == "block_value":
        # The statements have a block of their own: branches to the value's label would have to bring a value.
        return f"(block (result i32) (block {texts(parts[0])}) {text(parts[1])})"
    if kind == "store":
        return f"(i32.store (i32.and {text(parts[0])} (i32.const {MEMORY_BYTES - 4})) {text(parts[1])})"
    if kind == "drop":
        return f"(drop {text(parts[0])})"
    if kind == "br_if":
        return f"(br_if {parts[0]} {text(parts[1])})"
    if kind == "br_table":
        return f"(br_table {' '.join(map(str, parts[0]))} {text(parts[1])})"
    if kind == "if":
        return f"(if {text(parts[0])} (then {texts(parts[1])}) (else {texts(parts[2])}))"
    if kind == "block":
        return f"(block {texts(parts[0])})"
    count_down = f"(br_if $out (i32.eqz (local.tee {FUEL} (i32.sub (local.get {FUEL}) (i32.const 1)))))"
    return f"(loop {count_down} {texts(parts[0])})"


def texts(nodes: list[Node]) -> str:
    return " ".join(map(text, nodes))


def module_text(program: list[Node]) -> str:
    """The whole module; the result mixes all locals."""
    total = "(i32.const 0)"
    for index in range(NUM_LOCALS):
        total = f"(i32.add (i32.mul {total} (i32.const 31)) (local.get {index}))"
    declared = "i32 " * (NUM_LOCALS + 1 - NUM_PARAMS)
    return (
        f"(module (memory 1) (func (param{' i32' * NUM_PARAMS}) (result i32) (local {declared})"
        f" (local.set {FUEL} (i32.const 60)) (block $out {texts(program)}) {total}))"
    )


# ---- interpreted ----


class Ended(Exception):
    """The program has begun loops often enough."""


class Branch(Exception):
    """To the label that is `depth` labels further out."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


class Interpreter:
    """Runs a program and notes the state whenever a loop begins: its number in the text, locals, memory."""

    def __init__(self, program: list[Node]) -> None:
        self.program = program
        self.locals = [0] * NUM_LOCALS + [60]
        self.memory = bytearray(range(MEMORY_BYTES))
        self.begun: list[tuple[int, list[int], bytes]] = []
        self.numbers: dict[int, int] = {}
        self._number(program)

    def _number(self, part: Any) -> None:
        """Numbers the loops in the order of the text."""
        if isinstance(part, tuple) and part and part[0] == "loop":
            self.numbers[id(part)] = len(self.numbers)
        if isinstance(part, (tuple, list)):
            for inner in part:
                self._number(inner)

    def run(self, *arguments: int) -> int:
        self.locals[: len(arguments)] = arguments
        with contextlib.suppress(Ended):
            self.statements(self.program)
        total = 0
        for value in self.locals[:NUM_LOCALS]:
            total = (total * 31 + value) & MASK
        return total

    def statements(self, nodes: list[Node]) -> None:
        for node in nodes:
            self.statement(node)

    def inside(self, nodes: list[Node]) -> bool:
        """Runs what has a label; whether a branch went there."""
        try:
            self.statements(nodes)
        except Branch as branch:
            if branch.depth:
                raise Branch(branch.depth - 1) from None
            return True
        return False

    def statement(self, node: Node) -> None:
        kind, *parts = node
        if kind == "set":
            self.locals[parts[0]] = self.value(parts[1])
        elif kind == "store":
            at = self.value(parts[0]) & (MEMORY_BYTES - 4)
            struct.pack_into("<I", self.memory, at, self.value(parts[1]))
        elif kind == "drop":
            self.value(parts[0])
        elif kind == "br_if":
            if self.value(parts[1]):
                raise Branch(parts[0])
        elif kind == "br_table":
            raise Branch(parts[0][min(self.value(parts[1]), len(parts[0]) - 1)])
        elif kind == "if":
            self.inside(parts[1] if self.value(parts[0]) else parts[2])
        elif kind == "block":
            self.inside(parts[0])
        else:
            self.begin_loop(node)
            while self.inside(parts[0]):
                self.begin_loop(node)

    def begin_loop(self, node: Node) -> None:
        self.begun.append((self.numbers[id(node)], list(self.locals), bytes(self.memory)))
        self.locals[FUEL] -= 1
        if self.locals[FUEL] == 0:
            raise Ended

    def value(self, node: Node) -> int:
        kind, *parts = node
        if kind == "get":
            return self.locals[parts[0]]
        if kind == "constant":
            return int(parts[0])
        if kind == "load":
            return int(struct.unpack_from("<I", self.memory, self.value(parts[0]) & (MEMORY_BYTES - 4))[0])
        if kind == "tee":
            self.locals[parts[0]] = value = self.value(parts[1])
            return value
        if kind == "choice":
            return self.value(parts[1] if self.value(parts[0]) else parts[2])
        if kind == "block_value":
            self.inside(parts[0])
            return self.value(parts[1])
        a = self.value(parts[1])
        return OPERATIONS[parts[0]](a, self.value(parts[2])) & MASK


def check(seed: int, level: str, *, optimised: bool) -> int:
    """Compares the outcomes of one program; returns how often a loop was entered."""
    program = Generator(seed).program()
    interpreter = Interpreter(program)
    expected = interpreter.run(seed, 1000 + seed)
    wat = module_text(program)
    entered = 0
    for number in sorted({number for number, _, _ in interpreter.begun}):
        try:
            activation = Activation(wat, number, level, optimised=optimised)
        except CompileError as error:
            assert "operands on the stack" in error.reason
            continue
        for _, values, memory in [begun for begun in interpreter.begun if begun[0] == number][:4]:
            activation.memory[:MEMORY_BYTES] = memory
            found = activation.run(ctypes.c_uint32, [struct.pack("<II", value, MASK) for value in values])
            assert found == expected, wat
            assert activation.memory[:MEMORY_BYTES] == bytes(interpreter.memory), wat
            entered += 1
    return entered


@pytest.mark.parametrize(
    ("level", "optimised"), [("none", False), ("speed", False), ("speed", True)], ids=["none", "speed", "to stay in"]
)
@pytest.mark.parametrize("programs", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_the_outcome_is_that_of_the_interpreter(level: str, optimised: bool, programs: int) -> None:
    """Code to stay in has a copy of the body for each loop around the one that is entered."""
    assert sum(check(seed, level, optimised=optimised) for seed in range(programs)) > 4 * programs


@pytest.mark.slow
def test_the_outcome_is_that_of_the_interpreter_in_many_programs() -> None:
    assert sum(check(seed, "speed", optimised=True) for seed in range(20, 320)) > 1500


def check_hand_overs(seed: int) -> int:
    """Goes on in other code at some loop of code that was entered at another one; returns how often."""
    program = Generator(seed).program()
    interpreter = Interpreter(program)
    expected = interpreter.run(seed, 1000 + seed)
    wat = module_text(program)
    better = {}
    for number, (_, loop_at) in enumerate(loops_of(module_of(wat))):
        with contextlib.suppress(CompileError):
            better[loop_at] = Activation(wat, number, "speed", optimised=True)
    handed_over = 0
    first, values, memory = interpreter.begun[0]
    if list(loops_of(module_of(wat)))[first][1] not in better:  # there are operands where it begins
        return 0
    activation = Activation(wat, first, "none")
    for patience in range(0, 60, 5):  # questions that are not answered
        left = patience

        def hot_loop(_: int, loop_at: int) -> int:
            nonlocal left, handed_over
            left -= 1
            if left != -1:
                return 0
            handed_over += 1
            return better[loop_at].code.function_addresses[0]

        activation.answer(hot_loop)
        activation.memory[:MEMORY_BYTES] = memory
        found = activation.run(ctypes.c_uint32, [struct.pack("<II", value, MASK) for value in values])
        assert (found, activation.memory[:MEMORY_BYTES]) == (expected, bytes(interpreter.memory)), wat
    return handed_over


@pytest.mark.parametrize("programs", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_the_outcome_after_hand_overs_is_that_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, programs: int
) -> None:
    monkeypatch.setattr(thresholds, "HAND_OVER_PERIOD", 1)
    assert sum(check_hand_overs(seed) for seed in range(programs)) > 5 * programs
