from __future__ import annotations

import subprocess
import sys

import pytest

from wasmjit import ClosedError, Config, Engine, Module, Store


def test_takes_a_copy_of_its_config() -> None:
    config = Config(opt_level="none")
    engine = Engine(config)
    config.opt_level = "speed"
    assert engine._config.opt_level == "none"
    Engine(config)  # a Config can be used again


def test_refuses_other_things() -> None:
    with pytest.raises(TypeError, match="expected Config"):
        Engine("speed")  # type: ignore[arg-type]


def test_epoch_and_pulley(engine: Engine) -> None:
    engine.increment_epoch()
    assert engine.is_pulley() is False


def test_close() -> None:
    with Engine() as engine:
        store = Store(engine)
    engine.close()
    for use in (engine.increment_epoch, lambda: Store(engine), lambda: Module(engine, "(module)")):
        with pytest.raises(ClosedError, match="engine is closed"):
            use()
    store.data()  # what exists already goes on


def test_precompile_module_is_what_serialize_gives(engine: Engine) -> None:
    text = '(module (func (export "f") (result i32) i32.const 1))'
    assert engine.precompile_module(text) == Module(engine, text).serialize()


def test_precompile_for_another_target() -> None:
    engine = Engine(Config(opt_level="none", target="aarch64-unknown-linux-gnu", cpu="generic"))
    assert engine.precompile_module("(module (func))")[:4] == b"\x7fELF"


CHECKED_WHERE_ADDRESS_SPACE_IS_SCARCE = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
import wasmjit
engine = wasmjit.Engine(wasmjit.Config(opt_level="none"))
assert not engine._config.memory_policy.guarded
store = wasmjit.Store(engine)
module = wasmjit.Module(engine, '(module (memory (export "m") 1) (func (export "f") (param i32) (result i32)'
                                ' local.get 0 i32.load) (func (export "grow") (result i32) i32.const 3 memory.grow))')
exports = wasmjit.Instance(store, module, []).exports(store)
for address in (65533, -1):
    try:
        exports["f"](store, address)
    except wasmjit.Trap as trap:
        assert trap.trap_code is wasmjit.TrapCode.MEMORY_OUT_OF_BOUNDS
    else:
        raise AssertionError(address)
assert exports["f"](store, 65532) == 0
assert exports["grow"](store) == 1
assert exports["f"](store, 65533) == 0
print("ok")
"""


def test_falls_back_to_explicit_checks_without_address_space() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECKED_WHERE_ADDRESS_SPACE_IS_SCARCE], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr
