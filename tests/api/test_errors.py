"""Exceptions through wasm: host exceptions keep their identity, traceback and cause, and wasm frames show in them."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import traceback
from typing import Any

import pytest

from wasmjit import ExitTrap, Func, FuncType, Linker, Module, Store, Trap, ValType, WasiConfig, WasmError

CALLS_HOST = """(module $mod (import "" "host" (func $host))
(func $inner call $host) (func (export "outer") call $inner))"""


class Odd(BaseException):
    """Not an Exception."""


def names(error: BaseException) -> list[str]:
    return [entry.name for entry in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("type", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, Odd, WasmError, Trap])
def test_the_same_object_comes_out(store: Store, instantiate: Any, type: type[BaseException]) -> None:
    thrown = type("mine")
    cause = KeyError("why")

    def host() -> None:
        raise thrown from cause

    exports = instantiate(CALLS_HOST, Func(store, FuncType([], []), host))
    for _ in range(2):
        thrown.__traceback__ = None
        with pytest.raises(type) as caught:
            exports["outer"](store)
        assert caught.value is thrown
        assert caught.value.__cause__ is cause


def test_wasm_frames_show_in_the_traceback(store: Store, instantiate: Any) -> None:
    def deepest() -> None:
        raise ValueError("mine")

    def host() -> None:
        deepest()

    exports = instantiate(CALLS_HOST, Func(store, FuncType([], []), host))
    with pytest.raises(ValueError) as caught:
        exports["outer"](store)
    shown = names(caught.value)
    assert shown[-4:] == ["<wasm function 2>", "inner", "host", "deepest"]
    entries = {entry.name: entry for entry in traceback.extract_tb(caught.value.__traceback__)}
    assert entries["inner"].filename == "<wasm module mod>"
    assert entries["deepest"].filename == __file__
    text = "".join(traceback.format_exception(caught.value))
    assert f'File "<wasm module mod>", line {entries["inner"].lineno}, in inner' in text


def test_frames_of_a_trap_are_those_of_its_traceback(store: Store, instantiate: Any) -> None:
    exports = instantiate("""(module $mod (func $f unreachable) (func $g call $f) (func (export "h") call $g nop))""")
    with pytest.raises(Trap) as caught:
        exports["h"](store)
    entries = [e for e in traceback.extract_tb(caught.value.__traceback__) if e.filename == "<wasm module mod>"]
    frames = caught.value.frames
    assert [entry.name for entry in entries] == ["<wasm function 2>", "g", "f"]
    assert [entry.lineno for entry in reversed(entries)] == [frame.module_offset for frame in frames]


def test_a_module_without_a_name(store: Store, instantiate: Any) -> None:
    with pytest.raises(Trap) as caught:
        instantiate('(module (func (export "f") unreachable))')["f"](store)
    entry = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (entry.filename, entry.name) == ("<wasm module>", "<wasm function 0>")


def test_each_level_shows_once(store: Store, instantiate: Any) -> None:
    def nested(host: Any) -> Any:
        return instantiate(CALLS_HOST, Func(store, FuncType([], []), host))["outer"]

    def first() -> None:
        raise ValueError

    level1 = nested(first)
    level2 = nested(lambda: level1(store))
    with pytest.raises(ValueError) as caught:
        level2(store)
    shown = [name for name in names(caught.value) if name in ("inner", "first", "<wasm function 2>", "<lambda>")]
    assert shown == ["<wasm function 2>", "inner", "<lambda>", "<wasm function 2>", "inner", "first"]


def test_300_levels(store: Store, instantiate: Any) -> None:
    function: Any = None

    def host(depth: int) -> int:
        if depth == 0:
            raise Odd("the bottom")
        return 1 + function(store, depth - 1) if depth > 0 else 0

    kind = FuncType([ValType.i32()], [ValType.i32()])
    function = instantiate(
        """(module $mod (import "" "host" (func $host (param i32) (result i32)))
        (func (export "f") (param i32) (result i32) local.get 0 call $host))""",
        Func(store, kind, host),
    )["f"]
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 2000))
    try:
        with pytest.raises(Odd, match="the bottom") as caught:
            function(store, 299)
        assert names(caught.value).count("<wasm function 1>") == 300
        assert names(caught.value).count("host") == 300
    finally:
        sys.setrecursionlimit(before)


def test_300_levels_within_pythons_default_recursion_limit(store: Store, instantiate: Any) -> None:
    """A call takes two of Python's levels, a host function without results one, with results two."""
    depth = [0]
    function: Any = None

    def host() -> None:
        depth[0] += 1
        if depth[0] < 300:
            function(store)

    function = instantiate(CALLS_HOST, Func(store, FuncType([], []), host))["outer"]
    thread = threading.Thread(target=function, args=(store,))  # pytest's own frames are not on its stack
    thread.start()
    thread.join()
    assert depth == [300]


