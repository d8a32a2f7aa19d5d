"""Accesses in code from stencils that are compared with the size of a memory: once, as long as the address is the same.

Random functions of many accesses to several memories, at addresses from locals that change now and then, are called
with addresses at the edges, and do what they do under wasmtime.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import random
from collections.abc import Iterator
from typing import Any

import pytest

import wasmjit
from wasmjit import thresholds

wasmtime = pytest.importorskip("wasmtime")

PAGE, BYTES = 65536, 1000
# The memories' limits; two have addresses of 64 bits. Those of single bytes end where the page of the host goes on.
MEMORIES = ("1 2", f"{BYTES} {BYTES + 500} (pagesize 1)", "i64 1 2", f"i64 {BYTES} {BYTES} (pagesize 1)")
LOADS = {"i32.load8_u": 1, "i32.load16_s": 2, "i32.load": 4, "i64.load": 8, "f64.load": 8, "i64.load32_u": 4}
STORES = {"i32.store8": 1, "i32.store16": 2, "i32.store": 4, "i64.store": 8}
FEW_OFFSETS = (0, 1, 4, 8, 20, 100)
OFFSETS = (BYTES - 8, BYTES - 1, BYTES, 4096, PAGE - 8, PAGE - 1, PAGE, 0x7FFFFFF8, 0x80000000, 0xFFFFFFF8)
WIDE_OFFSETS = (0x1_0000_0000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFF8)
FEW_ADDRESSES = (0, 1, 50, 200)
ADDRESSES = (
    BYTES - 108,
    BYTES - 9,
    BYTES - 8,
    BYTES - 1,
    BYTES,
    PAGE - 108,
    PAGE - 8,
    PAGE - 7,
    PAGE,
    1 << 31,
    (1 << 32) - 4,
)
WIDE_ADDRESSES = ((1 << 32) + 8, (1 << 63) - 1, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)
CONVERT = {"i32": "i64.extend_i32_u", "i64": "", "f64": "i64.reinterpret_f64"}


@pytest.fixture(autouse=True)
def stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 1 << 30)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)


class Maker:
    """Statements of a function, whose parameters are $p, $q (i32), $w, $v (i64)."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.labels = 0

    def place(self) -> tuple[int, str, str]:
        """A memory, an address in a local, an offset."""
        pick = self.source.choice
        memory = self.source.randrange(len(MEMORIES))
        edges = OFFSETS + WIDE_OFFSETS if memory >= 2 else OFFSETS
        offset = pick(FEW_OFFSETS) if self.source.random() < 0.97 else pick(edges)
        return memory, f"(local.get ${pick('wv' if memory >= 2 else 'pq')})", f"offset={offset}"

    def load(self) -> str:
        """An i64."""
        name = self.source.choice(list(LOADS))
        memory, address, offset = self.place()
        value = f"({name} {memory} {offset} {address})"
        convert = CONVERT[name[:3]]
        return f"({convert} {value})" if convert else value

    def statement(self, depth: int) -> str:
        pick = self.source.choice
        kind = self.source.randrange(12 if depth else 8)
        if kind < 3:
            return f"(local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 7)) {self.load()}))"
        if kind < 5:
            memory, address, offset = self.place()
            name = pick(list(STORES))
            value = "(local.get $s)" if name.startswith("i64") else "(i32.wrap_i64 (local.get $s))"
            return f"({name} {memory} {offset} {address} {value})"
        if kind == 5:
            local, constant = pick("pq"), pick((1, 8, -4, 100, 700))
            return f"(local.set ${local} (i32.add (local.get ${local}) (i32.const {constant})))"
        if kind == 6:
            local, constant = pick("wv"), pick((1, 8, -4, 100, 700))
            return f"(local.set ${local} (i64.add (local.get ${local}) (i64.const {constant})))"
        if kind == 7:
            return pick(
                (
                    "(local.set $p (local.get $q))",
                    "(local.set $q (i32.and (i32.wrap_i64 (local.get $s)) (i32.const 0x3ff)))",
                    "(local.set $w (i64.extend_i32_u (local.get $p)))",
                    "(local.set $p (i32.load8_u (local.tee $q (i32.const 65535))))",
                    "(local.set $v (select (local.get $w) (local.get $v) (i32.and (local.get $p) (i32.const 1))))",
                    "(local.set $q (call $identity (local.get $q)))",
                    "(drop (memory.grow 0 (i32.const 1)))",
                    "(local.set $p (memory.size 1))",
                    "(drop (memory.grow 2 (i64.const 1)))",
                )
            )
        self.labels += 1
        label, body = f"$l{self.labels}", self.statements(depth - 1)
        condition = "(i32.and (i32.wrap_i64 (local.get $s)) (i32.const 1))"
        if kind == 8:
            return f"(block {label} (br_if {label} {condition}) {body})"
        if kind == 11:  # no branch leads there
            return f"(loop {label} {body})"
        if kind == 9:
            return f"(if {condition} (then {body}) (else {self.statements(depth - 1)}))"
        again = "(br_if {0} (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 40)))"
        return f"(loop {label} {body} {again.format(label)})"

    def statements(self, depth: int) -> str:
        return " ".join(self.statement(depth) for _ in range(self.source.randrange(2, 9)))

    def module(self, count: int) -> str:
        functions = [
            f'(func (export "f{i}") (param $p i32) (param $q i32) (param $w i64) (param $v i64) (result i64)'
            f" (local $s i64) (local $n i32) {self.statements(2)} (local.get $s))"
            for i in range(count)
        ]
        memories = [f'(memory (export "m{i}") {limits})' for i, limits in enumerate(MEMORIES)]
        data = [
            f"(data (memory {i}) ({'i64' if i >= 2 else 'i32'}.const {at}) "
            f'"{"".join(chr(97 + self.source.randrange(26)) for _ in range(120))}")'
            for i, at in itertools.product(range(len(MEMORIES)), (0, 200, BYTES - 120))
        ]
        identity = "(func $identity (param i32) (result i32) (local.get 0))"
        return f"(module {' '.join(memories + data + functions)} {identity})"


