"""What WASI calls cost and how much data they move, beside the wasmtime package.

    python -m bench wasi [--quick]

The same module, a loop around one call, runs under both packages, which take turns within one run; a figure is the
median of 7 rounds by the processor time of the process, all threads included (the machine may have other work too).
Files lie in a temporary directory (page cache). Data is moved in blocks of 64 KiB: GB/s are 10^9 bytes a second.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import wasmjit

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

BLOCK_BYTES = 1 << 16
FILE_BYTES = 64 << 20
ROUNDS = 7
# Addresses in the program's memory.
RESULT, VECTOR, PARTS, PATH, STAT, BLOCK = 0, 16, 64, 512, 1024, 1 << 16
SUBSCRIPTION, EVENT, STRINGS = 640, 704, 2048  # a relative clock subscription that is over at once
DIRECTORY_ENTRIES, LISTING_BYTES = 50, 4096

TYPES = {
    "fd_write": "i32 i32 i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_pread": "i32 i32 i32 i64 i32",
    "fd_pwrite": "i32 i32 i32 i64 i32",
    "fd_seek": "i32 i64 i32 i32",
    "fd_close": "i32",
    "fd_filestat_get": "i32 i32",
    "fd_fdstat_get": "i32 i32",
    "fd_tell": "i32 i32",
    "fd_readdir": "i32 i32 i32 i64 i32",
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
    "path_filestat_get": "i32 i32 i32 i32 i32",
    "clock_time_get": "i32 i64 i32",
    "clock_res_get": "i32 i32",
    "random_get": "i32 i32",
    "sched_yield": "",
    "args_sizes_get": "i32 i32",
    "args_get": "i32 i32",
    "environ_sizes_get": "i32 i32",
    "environ_get": "i32 i32",
    "poll_oneoff": "i32 i32 i32 i32",
}


class Case(NamedTuple):
    """One loop: what stands in it, how often it runs, and what it is about."""

    name: str
    body: str  # an expression, the error code
    turns: int
    bytes_per_turn: int | None = 0  # how many bytes a turn moves: None as the call says, 0 if it is about the call


def _i32(*values: int) -> str:
    return " ".join(f"(i32.const {value})" for value in values)


def _path_open(name_length: int) -> str:
    names = _i32(3, 1, PATH, name_length, 0)
    return f"(call $path_open {names} (i64.const 66) (i64.const 66) {_i32(0, RESULT)})"


OPENED = f"(i32.load {_i32(RESULT)})"
CASES = (
    Case("fd_write to /dev/null", f"(call $fd_write {_i32(1, VECTOR, 1, RESULT)})", 4000, None),
    Case("fd_write, 16 parts, to /dev/null", f"(call $fd_write {_i32(1, PARTS, 16, RESULT)})", 4000, None),
    Case("fd_read of a file", f"(call $fd_read (global.get $fd) {_i32(VECTOR, 1, RESULT)})", 1000, None),
    Case(
        "fd_pread of a file",
        f"(call $fd_pread (global.get $fd) {_i32(VECTOR, 1)} (i64.const 4096) {_i32(RESULT)})",
        2000,
        None,
    ),
    Case(
        "fd_pwrite to a file",
        f"(call $fd_pwrite (global.get $fd) {_i32(VECTOR, 1)} (i64.const 0) {_i32(RESULT)})",
        2000,
        None,
    ),
    Case("random_get", f"(call $random_get {_i32(BLOCK, BLOCK_BYTES)})", 400, BLOCK_BYTES),
    Case("fd_write of 1 byte", f"(call $fd_write {_i32(1, VECTOR + 8, 1, RESULT)})", 40_000),
    Case("fd_read of 1 byte", f"(call $fd_read (global.get $fd) {_i32(VECTOR + 8, 1, RESULT)})", 40_000),
    Case(
        "fd_pread of 1 byte",
        f"(call $fd_pread (global.get $fd) {_i32(VECTOR + 8, 1)} (i64.const 4096) {_i32(RESULT)})",
        40_000,
    ),
    Case(
        "fd_pwrite of 1 byte",
        f"(call $fd_pwrite (global.get $fd) {_i32(VECTOR + 8, 1)} (i64.const 0) {_i32(RESULT)})",
        40_000,
    ),
    Case("fd_seek", f"(call $fd_seek (global.get $fd) (i64.const 0) {_i32(0, RESULT)})", 40_000),
    Case("fd_tell", f"(call $fd_tell (global.get $fd) {_i32(RESULT)})", 40_000),
    Case("fd_fdstat_get", f"(call $fd_fdstat_get (global.get $fd) {_i32(STAT)})", 40_000),
    Case("fd_filestat_get", f"(call $fd_filestat_get (global.get $fd) {_i32(STAT)})", 40_000),
    Case("clock_time_get", f"(call $clock_time_get (i32.const 1) (i64.const 0) {_i32(RESULT)})", 200_000),
    Case("clock_res_get", f"(call $clock_res_get {_i32(1, RESULT)})", 200_000),
    Case("random_get of 16 bytes", f"(call $random_get {_i32(BLOCK, 16)})", 40_000),
    Case("sched_yield", "(call $sched_yield)", 40_000),
    Case("args_sizes_get", f"(call $args_sizes_get {_i32(RESULT, RESULT + 4)})", 40_000),
    Case("args_get", f"(call $args_get {_i32(STRINGS, STRINGS + 64)})", 40_000),
    Case("environ_sizes_get", f"(call $environ_sizes_get {_i32(RESULT, RESULT + 4)})", 40_000),
    Case("environ_get", f"(call $environ_get {_i32(STRINGS, STRINGS + 64)})", 40_000),
    Case("poll_oneoff of a clock", f"(call $poll_oneoff {_i32(SUBSCRIPTION, EVENT, 1, RESULT)})", 10_000),
    Case(
        f"fd_readdir of {DIRECTORY_ENTRIES} files",
        f"(call $fd_readdir (global.get $directory) {_i32(BLOCK, LISTING_BYTES)} (i64.const 0) {_i32(RESULT)})",
        500,
    ),
    Case("path_filestat_get a/b/c/file", f"(call $path_filestat_get {_i32(3, 1, PATH, 10, STAT)})", 3000),
    Case("path_open, fd_close a/b/c/file", f"(i32.or {_path_open(10)} (call $fd_close {OPENED}))", 2000),
)


def program() -> str:
    """The module: `open` opens the big file, ``case<n>`` runs a loop of so many turns and returns the errors' sum."""
    imports = "\n".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {types}) (result i32)))'
        for name, types in TYPES.items()
    )
    loops = "\n".join(
        f"""(func (export "case{number}") (param $turns i32) (result i32) (local $errors i32)
          (loop (local.set $errors (i32.or (local.get $errors) {case.body}))
            (br_if 0 (local.tee $turns (i32.sub (local.get $turns) (i32.const 1)))))
          (local.get $errors))"""
        for number, case in enumerate(CASES)
    )
    return f"""(module {imports} (memory (export "memory") 4) (global $fd (mut i32) (i32.const 0))
      (global $directory (mut i32) (i32.const 0))
      (data (i32.const {PATH}) "a/b/c/file")
      (data (i32.const {PATH + 32}) "big")
      (data (i32.const {PATH + 48}) "many")
      (data (i32.const {SUBSCRIPTION + 16}) "\\01") ;; the monotonic clock
      (func (export "open") (result i32) (local $part i32) (local $failed i32)
        (i32.store {_i32(VECTOR, BLOCK)}) (i32.store {_i32(VECTOR + 4, BLOCK_BYTES)})
        (i32.store {_i32(VECTOR + 8, BLOCK)}) (i32.store {_i32(VECTOR + 12, 1)})
        (loop
          (i32.store (i32.add (i32.const {PARTS}) (i32.mul (local.get $part) (i32.const 8)))
            (i32.add (i32.const {BLOCK}) (i32.mul (local.get $part) (i32.const 4096))))
          (i32.store (i32.add (i32.const {PARTS + 4}) (i32.mul (local.get $part) (i32.const 8))) (i32.const 4096))
          (br_if 0 (i32.lt_u (local.tee $part (i32.add (local.get $part) (i32.const 1))) (i32.const 16))))
        (local.set $failed
          (call $path_open {_i32(3, 1, PATH + 32, 3, 0)} (i64.const 66) (i64.const 66) {_i32(0, RESULT)}))
        (global.set $fd {OPENED})
        (local.set $failed (i32.or (local.get $failed)
          (call $path_open {_i32(3, 1, PATH + 48, 4, 2)} (i64.const 16384) (i64.const 0) {_i32(0, RESULT)})))
        (global.set $directory {OPENED})
        (local.get $failed))
      (func (export "moved") (result i32) (i32.load (i32.const {RESULT})))
      (func (export "rewind") (result i32)
        (call $fd_seek (global.get $fd) (i64.const 0) {_i32(0, RESULT)}))
      {loops})"""


