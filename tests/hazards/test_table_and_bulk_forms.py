"""Indices and counts at every edge: tables, bulk instructions and growth, in every tier, beside a model in Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode

pytestmark = pytest.mark.usefixtures("interpreted")

# The interpreter has other operations for 64-bit tables and memories: "auto" has none of them, "wide" has.
TIERS = {
    "auto": {"tier": "auto"},
    "wide": {"tier": "auto"},
    "auto, checked": {"tier": "auto", "signals_based_traps": False},
    "baseline": {"tier": "baseline"},
    "optimized": {"tier": "optimized"},
    "checked": {"tier": "optimized", "signals_based_traps": False},
}
REFUSED = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}


def of_tier(tier: str, kinds: list[Any]) -> list[Any]:
    """Those of the tables or memories that a test of a tier has."""
    return [kind for kind in kinds if kind.type == "i32"] if tier == "auto" else kinds


def instantiate(options: dict[str, Any], text: str) -> tuple[Store, Any]:
    store = Store(Engine(Config(parallel_compilation=False, **options)))
    return store, Instance(store, Module(store.engine, text), []).exports(store)


def edges(length: int, type: str) -> list[int]:
    """Numbers worth a try where `length` things are."""
    found = {0, 1, length - 1, length, length + 1, 1 << 31, (1 << 32) - 1, (1 << 32) - length, 1 << 29, 1 << 16}
    if type == "i64":
        found |= {1 << 32, (1 << 32) + 1, 1 << 61, 1 << 63, (1 << 63) + 1, (1 << 64) - 1, (1 << 64) - length}
    return sorted(number for number in found if 0 <= number <= REFUSED[type])


def one_at_an_edge(valid: Sequence[int], lengths: Sequence[int], types: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """Operands of which all but one are `valid`, and all pairs at the upper edges."""
    for position, (length, type) in enumerate(zip(lengths, types, strict=True)):
        for number in edges(length, type):
            yield (*valid[:position], number, *valid[position + 1 :])
    tops = [(length - 1, length, REFUSED[type]) for length, type in zip(lengths, types, strict=True)]
    yield from itertools.product(*([number for number in top if number >= 0] for top in tops))


# ---- tables ----


@dataclass(frozen=True)
class TableKind:
    limits: str
    length: int
    most: int
    type: str = "i32"


TABLES = [
    TableKind("10 10", 10, 10),
    TableKind("5 20", 5, 20),
    TableKind("i64 6 6", 6, 6, "i64"),
    TableKind("i64 4 30", 4, 30, "i64"),
    TableKind("0 0", 0, 0),
    TableKind("1 1", 1, 1),
    TableKind("1500 1500", 1500, 1500),
    TableKind("i64 0 3", 0, 3, "i64"),
]
NUM_FUNCTIONS = 6  # $f0 ... $f4 give their number, $f5 has another type
SEGMENT = (4, 1, 0, 2)


def table_text(kinds: list[TableKind]) -> str:
    functions = "".join(f"(func $f{n} (result i32) (i32.const {n}))" for n in range(NUM_FUNCTIONS - 1))
    functions += "(func $f5 (param i32) (result i32) (i32.const 5))"
    parts = [f"(type $t (func (result i32))) {functions} (elem declare func $f5)"]
    names = " ".join(f"$f{number}" for number in SEGMENT)
    parts.append(f"(elem $segment func {names})")
    parts.append(f"(table $all {NUM_FUNCTIONS} {NUM_FUNCTIONS} funcref) (elem (table $all) (i32.const 0) func")
    parts.append(" ".join(f"$f{n}" for n in range(NUM_FUNCTIONS)) + ")")
    for n, kind in enumerate(kinds):
        t, p = f"$t{n}", kind.type
        parts.append(f'(table {t} (export "t{n}") {kind.limits} funcref)')
        pick = "(table.get $all (local.get 1))"
        parts.append(f'(func (export "get{n}") (param {p}) (result i32) (ref.is_null (table.get {t} (local.get 0))))')
        parts.append(f'(func (export "set{n}") (param {p} i32) (table.set {t} (local.get 0) {pick}))')
        parts.append(f'(func (export "call{n}") (param {p}) (result i32) (call_indirect {t} (type $t) (local.get 0)))')
        parts.append(f'(func (export "size{n}") (result {p}) (table.size {t}))')
        parts.append(f'(func (export "grow{n}") (param {p} i32) (result {p}) (table.grow {t} {pick} (local.get 0)))')
        parts.append(
            f'(func (export "fill{n}") (param {p} i32 {p}) (table.fill {t} (local.get 0) {pick} (local.get 2)))'
        )
        operands = "(local.get 0) (local.get 1) (local.get 2)"
        parts.append(f'(func (export "init{n}") (param {p} i32 i32) (table.init {t} $segment {operands}))')
        for m, other in enumerate(kinds):
            count = "i64" if p == other.type == "i64" else "i32"
            parts.append(f'(func (export "copy{n}.{m}") (param {p} {other.type} {count}) ')
            parts.append(f"(table.copy {t} $t{m} {operands}))")
    return f"(module {' '.join(parts)})"


def number_in(name: str) -> int:
    """The table that an export is for, the first if there are two."""
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyz").partition(".")[0])


class Tables:
    """The tables of an instance beside lists; elements are numbers of functions."""

    def __init__(self, options: dict[str, Any], kinds: list[TableKind]) -> None:
        self.kinds = kinds
        self.store, self.exports = instantiate(options, table_text(kinds))
        self.lists: list[list[int | None]] = []
        for n, kind in enumerate(kinds):
            self.lists.append([None] * kind.length)
            for index in range(kind.length):
                if index % 4 != 3:
                    self.do(f"set{n}", index, index % NUM_FUNCTIONS)

    def expected(self, name: str, operands: tuple[int, ...]) -> Any:
        """What the model says: a result, or a TrapCode; changes the lists."""
        operation, n = name.rstrip("0123456789."), number_in(name)
        items, kind = self.lists[n], self.kinds[n]
        if operation == "size":
            return len(items)
        if operation in ("get", "set", "call"):
            if operands[0] >= len(items):
                return TrapCode.TABLE_OUT_OF_BOUNDS
            found = items[operands[0]]
            if operation == "get":
                return int(found is None)
            if operation == "set":
                items[operands[0]] = operands[1]
                return None
            if found is None:
                return TrapCode.INDIRECT_CALL_TO_NULL
            return found if found != NUM_FUNCTIONS - 1 else TrapCode.BAD_SIGNATURE
        if operation == "grow":
            if operands[0] > kind.most - len(items):
                return REFUSED[kind.type]
            before = len(items)
            items += [operands[1]] * operands[0]
            return before
        source: Sequence[int | None] = SEGMENT
        if operation == "copy":
            source = self.lists[int(name.partition(".")[2])]
        elif operation == "fill":
            operands, source = (operands[0], 0, operands[2]), [operands[1]]
        to, start, count = operands
        if to + count > len(items) or (operation != "fill" and start + count > len(source)):
            return TrapCode.TABLE_OUT_OF_BOUNDS
        items[to : to + count] = list(source) * count if operation == "fill" else source[start : start + count]
        return None

    def do(self, name: str, *operands: int) -> None:
        """Does it, and compares."""
        wanted = self.expected(name, operands)
        found: Any
        try:
            found = self.exports[name](self.store, *operands)
        except Trap as trap:
            found = trap.trap_code
        if isinstance(found, int) and not isinstance(found, TrapCode):
            found %= REFUSED[self.kinds[number_in(name)].type] + 1
        assert found == wanted, (name, operands)

    def compare(self) -> None:
        """All elements."""
        for n, items in enumerate(self.lists):
            self.do(f"size{n}")
            table = self.exports[f"t{n}"]
            for index, number in enumerate(items[:40]):
                element = table.get(self.store, index)
                is_odd = number is None or number == NUM_FUNCTIONS - 1
                assert (element == None) == (number is None) and (is_odd or element(self.store) == number)  # noqa: E711


@pytest.mark.parametrize("tier", TIERS)
def test_every_table_form_stays_inside(tier: str) -> None:
    """Each operand of each instruction at each edge of each kind of table."""
    kinds = of_tier(tier, TABLES)
    tables = Tables(TIERS[tier], kinds)
    for n, kind in enumerate(kinds):
        for index in range(min(kind.length, 10)):  # of another type, and null ones
            tables.do(f"call{n}", index)
        for index in edges(kind.length, kind.type):
            tables.do(f"get{n}", index)
            tables.do(f"call{n}", index)
            tables.do(f"set{n}", index, 2)
        for operands in one_at_an_edge((0, 1), (kind.length, NUM_FUNCTIONS), (kind.type, "i32")):
            if operands[1] < NUM_FUNCTIONS:
                for count in {operands[0], 0, 1, kind.length}:
                    tables.do(f"fill{n}", *operands, count)
        for operands in one_at_an_edge((0, 0, 0), (kind.length, 4, 4), (kind.type, "i32", "i32")):
            tables.do(f"init{n}", *operands)
        for m, other in enumerate(kinds):
            count = "i64" if kind.type == other.type == "i64" else "i32"
            least = min(kind.length, other.length)
            lengths = (kind.length, other.length, least)
            for operands in one_at_an_edge((0, 0, least), lengths, (kind.type, other.type, count)):
                tables.do(f"copy{n}.{m}", *operands)
    tables.compare()
    for n, kind in enumerate(kinds):
        for delta in (REFUSED[kind.type], 1 << 31, 1, 0, kind.most, 2):
            tables.do(f"grow{n}", delta, 1)
        for index in edges(len(tables.lists[n]), kind.type):
            tables.do(f"get{n}", index)
            tables.do(f"call{n}", index)
    tables.compare()


# ---- memories ----


class MemoryKind(NamedTuple):
    limits: str
    type: str
    pages: int
    most: int


MEMORIES = [
    MemoryKind("1 1", "i32", 1, 1),
    MemoryKind("i64 1 3", "i64", 1, 3),
    MemoryKind("2 4", "i32", 2, 4),
    MemoryKind("i64 1 1", "i64", 1, 1),
]
PAGE = 65536
DATA = bytes(range(1, 201))


def bulk_text(kinds: list[MemoryKind]) -> str:
    parts = [f'(data $segment "{"".join(f"{chr(92)}{byte:02x}" for byte in DATA)}")']
    operands = "(local.get 0) (local.get 1) (local.get 2)"
    for n, (limits, p, _, _) in enumerate(kinds):
        parts.append(f'(memory $m{n} (export "m{n}") {limits})')
        parts.append(f'(func (export "fill{n}") (param {p} i32 {p}) (memory.fill $m{n} {operands}))')
        parts.append(f'(func (export "init{n}") (param {p} i32 i32) (memory.init $m{n} $segment {operands}))')
        parts.append(f'(func (export "grow{n}") (param {p}) (result {p}) (memory.grow $m{n} (local.get 0)))')
        parts.append(f'(func (export "size{n}") (result {p}) (memory.size $m{n}))')
        for m, (_, q, _, _) in enumerate(kinds):
            count = "i64" if p == q == "i64" else "i32"
            parts.append(f'(func (export "copy{n}.{m}") (param {p} {q} {count}) (memory.copy $m{n} $m{m} {operands}))')
    return f"(module {' '.join(parts)})"


@pytest.mark.parametrize("tier", TIERS)
def test_every_bulk_form_stays_inside(tier: str) -> None:
    """Each operand of memory.fill, copy, init and grow at each edge, between memories of both address types."""
    kinds = of_tier(tier, MEMORIES)
    store, exports = instantiate(TIERS[tier], bulk_text(kinds))
    models = [bytearray(size * PAGE) for _, _, size, _ in kinds]
    for n, model in enumerate(models):
        model[:] = bytes((n * 40 + at * 7 + (at >> 8)) & 0xFF for at in range(len(model)))
        exports[f"m{n}"].write(store, model, 0)

    def do(name: str, operands: tuple[int, ...], wanted: bytes | None) -> None:
        n = int(name[4:5])
        try:
            exports[name](store, *operands)
            trapped = False
        except Trap as trap:
            assert trap.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
            trapped = True
        assert trapped == (wanted is None), (name, operands)
        if wanted is not None:
            models[n][operands[0] : operands[0] + operands[2]] = wanted
        assert exports[f"m{n}"].read(store) == models[n], (name, operands)

    for n, (_, p, _, _) in enumerate(kinds):
        size = len(models[n])
        for operands in one_at_an_edge((8, 7, 16), (size, 256, size), (p, "i32", p)):
            start, byte, count = operands
            do(f"fill{n}", operands, bytes([byte & 0xFF]) * count if start + count <= size else None)
        for operands in one_at_an_edge((8, 8, 16), (size, len(DATA), len(DATA)), (p, "i32", "i32")):
            start, source, count = operands
            fits = start + count <= size and source + count <= len(DATA)
            do(f"init{n}", operands, DATA[source : source + count] if fits else None)
        for m, (_, q, _, _) in enumerate(kinds):
            other = len(models[m])
            types = (p, q, "i64" if p == q == "i64" else "i32")
            for operands in one_at_an_edge((100, 50, 200), (size, other, min(size, other)), types):
                start, source, count = operands
                fits = start + count <= size and source + count <= other
                do(f"copy{n}.{m}", operands, bytes(models[m][source : source + count]) if fits else None)
    for n, (_, p, pages, most) in enumerate(kinds):
        refused = REFUSED[p]
        for delta in (refused, 1 << 31, 1 << 16, most + 1, 0, 1, 1):
            wanted = refused if delta > most - pages else pages
            assert exports[f"grow{n}"](store, delta) & refused == wanted, (n, delta)
            pages += delta if wanted != refused else 0
            assert exports[f"size{n}"](store) == pages
            assert len(exports[f"m{n}"].view(store)) == pages * PAGE


@pytest.mark.parametrize("tier", TIERS)
def test_bulk_operands_above_2_gib_are_not_negative(tier: str) -> None:
    """They are 32-bit numbers without a sign, widened by zeros."""
    store, exports = instantiate(
        TIERS[tier],
        """(module (memory (export "memory") 32769 32769) (data $segment "hello")
          (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
          (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
          (func (export "init") (param i32 i32 i32)
            (memory.init $segment (local.get 0) (local.get 1) (local.get 2))))""",
    )
    memory = exports["memory"]
    exports["fill"](store, (1 << 31) - 4, 1, 8)
    exports["init"](store, (1 << 31) + 65531, 0, 5)
    exports["copy"](store, 16, (1 << 31) + 65531, 5)
    exports["copy"](store, 1 << 31, 16, 5)
    assert memory.read(store, (1 << 31) - 5, (1 << 31) + 6) == b"\0\1\1\1\1hello\0"
    assert memory.read(store, 0, 32) == bytes(16) + b"hello" + bytes(11)
    for operands in ((1 << 31) + 65532, 0, 5), (0, 0, 1 << 31), (1 << 31, 0, (1 << 32) - 1):
        with pytest.raises(Trap):
            exports["init"](store, *operands)
