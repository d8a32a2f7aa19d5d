"""What keeps functions inside that run in native code from stencils: the tests of the interpreter, and its own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.hazards import test_address_checks, test_address_forms, test_escapes, test_table_and_bulk_forms
from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode, thresholds


@pytest.fixture(autouse=True)
def stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)
    monkeypatch.setenv("WASMJIT_STENCILS", "1")  # of child processes


def exports_of(text: str) -> tuple[Store, Any]:
    store = Store(Engine(Config(tier="auto")))
    return store, Instance(store, Module(store.engine, text), []).exports(store)


def test_large_offsets_do_not_reach_over_the_guard() -> None:
    test_escapes.test_large_offsets_do_not_reach_over_the_guard("auto")


def test_what_the_host_has_behind_the_guard_is_out_of_reach() -> None:
    test_escapes.test_what_the_host_has_behind_the_guard_is_out_of_reach("auto")


def test_every_address_form_stays_inside(root: Path) -> None:
    test_address_forms.test_every_address_form_stays_inside("auto", "mapped", 1, root)


def test_every_table_form_stays_inside() -> None:
    test_table_and_bulk_forms.test_every_table_form_stays_inside("auto")


def test_every_wide_table_form_stays_inside() -> None:
    test_table_and_bulk_forms.test_every_table_form_stays_inside("wide")


@pytest.mark.parametrize("kind", ["auto", "wide"])
def test_every_bulk_form_stays_inside(kind: str) -> None:
    test_table_and_bulk_forms.test_every_bulk_form_stays_inside(kind)


def test_a_branch_table_has_a_default() -> None:
    test_address_checks.test_a_branch_table_has_a_default("auto")


def test_recursion_ends_in_a_trap() -> None:
    """In the interpreter, whose stack is 16 times as large: little of the thread's is used."""
    store = Store(Engine(Config(tier="auto", max_wasm_stack=1 << 16)))
    text = """(module (global $depth (export "depth") (mut i32) (i32.const 0))
      (func $f (export "f") (param i32) (result i32)
        (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
        (i32.add (call $f (local.get 0)) (i32.const 1))))"""
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    with pytest.raises(Trap) as caught:
        exports["f"](store, 1)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    assert exports["depth"].value(store) < 40_000


@pytest.mark.parametrize("address", [0, 65528, 65529, (1 << 31) - 8, (1 << 31) - 7, (1 << 31) + 8, (1 << 32) - 1])
@pytest.mark.parametrize("offset", [0, 1, 7, (1 << 31) - 1, (1 << 32) - 1])
def test_constant_addresses_stay_inside(address: int, offset: int) -> None:
    """An address and an offset that fit are one displacement, a signed number, from the memory's base."""
    store, exports = exports_of(
        f"""(module (memory (export "memory") 1) (data (i32.const 0) "abcdefghijklmnop")
          (func (export "load") (result i64) (i64.load offset={offset} (i32.const {address - (address >> 31 << 32)})))
          (func (export "store") (param i64)
            (i64.store offset={offset} (i32.const {address - (address >> 31 << 32)}) (local.get 0))))"""
    )
    place = address + offset
    if place + 8 <= 65536:
        exports["store"](store, 0x1122334455667788)
        assert bytes(exports["memory"].read(store, place, place + 8)) == bytes.fromhex("8877665544332211")
        assert exports["load"](store) == 0x1122334455667788
        return
    for name, arguments in (("load", ()), ("store", (1,))):
        with pytest.raises(Trap) as caught:
            exports[name](store, *arguments)
        assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


