"""WasiConfig, and WASI through Linker and Store: wrong settings, isolation of Stores, host descriptors, memory."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasmjit import Config, Engine, ExitTrap, Linker, Module, Store, WasiConfig, WasmError

# Writes what memory holds at ADDRESS, grows memory, and does it again; exits with the error code of the last write.
ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "text")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 4))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (drop (memory.grow (i32.const 40)))
    (i32.store (i32.const 0x200000) (i32.const 0x41424344))
    (i32.store (i32.const 0) (i32.const 0x200000))
    (call $exit (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""


def run(store: Store, module: Module) -> int:
    """The exit code of ``_start``."""
    linker = Linker(store.engine)
    linker.define_wasi()
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except ExitTrap as exit_trap:
        return exit_trap.code
    return 0


def test_settings_can_be_read_and_checked() -> None:
    config = WasiConfig(argv=["a", "ü"], env={"A": "1"})
    assert config.argv == ["a", "ü"] and config.env == [("A", "1")]
    config.env = [["B", "x=y"]]
    assert config.env == [("B", "x=y")]
    config.inherit_argv()
    assert config.argv == sys.argv
    config.inherit_env()
    assert dict(config.env) == dict(os.environ)
    for name in ("stdin", "stdout", "stderr", "stdin_file", "stdout_file", "stderr_file", "stdout_custom"):
        with pytest.raises(AttributeError):
            getattr(config, name)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("argv", ["a\0b"], WasmError),
        ("argv", [3], TypeError),
        ("env", [("A=B", "x")], WasmError),
        ("env", [("", "x")], WasmError),
        ("env", [("A", "x\0")], WasmError),
        ("env", [("A",)], ValueError),
        ("stdin", 3, TypeError),
        ("stdout", b"bytes", TypeError),
        ("stderr_custom", "x", TypeError),
        ("stdin_file", "/nowhere/at/all", WasmError),
        ("stdout_file", "/nowhere/at/all", WasmError),
        ("stderr_file", "nul\0", WasmError),
    ],
)
def test_wrong_settings_are_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        setattr(WasiConfig(), name, value)


def test_preopened_directories_must_be_directories(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("file", "nothing"):
        with pytest.raises(WasmError, match=path):
            WasiConfig().preopen_dir(tmp_path / path, "/")


def test_one_config_serves_many_runs(tmp_path: Path) -> None:
    config = WasiConfig(stdin=b"again")
    config.stdout_file = tmp_path / "out"
    config.preopen_dir(tmp_path, "/")
    for _ in range(2):
        context = config.build()
        buffer = memoryview(bytearray(10))
        assert context.descriptors.get(0).read([buffer]) == 5
        context.descriptors.get(1).write([buffer[:5]])
        context.close()
    assert (tmp_path / "out").read_bytes() == b"againagain"


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("close", [True, False])
def test_no_host_descriptor_is_left_open(tmp_path: Path, close: bool) -> None:
    engine = Engine()
    module = Module(engine, ECHO)
    module.initialize_copy_on_write_image()  # takes a descriptor, which is the module's
    before = open_descriptors()
    for _ in range(3):
        config = WasiConfig()
        config.stdout_file = tmp_path / "out"
        config.preopen_dir(tmp_path, "/")
        store = Store(engine)
        store.set_wasi(config)
        assert run(store, module) == 0
        if close:
            store.close()
    del store, config
    assert open_descriptors() == before


@pytest.mark.parametrize("signals_based_traps", [True, False], ids=["guard pages", "explicit checks"])
def test_memory_that_grew_is_seen(signals_based_traps: bool) -> None:
    """With explicit checks the memory moves when it grows: the view of it must not be the old one."""
    settings = Config()
    settings.signals_based_traps = signals_based_traps
    store = Store(Engine(settings))
    output = io.BytesIO()
    store.set_wasi(WasiConfig(stdout=output))
    assert run(store, Module(store.engine, ECHO)) == 0
    assert output.getvalue() == b"textDCBA"


def test_stores_and_instances_do_not_share_state() -> None:
    engine = Engine()
    module = Module(engine, ECHO)
    linker = Linker(engine)
    linker.define_wasi()
    outputs = [io.BytesIO() for _ in range(3)]
    stores = []
    for output in outputs:
        store = Store(engine)
        store.set_wasi(WasiConfig(stdout=output))
        stores.append(store)
    for store in [*stores, stores[0]]:
        with pytest.raises(ExitTrap):
            linker.instantiate(store, module).exports(store)["_start"](store)
    assert [output.getvalue() for output in outputs] == [b"textDCBA" * 2, b"textDCBA", b"textDCBA"]


def test_without_wasi_in_the_store_the_error_says_so() -> None:
    store = Store()
    with pytest.raises(WasmError, match="set_wasi"):
        run(store, Module(store.engine, ECHO))
    with pytest.raises(TypeError):
        store.set_wasi(3)


def test_a_module_must_export_its_memory() -> None:
    store = Store()
    store.set_wasi(WasiConfig())
    with pytest.raises(WasmError, match=r"fd_write.*memory"):
        run(store, Module(store.engine, ECHO.replace('(memory (export "memory") 1)', "(memory 1)")))


def test_an_exception_of_a_stream_passes_through_wasm() -> None:
    def fail(data: bytes) -> None:
        raise KeyboardInterrupt("from the stream")

    store = Store()
    config = WasiConfig()
    config.stdout_custom = fail
    store.set_wasi(config)
    with pytest.raises(KeyboardInterrupt, match="from the stream"):
        run(store, Module(store.engine, ECHO))


def test_functions_cannot_be_defined_twice() -> None:
    linker = Linker(Engine())
    linker.define_wasi()
    with pytest.raises(WasmError, match="args_get"):
        linker.define_wasi()
    linker.allow_shadowing = True
    linker.define_wasi()


def test_inherited_streams(tmp_path: Path, examples: Path) -> None:
    """Output of Python, of the guest and of Python again arrives in this order; a closed pipe is an error code."""
    script = f"""if True:
        from wasmjit import *
        store = Store(Engine(Config(opt_level="none")))
        config = WasiConfig(argv=["sha256"])
        config.inherit_stdin(); config.inherit_stdout(); config.inherit_stderr()
        store.set_wasi(config)
        linker = Linker(store.engine)
        linker.define_wasi()
        print("before")
        try:
            module = Module.from_file(store.engine, {str(examples / "sha256.wasm")!r})
            linker.instantiate(store, module).exports(store)["_start"](store)
        except ExitTrap as exit_trap:
            assert exit_trap.code == 0
        print("after")
    """
    done = subprocess.run([sys.executable, "-c", script], input=b"abc", capture_output=True, timeout=120)
    digest = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -"
    assert (done.stdout.splitlines(), done.stderr) == ([b"before", digest, b"after"], b"")


def test_a_closed_pipe_is_an_error_code(make_guest: Callable[..., Any]) -> None:
    from wasmjit.wasi.constants import Errno
    from wasmjit.wasi.streams import HostStream

    reading, writing = os.pipe()
    os.close(reading)
    guest = make_guest()
    guest.context.descriptors.renumber(guest.context.descriptors.add(HostStream(writing, "out", owned=True)), 1)
    assert guest.call("fd_write", 1, guest.put(b"\0\0\0\0\1\0\0\0"), 1, 0) is Errno.PIPE
