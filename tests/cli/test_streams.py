"""Standard streams that are closed, full, broken or no files; modules from standard input; names that are not for
terminals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from wasmjit import Engine, Instance, Linker, LinkError, Module, Store, Trap, WasmError
from wasmjit.cli import run_command_line
from wasmjit.errors import printable

NOTHING = '(module (memory (export "memory") 1) (func (export "_start")))'
ANSWER = '(module (func (export "f") (result i32) (i32.const 42)))'
# Writes "hello\n" to descriptor 1 for ever, and looks at no error. Ends if the environment says so.
HELLO = """(module (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "\\10\\00\\00\\00\\06\\00\\00\\00") (data (i32.const 16) "hello\\n")
  (func (export "_start") (local $n i32)
    (loop $l
      (drop (call $w (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {count}))))))"""

INHERITING = """
import wasmjit
config = wasmjit.WasiConfig()
config.inherit_stdout()
store = wasmjit.Store()
store.set_wasi(config)
linker = wasmjit.Linker(store.engine)
linker.define_wasi()
linker.instantiate(store, wasmjit.Module.from_file(store.engine, {path!r})).exports(store)["_start"](store)
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def made(text: str) -> str:
        path = tmp_path / "program.wat"
        path.write_text(text)
        return str(path)

    return made


def command(*words: str, closed: tuple[int, ...] = (), **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs a command line; `closed` are the descriptors that it does not get."""
    script = "".join(f"{fd}{'<' if fd == 0 else '>'}&- " for fd in closed)
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {script}', "sh", sys.executable, "-m", "wasmjit", *words],
        timeout=60,
        **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
    )


@pytest.mark.part(2)
@pytest.mark.parametrize("closed", [tuple(fd for fd in range(3) if bits[fd]) for bits in product((0, 1), repeat=3)])
def test_closed_streams(write: Callable[[str], str], closed: tuple[int, ...]) -> None:
    done = command("run", write(NOTHING), closed=closed)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("fd", "words"), [(1, ["run"]), (2, ["run"]), (1, ["settings"]), (1, ["cache", "info"])])
def test_what_is_written_to_a_closed_stream_goes_nowhere(
    write: Callable[[str], str], tmp_path: Path, fd: int, words: list[str]
) -> None:
    """The next file that is opened would have its number: the module's, or an entry of the cache."""
    path = write(HELLO.format(fd=fd, count=3))
    before = Path(path).read_bytes()
    options = ["--dir", str(tmp_path), path] if words == ["run"] else []
    done = command(*words, *options, closed=(fd,))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert Path(path).read_bytes() == before and os.listdir(tmp_path) == ["program.wat"]


def test_the_library_takes_no_other_file_for_a_closed_stream(write: Callable[[str], str], tmp_path: Path) -> None:
    path = write(HELLO.format(fd=1, count=3))
    script = f"""
import os
assert os.open({str(tmp_path / "mine")!r}, os.O_CREAT | os.O_RDWR) == 1
""" + INHERITING.format(path=path)
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", script], timeout=60)
    assert done.returncode == 0 and (tmp_path / "mine").read_bytes() == b""


def test_a_full_disk_is_an_error(write: Callable[[str], str]) -> None:
    with open("/dev/full", "wb") as full:
        for words in (["run", "--invoke", "f", write(ANSWER)], ["settings"], ["--help"]):
            done = command(*words, stdout=full)
            assert done.returncode == 1
            assert done.stderr == b"wasmjit: error: [Errno 28] No space left on device\n"
        assert command("run", "nothing", stderr=full).returncode == 1


@pytest.mark.parametrize("fd", [1, 2])
def test_a_broken_pipe_ends_a_program_that_does_not_look(write: Callable[[str], str], fd: int) -> None:
    path = write(HELLO.format(fd=fd, count=4_000_000_000))
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmjit", "run", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    written, other = (process.stdout, process.stderr) if fd == 1 else (process.stderr, process.stdout)
    assert written.readline() == b"hello\n"
    written.close()
    assert other.read() == b"" and process.wait(60) == 141
    other.close()


def test_our_own_output_into_a_broken_pipe(write: Callable[[str], str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        for words in (["run", "--invoke", "f", write(ANSWER)], ["settings"], ["--help"]):
            done = command(*words, stdout=broken)
            assert (done.returncode, done.stderr) == (141, b"")


def test_a_broken_pipe_is_an_error_for_who_asks(write: Callable[[str], str]) -> None:
    """By default the program is told, and decides."""
    reader, writer = os.pipe()
    os.close(reader)
    script = INHERITING.format(path=write(HELLO.format(fd=1, count=3)))
    with os.fdopen(writer, "wb") as broken:
        assert subprocess.run([sys.executable, "-c", script], stdout=broken, timeout=60).returncode == 0


# ---- modules from standard input ----


@pytest.mark.parametrize("binary", [False, True])
def test_run_from_standard_input(binary: bool) -> None:
    module = bytes(wasmjit.wat2wasm(ANSWER)) if binary else ANSWER.encode()
    for words in (["run", "--invoke", "f", "-"], ["run", "--invoke", "f", "--", "-"]):
        done = command(*words, stdin=None, input=module)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"42\n", b"")


def test_other_commands_from_standard_input(tmp_path: Path) -> None:
    module = ANSWER.encode()
    assert command("-", stdin=None, input=NOTHING.encode()).returncode == 0
    assert command("validate", "-", stdin=None, input=module).returncode == 0
    wrong = command("validate", "-", stdin=None, input=b"(module (func (result i32)))")
    assert wrong.returncode == 1 and wrong.stderr.startswith(b"wasmjit: error: -: type mismatch")
    assert b"f\n" in command("objdump", "-", stdin=None, input=module).stdout
    nameless = command("compile", "-", stdin=None, input=module, cwd=tmp_path)
    assert nameless.returncode == 1 and b"say -o OUTFILE" in nameless.stderr and not os.listdir(tmp_path)
    artifact = command("compile", "-", "-o", "-", stdin=None, input=module).stdout
    assert Engine.detect_precompiled(artifact) is not None
    assert command("run", "--invoke", "f", "-", stdin=None, input=artifact).returncode == 1
    done = command("run", "--allow-precompiled", "--invoke", "f", "-", stdin=None, input=artifact)
    assert done.stdout == b"42\n"


def test_a_directory_as_standard_input(tmp_path: Path) -> None:
    with pytest.raises(WasmError, match=r"failed to open stdin file '.*': Is a directory"):
        wasmjit.WasiConfig().stdin_file = tmp_path


# ---- names ----

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e\r\x9b"
SHOWN = r"\x1b[2J\x1b]0;owned\x07\u202e\r\x9b"


def wat(name: str) -> str:
    """A name as the text format has it."""
    return "".join(f"\\{byte:02x}" for byte in name.encode())


def test_printable() -> None:
    assert printable(EVIL) == SHOWN and printable("a\nb\tc é 漢") == "a\nb\tc é 漢"
    assert printable("a\nb", newlines=False) == r"a\nb" and printable("\udc80") == r"\udc80"


def test_names_in_traps_and_errors() -> None:
    store = Store()
    text = f'(module $"{wat(EVIL)}" (func $"{wat(EVIL)}" (export "f") unreachable))'
    with pytest.raises(Trap) as caught:
        Instance(store, Module(store.engine, text), []).exports(store)["f"](store)
    assert caught.value.frames[0].func_name == EVIL  # as it is
    assert f"{SHOWN}!{SHOWN}" in str(caught.value) and "\x1b" not in str(caught.value)
    frames = [frame.name for frame in __import__("traceback").extract_tb(caught.value.__traceback__)]
    assert SHOWN in frames
    module = Module(store.engine, f'(module (import "{wat(EVIL)}" "{wat(EVIL)}" (func)))')
    with pytest.raises(LinkError) as missing:
        Linker(store.engine).instantiate(store, module)
    assert f"{SHOWN}::{SHOWN}" in str(missing.value) and "\x1b" not in str(missing.value)
    assert "\x1b" not in repr(module.imports[0])
    with pytest.raises(WasmError) as duplicate:
        Module(store.engine, f'(module (func (export "{wat(EVIL)}")) (func (export "{wat(EVIL)}")))')
    assert "\x1b" not in str(duplicate.value)


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "--invoke", EVIL], ["objdump"], ["objdump", "--ir"], ["objdump", "--function", EVIL + "x"]],
)
def test_names_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    path = tmp_path / f"evil{EVIL.replace('/', '')}.wat"
    path.write_text(f'(module (func $"{wat(EVIL)}" (export "{wat(EVIL)}") (param i32) unreachable))')
    run_command_line([*words, str(path)])
    out, err = capfd.readouterr()
    shown = out + err
    assert "\x1b" not in shown and "\r" not in shown and "\u202e" not in shown and "\x9b" not in shown
    if words != ["objdump", "--ir"]:
        assert SHOWN in shown or repr(EVIL)[1:-1] in shown


