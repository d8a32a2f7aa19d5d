"""Accesses in code from stencils that are compared with the size of a memory: once, as long as the address is the same.

Random functions of many accesses to several memories, at addresses from locals that change now and then, are called
with addresses at the edges, and do what they do under wasmtime.
"""

from __future__ import annotations

import itertools
import platform
import random
from collections.abc import Iterator
from typing import Any

import pytest

import wasmjit
from wasmjit import thresholds

wasmtime = pytest.importorskip("wasmtime")

if platform.machine().lower() not in ("x86_64", "amd64"):
    pytest.skip("there are no stencils for this processor yet", allow_module_level=True)

PAGE = 65536
# The memories' limits; the third and fourth have addresses of 64 bits.
MEMORIES = ("1 2", "2 3", "i64 1 2", "i64 1 1")
LOADS = {"i32.load8_u": 1, "i32.load16_s": 2, "i32.load": 4, "i64.load": 8, "f64.load": 8, "i64.load32_u": 4}
STORES = {"i32.store8": 1, "i32.store16": 2, "i32.store": 4, "i64.store": 8}
OFFSETS = (0, 1, 4, 8, 100, 4096, PAGE - 8, PAGE - 1, PAGE, 0x7FFFFFF8, 0x80000000, 0xFFFFFFF8)
WIDE_OFFSETS = (0x1_0000_0000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFF8)
ADDRESSES = (0, 1, 50, PAGE - 108, PAGE - 9, PAGE - 8, PAGE - 7, PAGE - 1, PAGE, 2 * PAGE - 8, 1 << 31, (1 << 32) - 4)
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
        if memory >= 2:
            return memory, f"(local.get ${pick('wv')})", f"offset={pick(OFFSETS[:7] * 3 + OFFSETS + WIDE_OFFSETS)}"
        return memory, f"(local.get ${pick('pq')})", f"offset={pick(OFFSETS[:7] * 3 + OFFSETS)}"

    def load(self) -> str:
        """An i64."""
        name = self.source.choice(list(LOADS))
        memory, address, offset = self.place()
        value = f"({name} {memory} {offset} {address})"
        convert = CONVERT[name[:3]]
        return f"({convert} {value})" if convert else value

    def statement(self, depth: int) -> str:
        pick = self.source.choice
        kind = self.source.randrange(11 if depth else 8)
        if kind < 3:
            return f"(local.set $s (i64.add (i64.rotl (local.get $s) (i64.const 7)) {self.load()}))"
        if kind < 5:
            memory, address, offset = self.place()
            name = pick(list(STORES))
            value = "(local.get $s)" if name.startswith("i64") else "(i32.wrap_i64 (local.get $s))"
            return f"({name} {memory} {offset} {address} {value})"
        if kind == 5:
            local, constant = pick("pq"), pick((1, 8, -8, 100, 65528))
            return f"(local.set ${local} (i32.add (local.get ${local}) (i32.const {constant})))"
        if kind == 6:
            local, constant = pick("wv"), pick((1, 8, -8, 1 << 32, 65528))
            return f"(local.set ${local} (i64.add (local.get ${local}) (i64.const {constant})))"
        if kind == 7:
            return pick(
                (
                    "(local.set $p (local.get $q))",
                    "(local.set $q (i32.and (i32.wrap_i64 (local.get $s)) (i32.const 0x1ffff)))",
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
            for i, at in itertools.product(range(len(MEMORIES)), (0, 4096, PAGE - 120))
        ]
        identity = "(func $identity (param i32) (result i32) (local.get 0))"
        return f"(module {' '.join(memories + data + functions)} {identity})"


def calls_of(source: random.Random, count: int) -> Iterator[tuple[int, int, int, int]]:
    for _ in range(count):
        narrow = [source.choice(ADDRESSES[:4] * 3 + ADDRESSES) for _ in range(2)]
        wide = [source.choice(ADDRESSES[:4] * 4 + ADDRESSES + WIDE_ADDRESSES) for _ in range(2)]
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
        assert {function.tier for function in module.tier_report() if function.calls} == {"stencil"}
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
    text = Maker(seed).module(functions := 12)
    calls = list(calls_of(random.Random(seed), 40))
    config = wasmjit.Config(tier="auto", cache=False, **options)
    if "consume_fuel" in options:
        monkeypatch.setattr(wasmjit, "Store", lambda engine, store=wasmjit.Store: metered(store(engine)))
    ours = outcomes(wasmjit, wasmjit.Engine(config), text, functions, calls)
    theirs = outcomes(wasmtime, wasmtime.Engine(), text, functions, calls)
    traps = sum("MEMORY_OUT_OF_BOUNDS" in step for step in theirs)
    assert traps > 20
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other


def metered(store: Any) -> Any:
    store.set_fuel(1 << 60)
    store.set_epoch_deadline(1)
    return store
