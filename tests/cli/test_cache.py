"""The cache of compiled code in commands: on by default, shown, cleared, and kept small."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wasmjit.thresholds import LARGE_MODULE_BYTES

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]


COMPILED = ("run", "--tier", "optimized", "--invoke", "f", "m.wat")


def module(number: int) -> str:
    return f'(module (func (export "f") (result i32) (i32.const {number})))'


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache's directory, which does not exist yet."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("WASMJIT_CACHE_DIR", str(directory))
    return directory


def modules(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.cwasm"))


def test_a_second_run_compiles_nothing(wasmjit: CommandLine, write_wat: WriteWat, cache: Path) -> None:
    write_wat("m.wat", module(7))
    assert wasmjit(*COMPILED).stdout == "7\n"
    (entry,) = modules(cache)
    before = entry.stat()
    os.utime(entry, (1, 1))
    assert wasmjit("run", "--invoke", "f", "m.wat").stdout == "7\n"
    after = entry.stat()
    assert after.st_ino == before.st_ino and after.st_mtime > 1  # used, not made again


def test_what_was_compiled_is_run(wasmjit: CommandLine, write_wat: WriteWat, cache: Path) -> None:
    write_wat("m.wat", module(7))
    assert wasmjit("compile", "m.wat").returncode == 0
    assert len(modules(cache)) == 1
    assert wasmjit("run", "--invoke", "f", "m.wat").stdout == "7\n"
    assert len(modules(cache)) == 1
    assert wasmjit("run", "-O0", "--invoke", "f", "m.wat").stdout == "7\n"
    assert len(modules(cache)) == 2  # other code


@pytest.mark.parametrize("words", [["--no-cache"], ["-C", "cache=n"]])
def test_without(wasmjit: CommandLine, write_wat: WriteWat, cache: Path, words: list[str]) -> None:
    write_wat("m.wat", module(7))
    assert wasmjit("run", *words, *COMPILED[1:]).stdout == "7\n"
    assert not cache.exists()


def test_info_and_clear(wasmjit: CommandLine, write_wat: WriteWat, cache: Path) -> None:
    empty = wasmjit("cache", "info")
    assert empty.returncode == 0 and f"directory: {cache}\nmodules:   0\nsize:      0 bytes of" in empty.stdout
    for number in range(3):
        write_wat("m.wat", module(number))
        wasmjit(*COMPILED)
    (cache / "notes.txt").write_text("mine")
    (cache / ".new-left").write_text("by a process that died")
    os.utime(modules(cache)[0], (0, time.time() - 3 * 86400))
    shown = wasmjit("cache", "info").stdout
    total = sum(entry.stat().st_size for entry in modules(cache))
    assert "modules:   3\n" in shown and f"{total / 1024:.1f} KiB of at most 1.0 GiB" in shown
    assert "oldest:    3 days ago" in shown
    cleared = wasmjit("cache", "clear")
    assert cleared.returncode == 0 and cleared.stdout.startswith("removed 3 modules")
    assert not modules(cache) and (cache / "notes.txt").read_text() == "mine" and not (cache / ".new-left").exists()
    assert wasmjit("cache", "clear").stdout.startswith("removed 0 modules")


def test_path(wasmjit: CommandLine, cache: Path) -> None:
    assert wasmjit("cache", "path").stdout == f"{cache}\n"


def test_usage(wasmjit: CommandLine) -> None:
    assert wasmjit("cache").returncode == 2
    assert wasmjit("cache", "burn").returncode == 2
    assert "clear" in wasmjit("cache", "--help").stdout


def test_least_recently_used_go_first(wasmjit: CommandLine, write_wat: WriteWat, cache: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_wat("m.wat", module(number))
        wasmjit(*COMPILED)
    entries = modules(cache)
    for age, entry in enumerate(entries):
        os.utime(entry, (0, time.time() - 1000 * (age + 1)))
    size = sum(entry.stat().st_size for entry in entries)
    (tmp_path / "config.toml").write_text(f"[cache]\nmax-size = {size}\n")
    write_wat("m.wat", module(99))
    assert wasmjit("run", "--config", "config.toml", *COMPILED[1:]).stdout == "99\n"
    left = modules(cache)
    assert entries[0] in left and entries[3] not in left and sum(entry.stat().st_size for entry in left) <= size


def test_a_cache_that_cannot_be_written(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", module(7))
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "WASMJIT_CACHE_DIR": str(tmp_path / "file")}
    assert wasmjit(*COMPILED, env=environment).stdout == "7\n"
    shown = wasmjit("cache", "info", env=environment)
    assert shown.returncode == 1 and "Traceback" not in shown.stderr


LOOP = """(module (func (export "f") (param i32) (result i32)
  (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) (local.get 0)))"""


def run_until_cached(cache: Path, run: Callable[[], None]) -> None:
    """Runs it as often as it takes: what goes on behind a run may find that behind another at work, and gets little of
    a busy machine."""
    deadline = time.monotonic() + 280
    while not modules(cache) and time.monotonic() < deadline:
        run()
        again = time.monotonic() + 10
        while not modules(cache) and time.monotonic() < again:
            time.sleep(0.05)
    assert len(modules(cache)) == 1


def test_small_programs_are_cached_if_they_have_work_to_do(
    wasmjit: CommandLine, write_wat: WriteWat, cache: Path
) -> None:
    """What ends at once is as quick without: nothing is made, behind it either."""
    write_wat("loop.wat", LOOP)
    assert wasmjit("run", "--invoke", "f", "loop.wat", "10").stdout == "0\n"
    assert not cache.exists()  # where the lock of what goes on behind it would be

    def run() -> None:
        assert wasmjit("run", "--invoke", "f", "loop.wat", "1000000000").stdout == "0\n"

    run_until_cached(cache, run)


def test_large_programs_start_at_once_and_are_cached(wasmjit: CommandLine, write_wat: WriteWat, cache: Path) -> None:
    functions = "".join(f"(func (result i32) (i32.const {number}))" for number in range(50))
    text = "a" * LARGE_MODULE_BYTES
    write_wat(
        "large.wat", f'(module (func (export "f") (result i32) (call 50)) {functions} (memory 2) (data "{text}"))'
    )

    def run() -> None:
        assert wasmjit("run", "--invoke", "f", "large.wat").stdout == "49\n"

    run_until_cached(cache, run)


@pytest.mark.parametrize(
    ("words", "tier", "is_compiled"),
    [
        ([], "", False),
        ([], "optimized", True),
        (["--tier", "optimized"], "", True),
        (["--tier", "auto"], "optimized", False),
        (["-O", "tier=baseline"], "", True),
        (["-O2"], "", False),  # what its code is in the end
        (["-O0"], "", True),  # there is no better code
        (["--profile", "jitdump"], "", True),
    ],
)
def test_the_tier_of_runs(
    wasmjit: CommandLine, write_wat: WriteWat, cache: Path, words: list[str], tier: str, is_compiled: bool
) -> None:
    """What is compiled first is in the cache at once."""
    write_wat("m.wat", module(7))
    environment = {**os.environ, "WASMJIT_TIER": tier}
    assert wasmjit("run", *words, "--invoke", "f", "m.wat", env=environment).stdout == "7\n"
    assert len(modules(cache)) == is_compiled