def calls_of(source: random.Random, count: int) -> Iterator[tuple[int, int, int, int]]:
    for _ in range(count):
        few = FEW_ADDRESSES * (12 if source.random() < 0.5 else 2)
        narrow = [source.choice(few + ADDRESSES) for _ in range(2)]
        wide = [source.choice(few + ADDRESSES + WIDE_ADDRESSES) for _ in range(2)]
        yield (*[a - (a >> 31 << 32) for a in narrow], *[a - (a >> 63 << 64) for a in wide])  # type: ignore[misc]


def outcomes(api: Any, engine: Any, text: str, functions: int, calls: list[tuple[int, int, int, int]]) -> list[Any]:
    module = api.Module(engine, text)
    seen: list[Any] = []
    for number in range(functions):
        store = api.Store(engine)
        exports = api.Instance(store, module, []).exports(store)
        for arguments in calls:
            try:
                ended: Any = exports[f"f{number}"](store, *arguments)
            except api.Trap as trap:
                ended = trap.trap_code.name
            seen.append((number, arguments, ended))
        contents = [exports[f"m{i}"].read(store, 0, exports[f"m{i}"].data_len(store)) for i in range(len(MEMORIES))]
        seen.append((number, [bytes(memory) for memory in contents]))
    if api is wasmjit:
        tiers = {function.tier for function in module.tier_report() if function.calls}
        assert "stencil" in tiers and (tiers == {"stencil"} or thresholds.INTERPRETER_BUDGET < 1 << 30)
    return seen