@pytest.mark.parametrize("address", ["i32", "i64"])
def test_offsets_above_2_gib_are_not_below_the_memory(address: str) -> None:
    """An instruction's 32 bits are a signed number: such an offset is added in a register."""
    offset = (1 << 31) + 8
    limits = "32769" if address == "i32" else "i64 32769"
    store, exports = exports_of(
        f"""(module (memory (export "memory") {limits})
          (func (export "load") (param {address}) (result i64) (i64.load offset={offset} (local.get 0)))
          (func (export "store") (param {address} i64) (i64.store offset={offset} (local.get 0) (local.get 1))))"""
    )
    memory = exports["memory"]
    memory.write(store, b"ABCDEFGH", offset + 24)
    assert exports["load"](store, 24) == int.from_bytes(b"ABCDEFGH", "little")
    exports["store"](store, 64, 0x1122334455667788)
    assert bytes(memory.read(store, offset + 64, offset + 72)) == bytes.fromhex("8877665544332211")
    with pytest.raises(Trap) as caught:
        exports["load"](store, 65536 - 8 - 7)
    assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_calls_through_tables_compare_types() -> None:
    store, exports = exports_of(
        """(module (type $one (func (param i32) (result i32))) (type $other (func (param i64) (result i32)))
          (table 4 funcref) (elem (i32.const 0) $f $g)
          (func $f (type $one) (i32.add (local.get 0) (i32.const 1)))
          (func $g (type $other) (i32.const 9))
          (func (export "call") (param i32) (result i32) (call_indirect (type $one) (i32.const 5) (local.get 0))))"""
    )
    assert exports["call"](store, 0) == 6
    for index, trap in ((1, "BAD_SIGNATURE"), (2, "INDIRECT_CALL_TO_NULL"), (4, "TABLE_OUT_OF_BOUNDS")):
        with pytest.raises(Trap) as caught:
            exports["call"](store, index)
        assert caught.value.trap_code.name == trap


def test_subtypes_are_called_and_others_are_not() -> None:
    store, exports = exports_of(
        """(module
          (rec (type $above (sub (func (result i32)))) (type $below (sub $above (func (result i32)))))
          (table 2 funcref) (elem (i32.const 0) $f $g)
          (func $f (type $below) (i32.const 7)) (func $g (type $above) (i32.const 8))
          (func (export "above") (param i32) (result i32) (call_indirect (type $above) (local.get 0)))
          (func (export "below") (param i32) (result i32) (call_indirect (type $below) (local.get 0))))"""
    )
    assert [exports["above"](store, index) for index in (0, 1)] == [7, 8]
    assert exports["below"](store, 0) == 7
    with pytest.raises(Trap) as caught:
        exports["below"](store, 1)
    assert caught.value.trap_code is TrapCode.BAD_SIGNATURE


# Functions of an address with something above its 32 bits, that give what memory has there. `$wide` has it in a local;
# i32.wrap_i64 is no instruction: what is above stays where it is.
WIDE_ADDRESSES = """(module (memory 1) (data (i32.const 40) "\\2a\\00\\00\\00") (global $g (mut i32) (i32.const 0))
  (table 1 funcref) (elem (i32.const 0) $identity)
  (func $load (param i32) (result i32) (i32.load (local.get 0)))
  (func $identity (param i32) (result i32) (local.get 0))
  (func $narrowed (param i64) (result i32) (i32.wrap_i64 (local.get 0)))
  (func $two (param i32) (result i32 i32) (local.get 0) (local.get 0))
  (func $late (param i64 f64 i32 i32 i32 i32 i32 i32) (result i32) (i32.load (local.get 7)))
  (func (export "wrapped") (param $wide i64) (result i32) (i32.load (i32.wrap_i64 (local.get $wide))))
  (func (export "computed") (param $wide i64) (result i32)
    (i32.load (i32.wrap_i64 (i64.add (local.get $wide) (i64.const 0)))))
  (func (export "in_local") (param $wide i64) (result i32) (local $a i32)
    (local.set $a (i32.wrap_i64 (i64.mul (local.get $wide) (i64.const 1))))
    (i32.load (local.get $a)))
  (func (export "teed") (param $wide i64) (result i32) (local $a i32)
    (drop (i32.add (local.tee $a (i32.wrap_i64 (local.get $wide))) (i32.const 1)))
    (i32.load (local.get $a)))
  (func (export "copied") (param $wide i64) (result i32) (local $a i32) (local $b i32) (local $c i32)
    (loop $again (local.set $c (local.get $b)) (local.set $b (local.get $a))
      (local.set $a (i32.wrap_i64 (local.get $wide)))
      (br_if $again (i32.eqz (local.get $c))))
    (i32.load (local.get $c)))
  (func (export "copied_by_select") (param $wide i64) (result i32) (local $a i32) (local $b i32) (local $c i32)
    (loop $again
      (local.set $c (select (local.get $b) (i32.const 0) (i64.ne (local.get $wide) (i64.const 0))))
      (local.set $b (select (i32.const 0) (local.get $a) (i64.eqz (local.get $wide))))
      (local.set $a (i32.wrap_i64 (local.get $wide)))
      (br_if $again (i32.eqz (local.get $c))))
    (i32.load (local.get $c)))
  (func (export "selected") (param $wide i64) (result i32)
    (i32.load (select (i32.wrap_i64 (local.get $wide)) (i32.const 8) (i64.ne (local.get $wide) (i64.const 0)))))
  (func (export "selected_in_local") (param $wide i64) (result i32) (local $a i32)
    (local.set $a (select (i32.wrap_i64 (local.get $wide)) (i32.const 8) (i64.ne (local.get $wide) (i64.const 0))))
    (i32.load (local.get $a)))
  (func (export "selected_by_a_value") (param $wide i64) (result i32)
    (i32.load (select (i32.wrap_i64 (local.get $wide)) (i32.const 8) (i32.wrap_i64 (local.get $wide)))))
  (func (export "joined") (param $wide i64) (result i32)
    (i32.load (if (result i32) (i64.eqz (local.get $wide)) (then (i32.const 0))
      (else (i32.wrap_i64 (i64.add (local.get $wide) (i64.const 0)))))))
  (func (export "one_way") (param $wide i64) (result i32) (local $a i32)
    (if (i64.eqz (local.get $wide)) (then (local.set $a (i32.const 4)))
      (else (local.set $a (i32.wrap_i64 (i64.or (local.get $wide) (i64.const 0))))))
    (i32.load (local.get $a)))
  (func (export "detached") (param $wide i64) (result i32)
    (i32.wrap_i64 (local.get $wide)) (local.set $wide (i64.const 3)) i32.load)
  (func (export "passed") (param $wide i64) (result i32) (call $load (i32.wrap_i64 (local.get $wide))))
  (func (export "passed_late") (param $wide i64) (result i32)
    (call $late (local.get $wide) (f64.const 1) (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4) (i32.const 5)
      (i32.wrap_i64 (local.get $wide))))
  (func (export "returned") (param $wide i64) (result i32)
    (i32.load (call $narrowed (i64.add (local.get $wide) (i64.const 0)))))
  (func (export "returned_indirectly") (param $wide i64) (result i32)
    (i32.load (call_indirect (param i32) (result i32) (i32.wrap_i64 (local.get $wide)) (i32.const 0))))
  (func (export "returned_with_another") (param $wide i64) (result i32)
    (call $two (i32.wrap_i64 (local.get $wide))) drop i32.load)
  (func (export "global") (param $wide i64) (result i32)
    (global.set $g (i32.wrap_i64 (local.get $wide))) (i32.load (global.get $g)))
  (func (export "of_float") (param $wide i64) (result i32) (local $x f64) (local $a i32)
    (local.set $x (f64.reinterpret_i64 (local.get $wide)))
    (local.set $a (i32.wrap_i64 (i64.reinterpret_f64 (f64.copysign (local.get $x) (local.get $x)))))
    (i32.load (local.get $a)))
  (func (export "stored") (param $wide i64) (result i32) (local $a i32)
    (local.set $a (i32.wrap_i64 (i64.add (local.get $wide) (i64.const 4))))
    (i32.store (local.get $a) (i32.const 42)) (i64.store8 (i32.wrap_i64 (local.get $wide)) (i64.const 42))
    (f64.store (i32.wrap_i64 (i64.add (local.get $wide) (i64.const 8))) (f64.const 1))
    (i32.load (i32.const 44)))
)"""

