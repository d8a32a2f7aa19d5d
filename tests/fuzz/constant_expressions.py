"""Random modules whose globals, tables and segments begin with constant expressions, beside the wasmtime package."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import wasmtime

import wasmjit

_BITS = {"i32": 32, "i64": 64}
_INTERESTING = (0, 1, -1, 2, 3, 7, 64, 1 << 16, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63), 1 << 40)
_TABLE_ELEMENTS = 50


class _Writer:
    """One random module, as text. `globals` are the value types and mutabilities so far."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.globals: list[tuple[str, bool]] = []

    def number(self, valtype: str) -> int:
        bits = _BITS[valtype]
        number = self.random.choice((*_INTERESTING, self.random.getrandbits(bits), self.random.randrange(200)))
        return (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)

    def leaf(self, valtype: str) -> str:
        readable = [i for i, (found, mutable) in enumerate(self.globals) if found == valtype and not mutable]
        if readable and self.random.random() < 0.5:
            return f"global.get {self.random.choice(readable)}"
        return f"{valtype}.const {self.number(valtype)}"

    def arithmetic(self, valtype: str, count: int) -> str:
        """An expression with `count` operations, nested in any way."""
        words, height, left = [self.leaf(valtype)], 1, count
        to_push = count
        while left or height > 1:
            if to_push and (height < 2 or self.random.random() < 0.5):
                words.append(self.leaf(valtype))
                height, to_push = height + 1, to_push - 1
            else:
                words.append(f"{valtype}.{self.random.choice(('add', 'sub', 'mul'))}")
                height, left = height - 1, left - 1
        return " ".join(words)

    def size(self) -> int:
        return self.random.choice((0, 1, 1, 2, 3, 5, 20, 300))

    def value(self, valtype: str) -> str:
        if valtype in _BITS:
            return self.arithmetic(valtype, self.size())
        if valtype in ("f32", "f64"):
            readable = [i for i, (found, mutable) in enumerate(self.globals) if found == valtype and not mutable]
            choices = [f"{valtype}.const {self.random.choice(('1.5', '-0', 'nan:0x200001', 'inf'))}"]
            return self.random.choice(choices + [f"global.get {i}" for i in readable])
        readable = [i for i, (found, mutable) in enumerate(self.globals) if found == valtype and not mutable]
        choices = [f"ref.null {'func' if valtype == 'funcref' else 'extern'}", *(f"global.get {i}" for i in readable)]
        if valtype == "funcref":
            choices += [f"ref.func {function}" for function in range(3)]
        return self.random.choice(choices)

    def offset(self, valtype: str, most: int) -> str:
        """Mostly one that is in bounds, by arithmetic that wraps around."""
        if self.random.random() < 0.05:
            return self.arithmetic(valtype, 2)
        wanted = self.random.randrange(most)
        inner = self.arithmetic(valtype, self.size())
        return f"i{_BITS[valtype]}.const {wanted} {inner} {inner} {valtype}.sub {valtype}.add"

    def text(self) -> str:
        parts = ["(module", '(import "" "f" (func (result i32)))']
        for valtype in ("i32", "i64", "f64", "funcref", "externref"):
            parts.append(f'(import "" "{valtype}" (global {valtype}))')
            self.globals.append((valtype, False))
        parts += ["(func (result i32) i32.const 11)", "(func (result i32) i32.const 22)"]
        parts.append('(memory (export "m") 1) (memory (export "M") i64 1)')
        parts.append(f'(table (export "t") {_TABLE_ELEMENTS} funcref)')
        first = self.value("funcref")
        parts.append(f'(table (export "T") 3 funcref ({first}))')
        for number in range(self.random.randrange(1, 12)):
            valtype = self.random.choice(("i32", "i64", "i32", "i64", "f32", "f64", "funcref", "externref"))
            mutable = self.random.random() < 0.2
            type = f"(mut {valtype})" if mutable else valtype
            parts.append(f'(global (export "g{number}") {type} {self.value(valtype)})')
            self.globals.append((valtype, mutable))
        for _ in range(self.random.randrange(4)):
            items = " ".join(f"(item {self.value('funcref')})" for _ in range(self.random.randrange(5)))
            parts.append(f"(elem (table 0) (offset {self.offset('i32', _TABLE_ELEMENTS - 5)}) funcref {items})")
        for _ in range(self.random.randrange(4)):
            memory, valtype = self.random.choice(((0, "i32"), (1, "i64")))
            contents = "".join(f"\\{self.random.getrandbits(8):02x}" for _ in range(8))
            parts.append(f'(data (memory {memory}) (offset {self.offset(valtype, 65000)}) "{contents}")')
        return "\n".join((*parts, ")"))