def _loops(api: Any, directory: Path) -> Callable[..., int]:
    """What calls an export of the program under `api`."""
    engine = api.Engine()
    store = api.Store(engine)
    config = api.WasiConfig()
    config.stdout_file = "/dev/null"
    config.argv = ["program", "--option", "file"]
    config.env = [("HOME", "/"), ("LANG", "C.UTF-8")]
    config.preopen_dir(str(directory), "/")
    store.set_wasi(config)
    linker = api.Linker(engine)
    linker.define_wasi()
    exports = linker.instantiate(store, api.Module(engine, program())).exports(store)

    def run(name: str, *arguments: int) -> int:
        return int(exports[name](store, *arguments))

    if run("open"):
        raise RuntimeError(f"{api.__name__} cannot open the file")
    return run


class Sample(NamedTuple):
    """One round, by turn."""

    seconds: float
    moved_bytes: int


def _sample(run: Callable[..., int], number: int, turns: int) -> Sample:
    run("rewind")
    started = time.process_time()
    errors = run(f"case{number}", turns)
    elapsed = time.process_time() - started
    if errors:
        raise RuntimeError(f"{CASES[number].name}: error {errors}")
    moved = CASES[number].bytes_per_turn
    return Sample(elapsed / turns, run("moved") if moved is None else moved)


