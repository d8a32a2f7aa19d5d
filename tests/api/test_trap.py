from __future__ import annotations

import copy
import gc
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from wasmjit import ExitTrap, Frame, Func, FuncType, Store, Trap, TrapCode, ValType, WasmError
from wasmjit.errors import TRAPS

BODIES = {
    TrapCode.UNREACHABLE: "unreachable",
    TrapCode.INTEGER_DIVISION_BY_ZERO: "i32.const 1 i32.const 0 i32.div_s drop",
    TrapCode.INTEGER_OVERFLOW: "i32.const 0x80000000 i32.const -1 i32.div_s drop",
    TrapCode.BAD_CONVERSION_TO_INTEGER: "f32.const nan i32.trunc_f32_s drop",
    TrapCode.MEMORY_OUT_OF_BOUNDS: "i32.const -4 i32.load drop",
    TrapCode.TABLE_OUT_OF_BOUNDS: "i32.const 9 call_indirect",
    TrapCode.INDIRECT_CALL_TO_NULL: "i32.const 0 call_indirect",
    TrapCode.BAD_SIGNATURE: "i32.const 5 i32.const 1 call_indirect (param i32)",
    TrapCode.STACK_OVERFLOW: "call $f",
}


def test_codes_are_those_of_the_wasmtime_package() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    assert {code.name: code.value for code in TrapCode} == {code.name: code.value for code in wasmtime.TrapCode}
    assert [trap.number for trap in TRAPS] == list(range(len(TRAPS)))


@pytest.mark.parametrize("code", BODIES, ids=lambda code: code.name)
def test_each_trap(store: Store, instantiate: Any, code: TrapCode) -> None:
    exports = instantiate(
        f"""(module $mod (memory 1) (table 2 funcref) (func $f {BODIES[code]}) (elem (i32.const 1) $f)
        (func $outer (export "f") call $f))"""
    )
    for _ in range(3):
        with pytest.raises(Trap) as caught:
            exports["f"](store)
        trap = caught.value
        assert trap.trap_code is code
        assert trap.reason == TRAPS[code.value].message
        assert trap.message == str(trap)
        assert f"wasm trap: {trap.reason}" in trap.message
        first = trap.frames[0]
        assert (first.func_index, first.func_name, first.module_name) == (0, "f", "mod")
    assert trap.frames[-1].func_name == "outer" or code is TrapCode.STACK_OVERFLOW
    assert not isinstance(trap, WasmError)  # as in the wasmtime package


def test_message_and_frames_are_those_of_the_wasmtime_package(store: Store, instantiate: Any) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    text = """(module $mod (func $inner i32.const 1 i32.const 0 i32.div_u drop) (func $middle call $inner nop)
    (func (export "f") call $middle))"""
    their_store = wasmtime.Store()
    instance = wasmtime.Instance(their_store, wasmtime.Module(their_store.engine, text), [])
    with pytest.raises(wasmtime.Trap) as theirs:
        instance.exports(their_store)["f"](their_store)
    with pytest.raises(Trap) as ours:
        instantiate(text)["f"](store)
    assert ours.value.message == theirs.value.message and str(ours.value) == str(theirs.value)
    assert str(ours.value).endswith("\n")
    fields = ("func_index", "func_name", "module_name", "module_offset", "func_offset")
    assert [[getattr(frame, name) for name in fields] for frame in ours.value.frames] == [
        [getattr(frame, name) for name in fields] for frame in theirs.value.frames
    ]


def test_frames_skip_the_host(store: Store, instantiate: Any) -> None:
    inner = instantiate('(module $inner (func (export "f") unreachable))')
    host = Func(store, FuncType([], []), lambda: inner["f"](store))
    outer = instantiate('(module $outer (import "" "" (func $h)) (func $f (export "f") call $h))', host)
    with pytest.raises(Trap) as caught:
        outer["f"](store)
    assert [(frame.module_name, frame.func_index) for frame in caught.value.frames] == [("inner", 0), ("outer", 1)]


def test_frames_while_another_thread_lists_all_objects() -> None:
    """It holds tuples that are not done, which Python then refuses to change."""
    seen = []

    def frames() -> Iterator[Frame]:
        seen.append(gc.get_objects())
        yield Frame(1, "f", "m", 3, 2)

    assert len(Trap._from_code(9, frames()).frames or ()) == 1


def test_made_by_hand() -> None:
    trap = Trap("my words")
    assert (trap.message, str(trap), trap.reason, trap.trap_code, trap.frames) == (
        "my words",
        "my words",
        "my words",
        None,
        [],
    )
    with pytest.raises(TypeError):
        Trap(3)  # type: ignore[arg-type]


def test_can_be_copied_and_pickled(store: Store, instantiate: Any) -> None:
    with pytest.raises(Trap) as caught:
        instantiate('(module (func (export "f") unreachable))')["f"](store)
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (again.message, again.trap_code, again.frames) == (
            caught.value.message,
            TrapCode.UNREACHABLE,
            caught.value.frames,
        )


def test_frame_text() -> None:
    assert str(Frame(3, None, None, 0x24, 1)) == "    0x24 - <unknown>!<wasm function 3>"
    assert str(Frame(3, "f", "m", 0x12345678, 1)) == "0x12345678 - m!f"


def test_long_backtraces_are_shortened_in_the_message(store: Store, instantiate: Any) -> None:
    with pytest.raises(Trap) as caught:
        instantiate('(module (func $f (export "f") call $f))')["f"](store)
    assert len(caught.value.frames) > 20
    assert caught.value.message.count("!f\n") == 20


def test_stack_overflow_through_the_host_is_survived(store: Store, instantiate: Any) -> None:
    exports: Any = None

    def host() -> None:
        exports["f"](store)

    exports = instantiate(
        '(module (import "" "" (func $h)) (func (export "f") call $h))', Func(store, FuncType([], []), host)
    )
    for _ in range(3):
        with pytest.raises((Trap, RecursionError)):
            exports["f"](store)


def test_exit_trap() -> None:
    error = ExitTrap(3)
    assert (error.code, str(error)) == (3, "Exited with i32 exit status 3")
    assert isinstance(error, WasmError)
    assert pickle.loads(pickle.dumps(error)).code == 3


def test_an_exit_shows_no_wasm_frames_and_an_error_does(store: Store, instantiate: Any) -> None:
    def raises(kind: int) -> None:
        raise ExitTrap(3) if kind == 0 else ValueError("no exit")

    function = Func(store, FuncType([ValType.i32()], []), raises)
    text = '(module (import "" "" (func $f (param i32))) (func (export "f") (param i32) local.get 0 call $f))'
    exports = instantiate(text, function)
    for kind, names in ((0, ["raises"]), (1, ["<wasm function 1>", "raises"])):
        with pytest.raises((ExitTrap, ValueError)) as caught:
            exports["f"](store, kind)
        shown = [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert shown[1:] == names
