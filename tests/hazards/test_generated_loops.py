"""Loops that `tests.fuzz.loops` found something with, as its reducer left them: named here, so that they stay right."""

from __future__ import annotations

import random

import pytest

from tests.processors import runnable
from wasmjit import Config, Engine, Instance, Memory, Module, Store, Trap, TrapCode

TARGETS = (None, "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")

# LLVM works out how many iterations there are before the check fails, by a division in 128 bits: a call of __udivti3,
# which generated code cannot reach. The module was refused.
STRIDE_IN_CHECKED_MEMORY = """
(module (memory {memory} 1)
  (func (export "f") (param $limit {index}) (result i64) (local $i {index}) (local $sum i64)
    (loop $l
      (local.set $sum (i64.add (local.get $sum) (i64.load32_u (local.get $i))))
      (local.set $i ({index}.add (local.get $i) ({index}.const 7)))
      (br_if $l ({index}.lt_u (local.get $i) (local.get $limit))))
    (local.get $sum))
  (func (export "g") (local $i {index})
    (loop $l
      (f64.store ({index}.add ({index}.const 1) (local.get $i)) (f64.const 0))
      (local.set $i ({index}.add (local.get $i) ({index}.const 7)))
      (br $l)))
  (data ({index}.const 0) "\\01\\02\\03\\04\\05\\06\\07\\08\\09\\0a\\0b\\0c\\0d\\0e\\0f\\10\\11\\12"))
"""


@pytest.mark.parametrize("level", ["speed", "speed_and_size", "none"])
@pytest.mark.parametrize("is_64", [False, True])
def test_loops_in_strides_with_checks_compile(is_64: bool, level: str) -> None:
    index = "i64" if is_64 else "i32"
    text = STRIDE_IN_CHECKED_MEMORY.format(memory="i64" if is_64 else "", index=index)
    for target in TARGETS:
        config = Config(tier="optimized", opt_level=level, target=target, signals_based_traps=is_64)
        engine = Engine(config)
        module = Module(engine, text)
        if target is not None:
            continue
        store = Store(engine)
        exports = Instance(store, module, []).exports(store)
        assert exports["f"](store, 14) == 0x04030201 + 0x0B0A0908
        assert exports["f"](store, 65534 // 7 * 7 - 7) == 0x04030201 + 0x0B0A0908 + 0x1211100F
        for name, arguments in (("f", (-1,)), ("g", ())):
            with pytest.raises(Trap) as info:
                exports[name](store, *arguments)
            assert info.value.trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


PROCESSORS = ("x86-64-v2", "haswell", "skylake-avx512", "znver4")
# Masked indices that LLVM took not to wrap, where it checks that a wider induction (of $a + $i) does not: stores and
# loads went on behind the array. The bodies of loops over $i, which go up to $n by a step; memory is noise, $a is 8192.
MASKED = {
    "f64 by i & 3": (
        1,
        "(f64.store (i32.add (local.get $a) (i32.shl (local.get $i) (i32.const 3)))"
        " (f64.load offset=1024 (i32.mul (i32.and (local.get $i) (i32.const 3)) (i32.const 8))))",
    ),
    "f32, selected": (
        1,
        "(f32.store (i32.shl (local.get $i) (i32.const 2))"
        " (select (f32.load (i32.shl (i32.and (local.get $i) (i32.const 3)) (i32.const 2))) (f32.const 0)"
        " (f32.ne (f32.load (i32.add (local.get $a) (i32.mul (local.get $i) (i32.const 4)))) (f32.const 0))))",
    ),
    "i * 3 & 63, summed beside a store": (
        1,
        "(local.set $sum (i64.add (local.get $sum) (i64.load16_s (i32.add (local.get $a)"
        " (i32.shl (i32.and (i32.mul (local.get $i) (i32.const 3)) (i32.const 63)) (i32.const 1))))))"
        " (i32.store8 (i32.add (local.get $a) (local.get $i))"
        " (i32.sub (i32.load8_s (i32.add (local.get $a) (local.get $i))) (local.get $i)))",
    ),
    "u8 by (i + 5) % 32": (
        1,
        "(i32.store8 (i32.add (local.get $a) (local.get $i)) (i32.add (i32.shl (local.get $i) (i32.const 3))"
        " (i32.load8_u offset=1024 (i32.rem_u (i32.add (local.get $i) (i32.const 5)) (i32.const 32)))))",
    ),
    "u16 by i >> 2 & 15, in steps of 4": (
        4,
        "(local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (i32.and (i32.load16_u offset=1024"
        " (i32.shl (i32.and (i32.shr_u (local.get $i) (i32.const 2)) (i32.const 15)) (i32.const 1)))"
        " (i32.load16_u (i32.add (local.get $a) (i32.shl (local.get $i) (i32.const 1))))))))",
    ),
    "u8 copied by i & 7": (
        1,
        "(i32.store8 (i32.add (local.get $a) (local.get $i))"
        " (i32.load8_u offset=2048 (i32.and (local.get $i) (i32.const 7))))",
    ),
    "u16 stored by i & 7": (
        1,
        "(i32.store16 offset=1024 (i32.shl (i32.and (local.get $i) (i32.const 7)) (i32.const 1))"
        " (i32.load16_u (i32.add (local.get $a) (i32.shl (local.get $i) (i32.const 1)))))",
    ),
    "u64 by (i + 5) & 63": (
        1,
        "(i64.store (i32.add (local.get $a) (i32.shl (local.get $i) (i32.const 3)))"
        " (i64.load offset=1024"
        " (i32.shl (i32.and (i32.add (local.get $i) (i32.const 5)) (i32.const 63)) (i32.const 3))))",
    ),
}


def masked_module(step: int, body: str) -> str:
    loop = f"""
      (func (export "{{name}}") (param $n i32) (param $a i32) (result i64) (local $i i32) (local $sum i64)
        (loop $l
          {body}
          (br_if $l ({{more}} (local.tee $i (i32.add (local.get $i) (i32.const {step}))) {{bound}})))
        (local.get $sum))"""
    loops = [loop.format(name=more, more=f"i32.{more}", bound="(local.get $n)") for more in ("ne", "lt_s", "lt_u")]
    loops.append(loop.format(name="to_64", more="i32.ne", bound="(i32.const 64)"))
    return f'(module (memory (export "m") 1) {"".join(loops)})'


@pytest.mark.parametrize("name", MASKED)
def test_masked_indices_stay_inside(name: str) -> None:
    """In code for each processor, as in baseline code, where no loop is vectorised."""
    text = masked_module(*MASKED[name])
    noise = random.Random(1).randbytes(65536)
    optimized = [Config(tier="optimized", cpu=cpu) for cpu in (None, *runnable(PROCESSORS))]
    configs = [Config(tier="baseline"), *optimized]
    outcomes = []
    for config in configs:
        engine = Engine(config)
        store = Store(engine)
        exports = Instance(store, Module(engine, text), []).exports(store)
        memory = exports["m"]
        assert isinstance(memory, Memory)
        seen = []
        for n in (8, 16, 64, 100, 256, 300):
            for loop in ("ne", "lt_s", "lt_u", "to_64"):
                memory.write(store, noise)
                seen.append((exports[loop](store, n, 8192), bytes(memory.read(store, 0, 65536))))
        outcomes.append(seen)
    assert all(outcome == outcomes[0] for outcome in outcomes)
