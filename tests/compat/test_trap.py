"""Trap, TrapCode and Frame."""

from __future__ import annotations

from typing import Any

import pytest

TRAPPING = [
    ("unreachable", "UNREACHABLE", "wasm `unreachable` instruction executed"),
    ("(i32.div_s (i32.const 1) (i32.const 0)) drop", "INTEGER_DIVISION_BY_ZERO", "integer divide by zero"),
    ("(i64.rem_u (i64.const 1) (i64.const 0)) drop", "INTEGER_DIVISION_BY_ZERO", "integer divide by zero"),
    ("(i32.div_s (i32.const 0x80000000) (i32.const -1)) drop", "INTEGER_OVERFLOW", "integer overflow"),
    ("(i32.trunc_f64_s (f64.const 1e10)) drop", "INTEGER_OVERFLOW", "integer overflow"),
    ("(i64.trunc_f32_u (f32.const -1)) drop", "INTEGER_OVERFLOW", "integer overflow"),
    ("(i32.trunc_f32_s (f32.const nan)) drop", "BAD_CONVERSION_TO_INTEGER", "invalid conversion to integer"),
    ("(i32.load (i32.const 65533)) drop", "MEMORY_OUT_OF_BOUNDS", "out of bounds memory access"),
    (
        "(i32.store offset=0xffffffff (i32.const 1) (i32.const 1))",
        "MEMORY_OUT_OF_BOUNDS",
        "out of bounds memory access",
    ),
    (
        "(memory.fill (i32.const 65530) (i32.const 0) (i32.const 7))",
        "MEMORY_OUT_OF_BOUNDS",
        "out of bounds memory access",
    ),
    ("(table.get (i32.const 9)) drop", "TABLE_OUT_OF_BOUNDS", "undefined element: out of bounds table access"),
    (
        "(table.set (i32.const 9) (ref.null func))",
        "TABLE_OUT_OF_BOUNDS",
        "undefined element: out of bounds table access",
    ),
    ("(call_indirect (i32.const 9))", "TABLE_OUT_OF_BOUNDS", "undefined element: out of bounds table access"),
    ("(call_indirect (i32.const 1))", "INDIRECT_CALL_TO_NULL", "uninitialized element"),
    ("(call_indirect (result i32) (i32.const 0)) drop", "BAD_SIGNATURE", "indirect call type mismatch"),
    ("call $forever", "STACK_OVERFLOW", "call stack exhausted"),
]


@pytest.mark.parametrize(("body", "code", "reason"), TRAPPING, ids=[f"{row[1]}-{n}" for n, row in enumerate(TRAPPING)])
def test_traps(api: Any, instantiate: Any, store: Any, body: str, code: str, reason: str) -> None:
    function = instantiate(
        f"""(module (memory 1) (table 2 funcref) (elem (i32.const 0) $nothing) (func $nothing)
              (func $forever call $forever) (func (export "f") {body}))"""
    )["f"]
    with pytest.raises(api.Trap) as caught:
        function(store)
    assert caught.value.trap_code == api.TrapCode[code]
    assert f"wasm trap: {reason}" in caught.value.message
    assert str(caught.value) == caught.value.message


def test_the_trap_codes(api: Any) -> None:
    import wasmtime

    assert {code.name: code.value for code in api.TrapCode} == {code.name: code.value for code in wasmtime.TrapCode}
    assert api.TrapCode(api.TrapCode.UNREACHABLE.value) is api.TrapCode.UNREACHABLE


def test_a_trap_of_ones_own(api: Any) -> None:
    trap = api.Trap("the reason")
    assert (trap.message, str(trap), trap.trap_code, trap.frames) == ("the reason", "the reason", None, [])


@pytest.mark.parametrize("message", ["", "two\nlines", "€ ∞"])
def test_the_message_of_a_trap(api: Any, message: str) -> None:
    assert api.Trap(message).message == message


def test_a_trap_is_no_wasmtime_error(api: Any) -> None:
    assert issubclass(api.Trap, Exception) and not issubclass(api.Trap, api.WasmtimeError)
    assert issubclass(api.ExitTrap, api.WasmtimeError) and issubclass(api.WasmtimeError, Exception)


NESTED = """(module $mod
  (func $outer (export "go") call $middle)
  (func $middle call $inner)
  (func $inner unreachable))"""


def test_frames(api: Any, instantiate: Any, store: Any) -> None:
    with pytest.raises(api.Trap) as caught:
        instantiate(NESTED)["go"](store)
    frames = caught.value.frames
    assert isinstance(frames, list) and all(isinstance(frame, api.Frame) for frame in frames)
    assert [frame.func_index for frame in frames] == [2, 1, 0]
    assert [frame.func_name for frame in frames] == ["inner", "middle", "outer"]
    assert [frame.module_name for frame in frames] == ["mod"] * 3


def test_the_offsets_of_the_frame_that_trapped(api: Any, instantiate: Any, store: Any) -> None:
    binary = bytes(api.wat2wasm(NESTED))
    with pytest.raises(api.Trap) as caught:
        instantiate(NESTED)["go"](store)
    frame = caught.value.frames[0]
    assert binary[frame.module_offset] == 0x00  # unreachable
    assert frame.func_offset == 1  # after the count of locals