def test_traps_through_python_keep_their_frames_and_cause(store: Store, instantiate: Any) -> None:
    inner = instantiate('(module $inner (func $f (export "f") unreachable))')

    def host() -> None:
        try:
            inner["f"](store)
        except Trap as trap:
            raise WasmError("while preparing") from trap

    with pytest.raises(WasmError, match="while preparing") as caught:
        instantiate(CALLS_HOST, Func(store, FuncType([], []), host))["outer"](store)
    cause = caught.value.__cause__
    assert isinstance(cause, Trap)
    assert [frame.module_name for frame in cause.frames] == ["inner", "mod", "mod"]
    assert "f" in names(cause)
    assert "inner" in names(caught.value)


def test_an_exception_in_a_start_function(store: Store, instantiate: Any) -> None:
    def host() -> None:
        raise ValueError("early")

    with pytest.raises(ValueError, match="early") as caught:
        instantiate(
            '(module $mod (import "" "h" (func $h)) (func $begin call $h) (start $begin))',
            Func(store, FuncType([], []), host),
        )
    assert "begin" in names(caught.value)


def test_wrong_results_of_host_functions_show_where(store: Store, instantiate: Any) -> None:
    host: Any = lambda: "text"  # noqa: E731
    text = '(module $mod (import "" "h" (func $h (result i32))) (func $f (export "f") (result i32) call $h))'
    exports = instantiate(text, Func(store, FuncType([], [ValType.i32()]), host))
    with pytest.raises(TypeError) as caught:
        exports["f"](store)
    assert "f" in names(caught.value)


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_codes(store: Store, code: int) -> None:
    store.set_wasi(WasiConfig())
    linker = Linker(store.engine)
    linker.define_wasi()
    module = Module(
        store.engine,
        f"""(module $mod (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func $main (export "_start") i32.const {code} call $exit))""",
    )
    with pytest.raises(ExitTrap) as caught:
        linker.instantiate(store, module).exports(store)["_start"](store)
    assert caught.value.code == code
    assert "main" not in names(caught.value)  # finding out takes long in large modules, for nothing


def test_many_exceptions_need_no_more_memory(store: Store, instantiate: Any) -> None:
    def host() -> None:
        raise ValueError

    exports = instantiate(CALLS_HOST, Func(store, FuncType([], []), host))

    def rounds(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(ValueError):
                exports["outer"](store)

    rounds(100)
    gc.collect()
    before = len(gc.get_objects())
    blocks = sys.getallocatedblocks()
    rounds(2000)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert sys.getallocatedblocks() - blocks < 500


def test_an_exception_while_frames_are_made_does_not_hide_the_real_one(store: Store, instantiate: Any) -> None:
    from wasmjit.runtime import trap as trap_module
    from wasmjit.runtime.native import set_frame_describer

    def broken(pcs: tuple[int, ...]) -> list[tuple[str, str, int]]:
        raise RuntimeError("describer")

    def host() -> None:
        raise ValueError("real")

    exports = instantiate(CALLS_HOST, Func(store, FuncType([], []), host))
    set_frame_describer(broken, ExitTrap)
    try:
        with pytest.raises(ValueError, match="real"):
            exports["outer"](store)
        set_frame_describer(lambda pcs: [("a", "b")] * 3, ExitTrap)  # type: ignore[list-item]
        with pytest.raises(ValueError, match="real"):
            exports["outer"](store)
    finally:
        set_frame_describer(trap_module._describe, ExitTrap)