OPTIONS: dict[str, dict[str, Any]] = {
    "guard pages": {},
    "checks": {"signals_based_traps": False},
    "moving": {"signals_based_traps": False, "memory_reservation": 0},
    "metered": {"signals_based_traps": False, "consume_fuel": True, "epoch_interruption": True},
}


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 60))])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_many_accesses_do_what_they_do_in_wasmtime(
    options: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed % 3)
    if seed % 2:  # loops call out, again and again; some functions are compiled then, in the end
        monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 3)
        options = {**options, "exact_traps": True}
    text = Maker(seed).module(functions := 12)
    calls = list(calls_of(random.Random(seed), 40))
    config = wasmjit.Config(tier="auto", cache=False, wasm_custom_page_sizes=True, **options)
    reference = wasmtime.Config()
    reference.wasm_custom_page_sizes = True
    if "consume_fuel" in options:
        monkeypatch.setattr(wasmjit, "Store", lambda engine, store=wasmjit.Store: metered(store(engine)))
    ours = outcomes(wasmjit, wasmjit.Engine(config), text, functions, calls)
    theirs = outcomes(wasmtime, wasmtime.Engine(reference), text, functions, calls)
    traps = sum("MEMORY_OUT_OF_BOUNDS" in step for step in theirs)
    assert len(theirs) / 4 < traps < len(theirs) * 0.95
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other


def metered(store: Any) -> Any:
    store.set_fuel(1 << 60)
    store.set_epoch_deadline(1)
    return store