def test_a_traceback_has_no_sequences(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WASMJIT_TRACEBACK", "1")
    path = tmp_path / "p.wat"
    path.write_text(f'(module (import "{wat(EVIL)}" "x" (func)))')
    assert run_command_line(["run", str(path)]) == 1
    error = capfd.readouterr().err
    assert "Traceback" in error and SHOWN in error and "\x1b" not in error


# ---- limits ----


def test_limits_of_run(write: Callable[[str], str], capfd: pytest.CaptureFixture[str]) -> None:
    path = write('(module (memory 2) (memory 2) (table 100 funcref) (func (export "_start")))')
    for words, message in (
        (["--max-memory", "256k"], "table minimum size of 100 elements exceeds memory limits"),
        (["--max-table-elements", "99"], "table minimum size of 100 elements exceeds table limits"),
        (["-W", "max-memory-size=65536"], "memory minimum size of 2 pages exceeds memory limits"),
    ):
        assert run_command_line(["run", *words, path]) == 1
        assert message in capfd.readouterr().err
    assert run_command_line(["run", "--max-memory", "257k", "-W", "max-memory-size=131072", path]) == 0
    assert run_command_line(["run", "--max-output", "17", write(HELLO.format(fd=1, count=3))]) == 1
    out, err = capfd.readouterr()
    assert out == "hello\nhello\nhello" and "output exceeds" in err
