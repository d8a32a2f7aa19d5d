"""Vector accesses that reach over the end of the memory trap, whatever becomes of the lanes that they load.

LLVM narrows loads of which only some lanes are used, and drops those of which none is.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.processors import skip_unless_runnable
from wasmjit import Config, Engine, Instance, Module, Store, Trap, wat2wasm
from wasmjit.target import host_machine
from wasmjit.wasm.ops import OPS, VECTOR, Op
from wasmjit.wasm.types import I32, V128, VALTYPE_NAMES

END = 65536
VECTORS = [op for op in OPS.values() if op.kind == VECTOR]
COMPUTING = [op for op in VECTORS if not op.access_bytes and V128 in op.params]
LOADS = [op for op in VECTORS if op.access_bytes and op.result]
STORES = [op for op in VECTORS if op.access_bytes and not op.result]
# None: this machine's.
CPUS = [*(["x86-64-v2", "x86-64-v3"] if host_machine() == "x86_64" else ["generic"]), None]
SHUFFLES = [list(range(16)), [0] * 16, [*range(8), *range(16, 24)], [0, 1, 2, 3] * 4, [16] * 16, [0, 16] * 8]
SHUFFLES += [[*range(4), *[31] * 12], [*range(16, 32)], [*range(0, 16, 2), *range(0, 16, 2)]]
FIXED_SHUFFLES = len(SHUFFLES)
random.seed(5)
SHUFFLES += [[random.randrange(32) for _ in range(16)] for _ in range(20)]


def immediates(op: Op) -> str:
    return "v128.const i32x4 1 2 3 4" if "bits" in op.immediates else "0" if "lane" in op.immediates else ""


def uses_of_a_load(op: Op, load: str, lanes_used: Sequence[int], shuffles: Sequence[list[int]]) -> list[str]:
    """Bodies in which an operand of `op` is `load`, whose result is passed on, dropped, or used lane by lane."""
    bodies = []
    for position, valtype in enumerate(op.params):
        if valtype != V128:
            continue
        operands = " ".join(
            f"({load} (local.get $at))" if index == position else f"(local.get ${VALTYPE_NAMES[t]})"
            for index, t in enumerate(op.params)
        )
        text = shuffles if "lanes" in op.immediates else [immediates(op)]
        for immediate in text:
            lanes = " ".join(map(str, immediate)) if isinstance(immediate, list) else immediate
            value = f"({op.name} {lanes} {operands})"
            bodies.append(f"(drop {value})")
            if op.result == V128:
                bodies.append(f"(global.set $vector {value})")
                bodies += [f"(global.set $number (i32x4.extract_lane {lane} {value}))" for lane in lanes_used]
                bodies.append(f"(global.set $vector (f64x2.promote_low_f32x4 {value}))")
            elif op.result == I32:
                bodies.append(f"(global.set $number {value})")
    return bodies


class Bodies:
    """Functions with these bodies, which may use locals $at, an address, and $i32 ... $v128."""

    def __init__(self, bodies: list[str], config: Config) -> None:
        self.bodies = bodies
        params = (
            "(param $at i32) (param $i32 i32) (param $i64 i64) (param $f32 f32) (param $f64 f64) (param $v128 v128)"
        )
        text = "\n".join(f'(func (export "{index}") {params} {body})' for index, body in enumerate(bodies))
        self.store = Store(Engine(config))
        module = Module(
            self.store.engine,
            '(module (memory 1) (global $vector (export "vector") (mut v128) (v128.const i64x2 0 0)) '
            f"(global $number (mut i32) (i32.const 0)) {text})",
        )
        self.exports = Instance(self.store, module, []).exports(self.store)

    def untrapped(self, address: int) -> list[str]:
        """Those that run through."""
        passed = []
        for index, body in enumerate(self.bodies):
            try:
                self.exports[str(index)](self.store, address, 1, 1, 1.0, 1.0, 1)
            except Trap as trap:
                assert "out of bounds memory access" in str(trap)
            else:
                passed.append(body)
        return passed


CONFIGS = [("none", None), *(("speed", cpu) for cpu in CPUS)]


@pytest.mark.part(2)
@pytest.mark.parametrize(
    "part",
    [pytest.param(None, marks=pytest.mark.slow), *range(len(CONFIGS))],
    ids=lambda part: "whole" if part is None else "-".join(map(str, CONFIGS[part])),
)
def test_loads_over_the_end_trap_however_they_are_used(part: int | None) -> None:
    """Every operation and kind of use in every configuration; what there are many of, lanes and random shuffles, in
    one of them. The slow form has all in all."""
    for index, (level, cpu) in enumerate(CONFIGS):
        if part is None:
            loads_trap(level, cpu, range(4), SHUFFLES)
        elif part == index:
            some = SHUFFLES[:FIXED_SHUFFLES] + SHUFFLES[FIXED_SHUFFLES + part :: len(CONFIGS)]
            loads_trap(level, cpu, (part,), some)


def loads_trap(level: str, cpu: str | None, lanes_used: Sequence[int], shuffles: Sequence[list[int]]) -> None:
    bodies = [body for op in COMPUTING for body in uses_of_a_load(op, "v128.load", lanes_used, shuffles)]
    skip_unless_runnable(cpu)
    made = Bodies(bodies, Config(opt_level=level, cpu=cpu))
    for reach in (15, 12, 8, 4, 1):  # bytes of the vector that lie in the memory
        assert made.untrapped(END - reach) == []
    assert made.untrapped(END - 16) == bodies


@pytest.mark.parametrize(("level", "cpu"), CONFIGS)
@pytest.mark.parametrize("op", LOADS, ids=lambda op: op.name)
def test_every_load_traps_though_its_lanes_are_unused(level: str, cpu: str | None, op: Op) -> None:
    operand = "(local.get $v128)" if V128 in op.params else ""
    lane = "0" if "lane" in op.immediates else ""
    value = f"({op.name} {lane} (local.get $at) {operand})"
    zeros = "(v128.const i64x2 0 0)"
    bodies = [
        f"(drop {value})",
        f"(local.set $v128 {value})",
        f"(global.set $vector {value})",
        *(f"(global.set $number (i32x4.extract_lane {lane} {value}))" for lane in range(4)),
        f"(global.set $vector (v128.and {value} {zeros}))",
        f"(global.set $vector (i8x16.shuffle {'16 ' * 16} {value} {zeros}))",
        f"(global.set $vector (v128.bitselect {zeros} {value} (v128.const i64x2 -1 -1)))",
        f"(global.set $vector (i64x2.replace_lane 1 (i64x2.replace_lane 0 {value} (i64.const 1)) (i64.const 2)))",
        f"(global.set $vector (i32x4.sub {value} {value}))",
        f"(global.set $number (v128.any_true (v128.and {zeros} {value})))",
    ]
    skip_unless_runnable(cpu)
    made = Bodies(bodies, Config(opt_level=level, cpu=cpu))
    assert made.untrapped(END - op.access_bytes + 1) == []
    assert made.untrapped(END - op.access_bytes) == bodies


@pytest.mark.parametrize(("level", "cpu"), CONFIGS)
def test_scalar_loads_into_lanes_that_get_lost(level: str, cpu: str | None) -> None:
    bodies = []
    for shape, load in {
        "i8x16": "i32.load8_u",
        "i16x8": "i32.load16_u",
        "i32x4": "i32.load",
        "i64x2": "i64.load",
    }.items():
        for result in (
            f"(i32x4.extract_lane 3 ({shape}.replace_lane 0 (local.get $v128) ({load} (local.get $at))))",
            f"(i32x4.extract_lane 0 ({shape}.replace_lane 0 ({shape}.splat ({load} (local.get $at)))"
            f" ({'i64' if shape == 'i64x2' else 'i32'}.const 1)))",
            f"(i32x4.extract_lane 0 (v128.and (v128.const i64x2 0 0) ({shape}.splat ({load} (local.get $at)))))",
        ):
            bodies.append(f"(global.set $number {result})")
    skip_unless_runnable(cpu)
    assert Bodies(bodies, Config(opt_level=level, cpu=cpu)).untrapped(END) == []


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("op", STORES, ids=lambda op: op.name)
def test_stores_over_the_end_write_nothing(op: Op, explicit: bool) -> None:
    lane = "0" if "lane" in op.immediates else ""
    text = f"""(module (memory (export "memory") 1)
      (func (export "f") (param i32 v128) ({op.name} offset=1 {lane} (local.get 0) (local.get 1))))"""
    store = Store(Engine(Config(signals_based_traps=not explicit)))
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    ones = b"\xff" * 16
    with pytest.raises(Trap, match="out of bounds"):
        exports["f"](store, END - op.access_bytes, ones)
    assert exports["memory"].read(store, END - 32, END) == bytes(32)
    exports["f"](store, END - op.access_bytes - 1, ones)
    assert exports["memory"].read(store, END - 32, END) == bytes(32 - op.access_bytes) + b"\xff" * op.access_bytes


def test_trap_names_the_load_that_an_instruction_took_as_operand() -> None:
    text = """(module (memory 1) (func (export "f") (param i32 v128) (result v128)
      (i32x4.add (local.get 1) (v128.load (local.get 0)))))"""
    store = Store(Engine())
    module = Module(store.engine, text)
    exports = Instance(store, module, []).exports(store)
    with pytest.raises(Trap) as caught:
        exports["f"](store, END, 0)
    load = wat2wasm(text).index(b"\xfd\x00")
    assert [frame.module_offset for frame in caught.value.frames] == [load]