def main(options: list[str]) -> dict[str, Any]:
    """Prints the table; the figures: seconds for each turn and bytes moved in it, by case and package."""
    quick = "--quick" in options
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "a" / "b" / "c").mkdir(parents=True)
        (directory / "a" / "b" / "c" / "file").write_bytes(b"x")
        (directory / "big").write_bytes(bytes(FILE_BYTES))
        (directory / "many").mkdir()
        for number in range(DIRECTORY_ENTRIES):
            (directory / "many" / f"file{number}").touch()
        packages = [api for api in (wasmjit, wasmtime) if api is not None]
        runs = {api.__name__: _loops(api, directory) for api in packages}
        print(f"{'':32}" + "".join(f"{package:>16}" for package in runs) + "    times faster")
        for number, case in enumerate(CASES):
            turns = max(1, case.turns // 100) if quick else case.turns
            samples: dict[str, list[Sample]] = {package: [] for package in runs}
            for _ in range(1 if quick else ROUNDS):
                for package, run in runs.items():
                    samples[package].append(_sample(run, number, turns))
            medians = {
                package: Sample(max(1e-12, statistics.median(s.seconds for s in values)), values[0].moved_bytes)
                for package, values in samples.items()
            }
            figures[case.name] = {package: median._asdict() for package, median in medians.items()}
            _print(case.name, list(medians.values()))
    return figures


def _print(name: str, medians: list[Sample]) -> None:
    shown = ""
    for seconds, moved_bytes in medians:
        shown += f"{moved_bytes / seconds / 1e9:11.2f} GB/s" if moved_bytes else f"{seconds * 1e6:13.2f} µs"
    costs = [median.seconds / max(1, median.moved_bytes) for median in medians]
    print(f"{name:32}{shown}" + "".join(f"{other / costs[0]:16.1f}" for other in costs[1:]))
