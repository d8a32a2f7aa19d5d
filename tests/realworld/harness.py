"""Runs a program of a registry here, through Python and the command line, and under wasmtime, and compares."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.realworld.packages import BUILD, ROOT, WASMTIME_COMMAND, Package

CHILD = Path(__file__).parent / "child.py"
TIME_LIMIT_SECONDS = 900.0


class Result(NamedTuple):
    """What a run gave: exit code, output, and the files in its directory afterwards."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    files: dict[str, bytes]


@dataclass(frozen=True)
class Program:
    """A program and its task, run in a directory ("/" for it) that holds `files`."""

    name: str
    what: str
    package: Package
    member: str
    arguments: tuple[str, ...]
    check: Callable[[Result], None]  # raises AssertionError
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    stdin: bytes = b""
    export: str = "_start"
    # The wasmtime package links wasi_snapshot_preview1 only; its command line knows wasi_unstable as well.
    reference_is_command: bool = False
    # Code that runs fastest takes long to make from the larger modules: they use the quick tier.
    tier: str = "baseline"
    # Frames of the quick tier are larger than those of optimised code.
    max_wasm_stack_bytes: int | None = None

    def module(self) -> Path:
        return self.package.extract(self.member)


class Times(NamedTuple):
    """Of one run of a process: wall time, and CPU time with that of the processes it waited for, in seconds."""

    wall: float
    cpu: float


@dataclass
class Comparison:
    """The times of a program's runs, which all gave the same result."""

    program: Program
    tier: str
    first: Times
    cached: Times
    command: Times | None  # None for a reactor: the command line passes --invoke's arguments to the function
    wasmtime: Times
    wasmtime_cached: Times | None


def _run(program: Program, command: list[str], environment: Mapping[str, str]) -> tuple[Result, Times]:
    """Runs a command line that has "DIRECTORY" where the program's directory goes."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "root"
        directory.mkdir()
        for name, contents in program.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(contents.encode() if isinstance(contents, str) else contents)
        before = os.times()
        start = time.monotonic()
        done = subprocess.run(
            [argument.replace("DIRECTORY", str(directory)) for argument in command],
            input=program.stdin,
            capture_output=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        wall, after = time.monotonic() - start, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        files = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    return Result(done.returncode, done.stdout, done.stderr, files), Times(wall, cpu)


def _python_command(program: Program, api: str, *options: str) -> list[str]:
    given = ["--dir", "DIRECTORY", "--export", program.export, *options]
    return [sys.executable, str(CHILD), api, str(program.module()), *given, "--", *program.arguments]


def _stack_option(program: Program) -> list[str]:
    return ["--max-wasm-stack", str(program.max_wasm_stack_bytes)] if program.max_wasm_stack_bytes else []


def _our_command_line(program: Program, tier: str) -> list[str]:
    run = [sys.executable, "-m", "wasmjit", "run", "--tier", tier, "--dir", "DIRECTORY::/", *_stack_option(program)]
    return [*run, "--argv0", program.module().stem, str(program.module()), *program.arguments]


def _reference(program: Program, cache: Path, with_cache: bool) -> tuple[Result, Times, Times | None]:
    """Under wasmtime: what it gives, its time, and its time with compiled code in its cache, if asked for."""
    if program.reference_is_command:
        wasmtime = WASMTIME_COMMAND.extract("wasmtime_cli/wasmtime", 0o755)
        command = [str(wasmtime), "run", "-C", "cache=n", "--dir", "DIRECTORY::/", "--argv0", program.module().stem]
        result, times = _run(program, [*command, str(program.module()), *program.arguments], {})
        return result, times, None
    settings = cache / "wasmtime.toml"
    settings.write_text(f'[cache]\ndirectory = "{cache / "wasmtime"}"\n')
    result, times = _run(program, _python_command(program, "wasmtime"), {})
    if not with_cache:
        return result, times, None
    cached = _python_command(program, "wasmtime", "--cache", str(settings))
    _run(program, cached, {})
    return result, times, _run(program, cached, {})[1]


def compare(program: Program, tier: str | None = None, *, wasmtime_cached: bool = True) -> Comparison:
    """Runs `program` all ways, in `tier` or its own; wasmtime's time from its cache takes two more runs.

    Raises AssertionError where they differ, and UnavailableError.
    """
    tier = tier or program.tier
    cache = BUILD / "cache" / program.name
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    options = ["--tier", tier, "--cache", str(cache / "python"), *_stack_option(program)]
    ours = _python_command(program, "wasmjit", *options)
    expected, reference_times, reference_cached = _reference(program, cache, wasmtime_cached)
    program.check(expected)
    results, times = {}, {}
    results["first run"], times["first run"] = _run(program, ours, {})
    results["cached run"], times["cached run"] = _run(program, ours, {})
    environment = {"WASMJIT_CACHE_DIR": str(cache / "python")}
    if program.export == "_start":
        results["command line"], times["command line"] = _run(program, _our_command_line(program, tier), environment)
    for how, result in results.items():
        assert result == expected, f"{program.name}, {how}: {_difference(result, expected)}"
    return Comparison(
        program,
        tier,
        times["first run"],
        times["cached run"],
        times.get("command line"),
        reference_times,
        reference_cached,
    )


def _difference(ours: Result, theirs: Result) -> str:
    """What differs, short enough to read."""
    for what, a, b in zip(Result._fields, ours, theirs, strict=True):
        if a != b and isinstance(a, dict) and isinstance(b, dict):
            names = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
            return f"files {names} differ from wasmtime's"
        if a != b:
            return f"{what} is {_short(a)} but {_short(b)} under wasmtime (ours says {_short(ours.stderr)})"
    return "nothing"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:150]} ... {text[-250:]}"


HEADINGS = ("program", "wasm kB", "tier", "first", "cached", "command", "wasmtime", "its cache")


def table(comparisons: list[Comparison]) -> str:
    """Wall times in seconds, CPU times in brackets."""
    rows = [HEADINGS]
    for c in comparisons:
        size = f"{c.program.module().stat().st_size / 1000:.0f}"
        columns = [c.first, c.cached, c.command, c.wasmtime, c.wasmtime_cached]
        rows.append((c.program.name, size, c.tier, *(f"{t.wall:.2f} ({t.cpu:.2f})" if t else "-" for t in columns)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) if number == 0 else cell.rjust(width)
                  for number, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )  # fmt: skip


def main(programs: list[Program], arguments: list[str] | None = None) -> int:
    """The command line of this folder and of each program's file: 1 if a program failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.realworld", description=__doc__)
    names = [program.name for program in programs]
    parser.add_argument("program", nargs="*", help=f"one of {', '.join(names)} (all)")
    parser.add_argument("--tier", choices=["auto", "baseline", "optimized"], help="for all (each its own)")
    options = parser.parse_args(arguments)
    if unknown := set(options.program) - set(names):
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    comparisons, failures = [], []
    for program in programs:
        if options.program and program.name not in options.program:
            continue
        print(f"{program.name}: {program.what} ({program.package})", file=sys.stderr, flush=True)
        try:
            comparisons.append(compare(program, options.tier))
        except Exception as error:  # the others are still to be run
            failures.append(f"{program.name}: {type(error).__name__}: {error}")
    print("Seconds of wall time (of CPU) of a process, its start included.")
    print(table(comparisons))
    for failure in failures:
        print(re.sub(r"\s+", " ", failure), file=sys.stderr)
    return 1 if failures else 0