def text_of(seed: int) -> str:
    """The module of a seed."""
    return _Writer(seed).text()


def _observed(package: Any, store: Any, instance: Any) -> Iterator[tuple[str, object]]:
    """What the exports of an instance have."""
    exports = instance.exports(store)

    def plain(value: Any) -> object:
        if isinstance(value, package.Func):
            return value(store)
        if isinstance(value, package.Val):
            return value.value
        return value.hex() if isinstance(value, float) else value

    for name in ("m", "M"):
        yield name, bytes(exports[name].read(store, 0, 65536))
    for name, count in (("t", _TABLE_ELEMENTS), ("T", 3)):
        yield name, [plain(exports[name].get(store, i)) for i in range(count)]
    number = 0
    while True:
        try:
            found = exports[f"g{number}"]
        except KeyError:
            return
        yield f"g{number}", plain(found.value(store))
        number += 1


def outcome(package: Any, engine: Any, wasm: bytes, seed: int, *, artifact: bool = False) -> dict[str, object]:
    """What comes of an instance of a module under a package: by export, or the kind of trap."""
    chosen = random.Random(seed)
    store = package.Store(engine)
    function = package.Func(store, package.FuncType([], [package.ValType.i32()]), lambda: 33)

    def imported(valtype: Any, value: Any) -> Any:
        return package.Global(store, package.GlobalType(valtype, False), value)

    imports = [
        function,
        imported(package.ValType.i32(), package.Val.i32(chosen.getrandbits(32) - (1 << 31))),
        imported(package.ValType.i64(), package.Val.i64(chosen.getrandbits(64) - (1 << 63))),
        imported(package.ValType.f64(), package.Val.f64(2.25)),
        imported(package.ValType.funcref(), package.Val.funcref(function)),
        imported(package.ValType.externref(), package.Val.externref("object")),
    ]
    module = package.Module(engine, wasm)
    if artifact:
        module = package.Module.deserialize(engine, module.serialize())
    try:
        instance = package.Instance(store, module, imports)
    except package.Trap as trap:
        return {"trap": str(trap.trap_code)}
    return dict(_observed(package, store, instance))


def engines() -> dict[str, wasmjit.Engine]:
    """Ours, by name."""
    made = {}
    for tier in ("optimized", "baseline", "auto"):
        made[tier] = wasmjit.Engine(wasmjit.Config(tier=tier))
    checked = wasmjit.Config(tier="optimized")
    checked.memory_guard_size = 0
    made["checked"] = wasmjit.Engine(checked)
    return made


def disagreements(seeds: Iterable[int]) -> list[str]:
    """What differs between us and the wasmtime package."""
    theirs = wasmtime.Engine(_their_config())
    ours = engines()
    found = []
    for seed in seeds:
        wasm = bytes(wasmjit.wat2wasm(text_of(seed)))
        expected = outcome(wasmtime, theirs, wasm, seed)
        for name, engine in ours.items():
            for artifact in (False, True) if name == "optimized" else (False,):
                got = outcome(wasmjit, engine, wasm, seed, artifact=artifact)
                if got != expected:
                    keys = [key for key in {*got, *expected} if got.get(key) != expected.get(key)]
                    found.append(f"seed {seed}, {name}{', artifact' * artifact}: {keys}")
    return found


def _their_config() -> wasmtime.Config:
    config = wasmtime.Config()
    config.wasm_memory64 = config.wasm_multi_memory = True
    config.wasm_function_references = config.wasm_gc = True
    return config
