"""Loops that `tests.fuzz.loops` found something with, as its reducer left them: named here, so that they stay right."""

from __future__ import annotations

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode

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
        config = Config(opt_level=level, target=target, signals_based_traps=is_64)
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