WIDE_NAMES = [line.split('"')[1] for line in WIDE_ADDRESSES.splitlines() if "(export" in line]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_above_an_address_is_no_part_of_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some 64 GiB behind the memory, and on both sides of it, that is."""
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    store, exports = exports_of(WIDE_ADDRESSES)
    for name in WIDE_NAMES:
        for above in (0, 1, 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1):
            wide = (above << 32) | 40
            assert exports[name](store, wide - (wide >> 63 << 64)) == 42, (name, above)


# Of the loops fuzzer: $j3 is written by a division by a constant, and gives up its register to the loop within.
NESTED = """(module
  (memory (export "m") 2 2)
  (func (export "f0") (param $n i32) (param $m i32) (param $a i32) (param $b i32) (param $s i64)
        (param $x f64) (result i64)
    (local $r0 f32) (local $r1 i32) (local $i2 i32) (local $j3 i64) (local $i4 i32) (local $e5 i32)
        (local $c6 i32) (local $e7 i32) (local $t8 f32)
    (local.set $r1 (i32.const 3))
    (local.set $i2 (i32.const 0))
    (local.set $e7 (i32.mul (local.get $n) (i32.const 3)))
    (block $exit1
      (br_if $exit1 (i32.eqz (local.get $n)))
      (loop $loop7
        (local.set $j3 (i64.rem_u (i64.add (local.get $j3) (i64.const -1)) (i64.const 10)))
        (if $if3 (i32.gt_s (i32.shr_s (i32.const 255) (i32.const -128)) (i32.load16_s offset=1024 align=1
        (i32.shl (i32.and (i32.load16_u offset=1024 align=2 (i32.wrap_i64 (i64.shl (i64.add (i64.shl
        (i64.extend_i32_u (local.get $i2)) (i64.const 3)) (local.get $j3)) (i64.const 1)))) (i32.const 255))
        (i32.const 1))))
          (then
            (i32.store16 offset=1024 align=2 (i32.wrap_i64 (i64.shl (i64.mul (local.get $j3)
        (i64.extend_i32_u (local.get $m))) (i64.const 1))) (i32.or (i32.shr_s
        (i32.load16_u offset=1024 align=2 (i32.wrap_i64 (i64.shl (i64.and (i64.shl (local.get $j3)
        (i64.const 1)) (i64.const 12)) (i64.const 1)))) (i32.const 16)) (i32.extend8_s
        (i32.load16_u offset=1024 align=1 (i32.wrap_i64 (i64.shl (i64.sub (i64.extend_i32_u (local.get $n))
        (local.get $j3)) (i64.const 1)))))))))
        (local.set $i4 (i32.const 0))
        (local.set $e5 (i32.mul (i32.const 32) (i32.const 2)))
        (local.set $c6 (i32.const 32))
        (block $exit4
          (loop $loop6
            (local.set $r0 (select (f32.max (local.get $r0) (f32.demote_f64 (local.get $x))) (local.get $r0)
        (f64.gt (select (local.get $x) (f64.const 0x0.0p+0) (i32.and (select
        (i32.load16_s offset=1024 align=2 (i32.shl (i32.add (local.get $i2) (i32.const 1)) (i32.const 1)))
        (i32.load16_u offset=1024 align=2 (i32.shl (i32.extend8_s (i32.shl (local.get $i4) (i32.const 1)))
        (i32.const 1))) (i32.eq (i32.and (i32.load16_u offset=1024 align=2 (i32.shl (i32.mul (local.get $i4)
        (local.get $m)) (i32.const 1))) (i32.const 2)) (i32.const 2))) (i32.const 4)))
        (f64.const 0x1.2a05f20000000p+33))))
            (local.set $i4 (i32.add (local.get $i4) (i32.const 2)))
            (br_if $loop6 (local.tee $c6 (i32.sub (local.get $c6) (i32.const 1))))))
        (br_if $loop7 (i32.lt_u (local.tee $i2 (i32.add (local.get $i2) (i32.const 3))) (local.get $e7)))))
    (i64.xor (i64.mul (i64.xor (i64.mul (i64.xor (i64.mul (local.get $s) (i64.const -7046029254386353131))
        (i64.reinterpret_f64 (f64.promote_f32 (select (local.tee $t8 (local.get $r0)) (f32.const 0x0.0p+0)
        (f32.eq (local.get $t8) (local.get $t8)))))) (i64.const -7046029254386353131)) (i64.extend_i32_u
        (local.get $r1))) (i64.const -7046029254386353131)) (i64.extend_i32_u (local.get $i2)))))"""


def test_what_a_loop_writes_is_what_it_has_behind_a_loop_in_it() -> None:
    """A local that gives up its register there is stored, whatever instruction wrote it."""
    chooser = random.Random(4)
    image = bytes(chooser.randrange(256) for _ in range(1 << 17))
    found = []
    for tier in ("auto", "baseline"):
        store = Store(Engine(Config(tier=tier)))
        exports: Any = Instance(store, Module(store.engine, NESTED), []).exports(store)
        exports["m"].write(store, image, 0)
        found.append((exports["f0"](store, 127, 16, 60416, 83298, -1, 1e300), exports["m"].read(store, 0, 1 << 17)))
    assert found[0] == found[1]


def test_tail_callers_and_what_they_call_are_native_code() -> None:
    store = Store(Engine(Config(tier="auto", cache=False)))
    text = """(module
      (func $square (param i32) (result i32) (i32.mul (local.get 0) (local.get 0)))
      (func $sum (export "sum") (param i32 i32) (result i32)
        (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
        (return_call $sum (i32.sub (local.get 0) (i32.const 1))
          (i32.add (local.get 1) (call $square (local.get 0))))))"""
    module = Module(store.engine, text)
    exports = Instance(store, module, []).exports(store)
    assert exports["sum"](store, 1000, 0) == sum(n * n for n in range(1001))
    assert [function.tier for function in module.tier_report()] == ["stencil", "stencil"]


# What a loop may call out for.
REPORTS = pytest.mark.parametrize("options", [{}, {"consume_fuel": True}, {"epoch_interruption": True}], ids=str)


def store_with_reports(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Store:
    """Loops are reported as hot again and again, and nothing is compiled."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 3)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600.0)
    store = Store(Engine(Config(tier="auto", cache=False, **options)))
    if "consume_fuel" in options:
        store.set_fuel(1 << 40)
    if "epoch_interruption" in options:
        store.set_epoch_deadline(0)
        store.epoch_deadline_callback(lambda: 0)
    return store


@pytest.mark.parametrize("seed", range(3))
@REPORTS
def test_operands_outlive_a_report_at_a_loop_that_no_branch_leads_to(
    options: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop's parameter, and what is below it, were in registers that the call of whoever compiles changes."""
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    store = store_with_reports(options, monkeypatch)
    text = """(module (memory 1) (func (export "f") (param $n i32) (result i64) (local $i i32) (local $sum i64)
      (loop $again
        (local.set $sum (i64.add (local.get $sum) (i64.add (i64.load (i32.const 0))
          (i64.extend_i32_u (i32.add (i32.const 5) (local.get $i)))
          (loop (param i64) (result i64) (i64.const 3) (i64.mul)))))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (local.get $sum)))"""
    module = Module(store.engine, text)
    exports = Instance(store, module, []).exports(store)
    assert exports["f"](store, 40) == sum(3 * (5 + i) for i in range(40))
    assert {function.tier for function in module.tier_report()} == {"stencil"}


@REPORTS
def test_a_memory_outlives_a_report_at_a_loop_that_no_branch_leads_to(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it, accesses to the second memory, compared with its size, went to the first: out of its bounds."""
    store = store_with_reports(options, monkeypatch)
    text = """(module (memory 1) (memory 1 1)
      (data (memory 0) (i32.const 0) "\\05") (data (memory 1) (i32.const 0) "\\07")
      (func (export "f") (param $n i32) (result i32) (local $i i32) (local $sum i32)
      (loop $again
        (drop (i32.load8_u 0 (i32.const 0))) (drop (i32.load8_u 0 (i32.const 1))) (drop (i32.load8_u 0 (i32.const 2)))
        (drop (i32.load8_u 1 (local.get $i)))
        (loop (nop))
        (local.set $sum (i32.add (local.get $sum) (i32.load8_u 1 (i32.const 0))))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
      (local.get $sum)))"""
    module = Module(store.engine, text)
    exports = Instance(store, module, []).exports(store)
    assert exports["f"](store, 40) == 40 * 7
    assert {function.tier for function in module.tier_report()} == {"stencil"}


@pytest.mark.parametrize("count", [9000, 30000])
def test_frames_of_many_slots_do_not_overlap(count: int) -> None:
    """Whose size takes more than 16 bits: activations below would have their locals in those above."""
    store, exports = exports_of(
        f"""(module (func $f (export "f") (param $n i64) (result i64) (local $own i64) (local {"i64 " * count})
          (local.set $own (i64.mul (local.get $n) (i64.const 3)))
          (if (i64.eqz (local.get $n)) (then (return (i64.const 0))))
          (i64.add (call $f (i64.sub (local.get $n) (i64.const 1))) (local.get $own))))"""
    )
    assert exports["f"](store, 3) == 3 * 6


@pytest.mark.parametrize("slot", [100, 4080, 5000, 9000])
@pytest.mark.parametrize("kind", ["i32", "i64", "f32", "f64", "v128"])
def test_a_slot_is_where_it_is_however_far(kind: str, slot: int) -> None:
    """An instruction reaches some; functions that have others are interpreted. There are more than registers."""
    to, back = {
        "i32": ("i32.wrap_i64", "i64.extend_i32_u"),
        "i64": ("i64.mul (i64.const 1)", "i64.mul (i64.const 1)"),
        "f32": ("f32.convert_i64_s", "i64.trunc_f32_s"),
        "f64": ("f64.convert_i64_s", "i64.trunc_f64_s"),
        "v128": ("i64x2.splat", "i64x2.extract_lane 1"),
    }[kind]
    places = range(slot + 1, slot + 41)
    sets = " ".join(f"(local.set {place} ({to} (i64.add (local.get 0) (i64.const {place}))))" for place in places)
    total = "(i64.const 0)"
    for place in places:
        total = f"(i64.add {total} ({back} (local.get {place})))"
    store, exports = exports_of(
        f"""(module (func $g (param i64) (result i64) (local.get 0))
        (func (export "f") (param i64) (result i64) (local {"i64 " * slot}) (local {f"{kind} " * 40})
          {sets} (drop (call $g (i64.const 1))) {total}))"""
    )
    assert exports["f"](store, 1000) == sum(1000 + place for place in places)


def test_a_branch_over_much_code_is_taken() -> None:
    """Farther than a conditional branch of AArch64 reaches: 1 MiB."""
    row = "(local.set 1 (i64.xor (local.get 1) (i64.rem_s (local.get 2) (i64.div_s (local.get 1) (local.get 0)))))"
    store, exports = exports_of(
        f"""(module (func (export "f") (param i64 i64 i64) (result i64)
          (block (br_if 0 (i64.eqz (local.get 0))) {row * 20_000})
          (local.get 1)))"""
    )
    assert exports["f"](store, 0, 7, 9) == 7


# Operands of bulk instructions with something above their 32 bits.
WIDE_BULK = """(module (memory (export "m") 1 2) (data $d "abcdef")
  (table $t 10 20 funcref) (elem $e func $f $f $f) (func $f)
  (func (export "fill") (param $wide i64) (memory.fill {0} (i32.const 7) {0}))
  (func (export "copy") (param $wide i64) (memory.copy {0} {0} {0}))
  (func (export "init") (param $wide i64) (memory.init $d {0} {0} {0}))
  (func (export "grow") (param $wide i64) (drop (memory.grow {0})))
  (func (export "table_fill") (param $wide i64) (table.fill $t {0} (ref.null func) {0}))
  (func (export "table_copy") (param $wide i64) (table.copy {0} {0} {0}))
  (func (export "table_init") (param $wide i64) (table.init $e {0} (i32.const 0) {0}))
  (func (export "table_grow") (param $wide i64) (drop (table.grow $t (ref.null func) {0})))
  (func (export "size") (result i32) (i32.add (memory.size) (i32.mul (table.size $t) (i32.const 100)))))"""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "operand", ["(i32.wrap_i64 (local.get $wide))", "(i32.wrap_i64 (i64.add (local.get $wide) (i64.const 0)))"]
)
def test_what_is_above_an_operand_of_a_bulk_instruction_is_no_part_of_it(
    operand: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    store, exports = exports_of(WIDE_BULK.format(operand))
    for name in ("fill", "copy", "init", "table_fill", "table_copy", "table_init", "table_grow", "grow"):
        exports[name](store, (0x5A5A5A5A << 32) | 1)
    assert exports["size"](store) == 1102