# What an access that is not compared would find: the page of the host goes on behind a memory of so many bytes.
MERGED = {
    "set": "(local.set $p (local.get $q))",
    "teed": "(drop (i32.add (local.tee $p (local.get $q)) (i32.const 1)))",
    "computed": "(local.set $p (i32.add (local.get $p) (i32.const 960)))",
    "a constant": "(local.set $p (i32.const 1001))",
    "loaded": "(local.set $p (i32.load (i32.const 40)))",
    "selected": "(local.set $p (select (local.get $q) (local.get $p) (i32.const 1)))",
    "called": "(local.set $p (call $identity (local.get $q)))",
    "called through a table": "(local.set $p (call_indirect (param i32) (result i32) (local.get $q) (i32.const 0)))",
    "a size": "(local.set $p (memory.size))",
    "a size of a table": "(local.set $p (table.size))",
    "a global": "(local.set $p (global.get $g))",
    "grown": "(drop (memory.grow (i32.const 1))) (local.set $p (i32.add (memory.grow (i32.const 1)) (i32.const 1)))",
    "in a branch": "(if (local.get $q) (then (local.set $p (local.get $q))))",
    "farther": "(drop (i32.load8_u offset=900 (local.get $p))) (drop (i32.load8_u offset=970 (local.get $p)))",
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MERGED)
def test_what_was_compared_is_not_known_of_another_address(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    check(
        f"""(drop (i32.load8_u offset=50 (local.get $p))) {MERGED[name]}
        (i32.load8_u (local.get $p))""",
        40,
        1001 + 2 * (name == "grown"),
        traps=True,
    )


@pytest.mark.parametrize("seed", range(3))
def test_nor_where_control_comes_from_elsewhere(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    joined = """(if (i32.lt_u (local.get $p) (local.get $q)) (then (drop (i32.load8_u offset=50 (local.get $p)))))
        (i32.load8_u (local.get $p))"""
    check(joined, 1000, 5, traps=True)
    check(joined, 40, 50, traps=False)
    around = """(loop $again (drop (i32.load8_u (local.get $p))) (local.set $p (local.get $q))
        (br_if $again (i32.eqz (local.tee $n (i32.add (local.get $n) (i32.const 1)))))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 2)))) (i32.const 0)"""
    check(around, 40, 1000, traps=True)
    check(around, 40, 999, traps=False)


def check(body: str, *arguments: int, traps: bool) -> None:
    store = wasmjit.Store(wasmjit.Engine(wasmjit.Config(tier="auto", cache=False, wasm_custom_page_sizes=True)))
    text = f"""(module (memory 1000 1002 (pagesize 1)) (data (i32.const 40) "\\e9\\03\\00\\00") (table 1001 funcref)
      (elem (i32.const 0) $identity) (global $g i32 (i32.const 1001))
      (func $identity (param i32) (result i32) (local.get 0))
      (func (export "f") (param $p i32) (param $q i32) (result i32) (local $n i32) {body}))"""
    module = wasmjit.Module(store.engine, text)
    exports: Any = wasmjit.Instance(store, module, []).exports(store)
    ended: Any = None
    try:
        exports["f"](store, *arguments)
    except wasmjit.Trap as trap:
        ended = trap.trap_code
    assert ended == (wasmjit.TrapCode.MEMORY_OUT_OF_BOUNDS if traps else None)
    assert module.tier_report()[1].tier == "stencil"


def test_a_memory_that_moves_is_where_it_is_now() -> None:
    """Views keep what was there before, as it was."""
    config = wasmjit.Config(tier="auto", cache=False, **OPTIONS["moving"])
    store = wasmjit.Store(wasmjit.Engine(config))
    text = """(module (memory (export "m") 1 600) (memory 1)
      (func (export "grow") (param i32) (result i32)
        (i32.store (i32.const 8) (local.get 0)) (drop (memory.grow (memory.size)))
        (i32.store (i32.const 12) (local.get 0)) (i32.load (i32.const 8)))
      (func (export "load") (param i32) (result i32) (i32.load (local.get 0))))"""
    exports: Any = wasmjit.Instance(store, wasmjit.Module(store.engine, text), []).exports(store)
    memory = exports["m"]
    moves = 0
    for number in range(1, 4):
        view = memory.view(store)
        assert exports["grow"](store, number) == number
        moves += view[12] == number - 1
        memory.write(store, bytes([number, 1, 0, 0]), 16)
        assert [exports["load"](store, at) for at in (12, 16)] == [number, 256 + number]
    assert moves


def test_a_large_offset_does_not_reach_over_the_guard_of_any_memory() -> None:
    """To where another mapping of the host's may be."""
    store = wasmjit.Store(wasmjit.Engine(wasmjit.Config(tier="auto", cache=False)))
    memories = [wasmjit.Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, 1))) for _ in range(8)]
    found = []
    for memory in memories:
        base = ctypes.addressof(memory.get_buffer_ptr(store))
        found += [(memory, base, at) for at in range(base + (6 << 30), base + (8 << 30), 1 << 24) if is_free(at)]
    if not found:
        pytest.skip("the host has something behind all guards already")
    memory, base, place = found[0]
    text = """(module (import "" "" (memory 1)) (import "" "" (memory 1))
      (func (export "peek") (param i32) (result i64) (i64.load 1 offset=0xffffffff (local.get 0)))
      (func (export "poke") (param i32) (i64.store 1 offset=0xffffffff (local.get 0) (i64.const -1))))"""
    other = next(each for each in memories if each is not memory)
    exports: Any = wasmjit.Instance(store, wasmjit.Module(store.engine, text), [other, memory]).exports(store)
    with mapped(place) as secret:
        for name in ("peek", "poke"):
            with pytest.raises(wasmjit.Trap) as caught:
                exports[name](store, place - base - 0xFFFFFFFF - (1 << 32))
            assert caught.value.trap_code is wasmjit.TrapCode.MEMORY_OUT_OF_BOUNDS
        assert secret[:8] == b"SECRET 1"


libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FIXED_NOREPLACE = 0x100000


def map_at(place: int) -> bool:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    return bool(libc.mmap(place, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == place)


def is_free(place: int) -> bool:
    free = map_at(place)
    if free:
        libc.munmap(place, mmap.PAGESIZE)
    return free


@contextlib.contextmanager
def mapped(place: int) -> Iterator[Any]:
    assert map_at(place)
    contents = (ctypes.c_char * mmap.PAGESIZE).from_address(place)
    contents[:8] = b"SECRET 1"
    try:
        yield contents
    finally:
        libc.munmap(place, mmap.PAGESIZE)