def test_the_frames_without_names(api: Any, store: Any) -> None:
    module = api.Module(store.engine, '(module (func (export "f") unreachable))')
    with pytest.raises(api.Trap) as caught:
        api.Instance(store, module, []).exports(store)["f"](store)
    (frame,) = caught.value.frames
    assert (frame.func_index, frame.func_name, frame.module_name) == (0, None, None)


def test_the_backtrace_in_the_message(api: Any, instantiate: Any, store: Any) -> None:
    with pytest.raises(api.Trap) as caught:
        instantiate(NESTED)["go"](store)
    lines = caught.value.message.splitlines()
    assert lines[0] == "error while executing at wasm backtrace:"
    assert [line.rpartition("- ")[2] for line in lines[1:4]] == ["mod!inner", "mod!middle", "mod!outer"]
    assert lines[1].strip().startswith("0:") and "0x" in lines[1]
    assert "Caused by:" in lines


def test_functions_without_names_in_the_message(api: Any, instantiate: Any, store: Any) -> None:
    with pytest.raises(api.Trap, match="<unknown>!<wasm function 0>"):
        instantiate('(module (func (export "f") unreachable))')["f"](store)


def test_frames_through_the_host(api: Any, instantiate: Any, host: Any, store: Any) -> None:
    inner = instantiate('(module (func $deep (export "f") unreachable))')["f"]
    outer = instantiate(
        '(module (import "" "f" (func $f)) (func $top (export "go") (call $f)))', host("->", lambda: inner(store))
    )["go"]
    with pytest.raises(api.Trap) as caught:
        outer(store)
    assert caught.value.trap_code == api.TrapCode.UNREACHABLE
    assert caught.value.frames[0].func_name == "deep"


def test_a_store_works_on_after_a_trap(api: Any, instantiate: Any, store: Any) -> None:
    divide = instantiate(
        '(module (func (export "d") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1))))'
    )["d"]
    for _ in range(3):
        with pytest.raises(api.Trap):
            divide(store, 1, 0)
        assert divide(store, 6, 3) == 2


def test_stores_before_a_trap_happen(api: Any, instantiate: Any, store: Any) -> None:
    exports = instantiate(
        """(module (memory (export "m") 1)
             (func (export "f") (i32.store8 (i32.const 1) (i32.const 7)) unreachable))"""
    )
    with pytest.raises(api.Trap):
        exports["f"](store)
    assert exports["m"].read(store, 1, 2) == b"\x07"


def test_stack_overflow_again_and_again(api: Any, instantiate: Any, store: Any) -> None:
    forever = instantiate('(module (func $f (export "f") (result i32) (i32.add (call $f) (i32.const 1))))')["f"]
    for _ in range(3):
        with pytest.raises(api.Trap) as caught:
            forever(store)
        assert caught.value.trap_code == api.TrapCode.STACK_OVERFLOW


OFFSETS = [
    ("(i32.div_s (i32.const 1) (i32.const 0)) drop", 0x6D),
    ("(i64.rem_u (i64.const 1) (i64.const 0)) drop", 0x82),
    ("(i32.trunc_f64_s (f64.const 1e10)) drop", 0xAA),
    ("(i32.load (i32.const 65533)) drop", 0x28),
    ("(i64.load32_u offset=65536 (i32.const 0)) drop", 0x35),
    ("(f64.store (i32.const 65530) (f64.const 1))", 0x39),
    ("(memory.fill (i32.const 65530) (i32.const 0) (i32.const 7))", 0xFC),
    ("(memory.copy (i32.const 0) (i32.const 65530) (i32.const 7))", 0xFC),
    ("(table.get (i32.const 9)) drop", 0x25),
    ("(table.set (i32.const 9) (ref.null func))", 0x26),
    ("(call_indirect (i32.const 9))", 0x11),
    ("(call_indirect (i32.const 1))", 0x11),
    ("(call_indirect (result i32) (i32.const 0)) drop", 0x11),
    ("nop nop unreachable nop", 0x00),
    ("(block (loop (if (i32.const 1) (then unreachable))))", 0x00),
]


@pytest.mark.parametrize(("body", "opcode"), OFFSETS, ids=[body for body, _ in OFFSETS])
def test_the_offsets_point_at_instructions(api: Any, store: Any, body: str, opcode: int) -> None:
    binary = bytes(
        api.wat2wasm(
            f"""(module (memory 1) (table 2 funcref) (elem (i32.const 0) $nothing) (func $nothing)
                  (func $inner {body}) (func (export "f") nop call $inner))"""
        )
    )
    with pytest.raises(api.Trap) as caught:
        api.Instance(store, api.Module(store.engine, binary), []).exports(store)["f"](store)
    inner, outer = caught.value.frames
    assert binary[inner.module_offset] == opcode
    assert binary[outer.module_offset] == 0x10  # call
    assert outer.func_offset == 2  # after the count of locals and the nop
    assert binary[inner.module_offset - inner.func_offset] == 0  # the count of locals
