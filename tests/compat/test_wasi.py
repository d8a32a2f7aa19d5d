"""WasiConfig, ExitTrap, and the example programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WRITE = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00")
  (data (i32.const 16) "hello\\n")
  (func (export "_start") (drop (call $write (i32.const FD) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
EXIT = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "exit") (param i32) (call $exit (local.get 0))))"""


@pytest.fixture
def run(api: Any, engine: Any) -> Callable[..., Any]:
    """Instantiates a program with a WasiConfig and calls its `_start`; returns the exit code (None without one)."""

    def run(wasm: Any, config: Any) -> int | None:
        linker = api.Linker(engine)
        linker.define_wasi()
        store = api.Store(engine)
        store.set_wasi(config)
        start = linker.instantiate(store, api.Module(engine, wasm)).exports(store)["_start"]
        try:
            start(store)
        except api.ExitTrap as trap:
            return int(trap.code)
        return None

    return run


def test_stdout_to_a_file(api: Any, run: Any, tmp_path: Path) -> None:
    for number, name in ((1, "stdout_file"), (2, "stderr_file")):
        config = api.WasiConfig()
        path = tmp_path / name
        setattr(config, name, str(path))
        assert run(WRITE.replace("FD", str(number)), config) is None
        assert path.read_bytes() == b"hello\n"


def test_stdout_to_a_function(api: Any, run: Any) -> None:
    for number, name in ((1, "stdout_custom"), (2, "stderr_custom")):
        config = api.WasiConfig()
        written: list[bytes] = []
        setattr(config, name, written.append)
        run(WRITE.replace("FD", str(number)), config)
        assert b"".join(written) == b"hello\n"


def test_output_goes_nowhere_by_default(api: Any, run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    run(WRITE.replace("FD", "1"), api.WasiConfig())
    assert capfd.readouterr() == ("", "")


def test_inherited_output(api: Any, run: Any, capfd: pytest.CaptureFixture[str]) -> None:
    config = api.WasiConfig()
    config.inherit_stdout()
    config.inherit_stderr()
    run(WRITE.replace("FD", "1"), config)
    run_error = api.WasiConfig()
    run_error.inherit_stderr()
    run(WRITE.replace("FD", "2"), run_error)
    assert capfd.readouterr() == ("hello\n", "hello\n")


def test_files_that_cannot_be_opened(api: Any, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing" / "file")
    config = api.WasiConfig()
    for name in ("stdin_file", "stdout_file", "stderr_file"):
        with pytest.raises(api.WasmtimeError):
            setattr(config, name, missing)
    with pytest.raises(api.WasmtimeError):
        config.preopen_dir(missing, "/")


def test_paths_of_any_kind(api: Any, tmp_path: Path) -> None:
    config = api.WasiConfig()
    path = tmp_path / "file"
    for kind in (path, str(path), bytes(path)):
        config.stdout_file = kind
        config.stderr_file = kind
        config.stdin_file = kind


@pytest.mark.parametrize("code", [1, 2, 42, 125])
def test_exit_codes(api: Any, engine: Any, code: int) -> None:
    linker = api.Linker(engine)
    linker.define_wasi()
    store = api.Store(engine)
    store.set_wasi(api.WasiConfig())
    leave = linker.instantiate(store, api.Module(engine, EXIT)).exports(store)["exit"]
    with pytest.raises(api.ExitTrap) as caught:
        leave(store, code)
    assert caught.value.code == code
    assert isinstance(caught.value, api.WasmtimeError) and not isinstance(caught.value, api.Trap)
    assert f"Exited with i32 exit status {code}" in str(caught.value)


def test_exit_0_is_an_exit_trap_too(api: Any, engine: Any) -> None:
    linker = api.Linker(engine)
    linker.define_wasi()
    store = api.Store(engine)
    store.set_wasi(api.WasiConfig())
    leave = linker.instantiate(store, api.Module(engine, EXIT)).exports(store)["exit"]
    with pytest.raises(api.ExitTrap) as caught:
        leave(store, 0)
    assert caught.value.code == 0


def test_set_wasi_takes_a_config(store: Any) -> None:
    for wrong in (1, "x"):
        with pytest.raises((TypeError, AttributeError)):
            store.set_wasi(wrong)


# ---- the example programs: compiled C and C++ ----


def run_example(
    api: Any, run: Any, examples: Path, tmp_path: Path, name: str, arguments: list[str], stdin: bytes = b""
) -> tuple[int | None, bytes, bytes]:
    """Exit code, standard output and standard error."""
    (tmp_path / "in").write_bytes(stdin)
    config = api.WasiConfig()
    config.argv = [name, *arguments]
    config.stdin_file = str(tmp_path / "in")
    config.stdout_file = str(tmp_path / "out")
    config.stderr_file = str(tmp_path / "err")
    config.preopen_dir(str(tmp_path), "/work")
    code = run((examples / f"{name}.wasm").read_bytes(), config)
    return code, (tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()


def test_sha256(api: Any, run: Any, examples: Path, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "data").write_bytes(b"some data" * 1000)
    code, out, err = run_example(api, run, examples, tmp_path, "sha256", ["/work/data"])
    assert (code in (None, 0), err) == (True, b"")
    assert hashlib.sha256(b"some data" * 1000).hexdigest().encode() in out


def test_a_missing_file(api: Any, run: Any, examples: Path, tmp_path: Path) -> None:
    code, _, err = run_example(api, run, examples, tmp_path, "sha256", ["/work/missing"])
    assert code not in (None, 0) and err


def test_outside_the_directories(api: Any, run: Any, examples: Path, tmp_path: Path) -> None:
    for path in ("/etc/passwd", "/work/../../etc/passwd"):
        code, _, err = run_example(api, run, examples, tmp_path, "sha256", [path])
        assert code not in (None, 0) and err


def test_json_from_stdin(api: Any, run: Any, examples: Path, tmp_path: Path) -> None:
    code, out, _ = run_example(api, run, examples, tmp_path, "json_pretty", [], b'{"a": [1, 2]}')
    assert code in (None, 0)
    import json

    assert json.loads(out) == {"a": [1, 2]}


# ---- what a program sees ----

SHOW = """(module
  (import "wasi_snapshot_preview1" "SIZES" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "GET" (func $get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "count") (result i32) (drop (call $sizes (i32.const 0) (i32.const 4))) (i32.load (i32.const 0)))
  (func (export "bytes") (result i32)
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 16) (i32.const 4096)))
    (i32.load (i32.const 4))))"""


def shown(api: Any, engine: Any, config: Any, what: str) -> tuple[int, list[bytes]]:
    linker = api.Linker(engine)
    linker.define_wasi()
    store = api.Store(engine)
    store.set_wasi(config)
    text = SHOW.replace("SIZES", f"{what}_sizes_get").replace("GET", f"{what}_get")
    exports = linker.instantiate(store, api.Module(engine, text)).exports(store)
    size = exports["bytes"](store)
    return exports["count"](store), bytes(exports["memory"].read(store, 4096, 4096 + size)).split(b"\0")[:-1]


def test_arguments(api: Any, engine: Any) -> None:
    config = api.WasiConfig()
    config.argv = ["program", "", "ünïcode"]
    assert shown(api, engine, config, "args") == (3, [b"program", b"", "ünïcode".encode()])
    assert shown(api, engine, api.WasiConfig(), "args") == (0, [])


def test_environment(api: Any, engine: Any) -> None:
    config = api.WasiConfig()
    config.env = [("A", "1"), ["B", "two words"]]
    assert shown(api, engine, config, "environ") == (2, [b"A=1", b"B=two words"])
    assert shown(api, engine, api.WasiConfig(), "environ") == (0, [])


def test_inherited_environment(api: Any, engine: Any) -> None:
    config = api.WasiConfig()
    config.inherit_env()
    assert shown(api, engine, config, "environ")[0] >= len(os.environ) - 1


def test_inherited_arguments(api: Any, engine: Any) -> None:
    config = api.WasiConfig()
    config.inherit_argv()
    assert shown(api, engine, config, "args")[0] >= 1


@pytest.mark.parametrize("mutable", [True, False])
def test_read_only_directories(api: Any, engine: Any, tmp_path: Path, mutable: bool) -> None:
    text = """(module
      (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "made")
      (func (export "go") (result i32) (call $mkdir (i32.const 3) (i32.const 0) (i32.const 4))))"""
    linker = api.Linker(engine)
    linker.define_wasi()
    store = api.Store(engine)
    config = api.WasiConfig()
    config.preopen_dir(str(tmp_path), "/", fs_mutable=mutable)
    store.set_wasi(config)
    errno = linker.instantiate(store, api.Module(engine, text)).exports(store)["go"](store)
    assert (errno == 0, (tmp_path / "made").exists()) == (mutable, mutable)
