"""Limits times phases: what happens when descriptors, processes, memory, stack, disk or frames run out, at each point.

    python -m tests.fuzz.limits [--tiers auto,cli-run] [--limits descriptors] [--phases hot,cache] [--jobs 2]

A *cell* is a limit, an amount, a phase of the program and a tier (or command of the command line). Each runs in a
process of its own (`limits_cell.py`), which sets the limit when the phase begins, goes on to the end of the program,
lifts the limit, and goes on as if nothing had been. In each the process ends by itself; the results are right, or there
is an error that is documented and says what ran out; where better code is asked for there is none, the program goes on
in the code that it has, and says so once; no process and no file is left behind; and behind the limit all works.

Prints what was wrong, with the cell's name (`--only NAME` repeats it); exit code 1 if anything was. Limits that take
root are left out for others.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fuzz import limits_cell
from tests.fuzz.limits_cell import DIRECTORIES, EXECUTABLES, SALTS
from wasmjit import wat2wasm

ROOT = Path(__file__).resolve().parents[2]
KIB, MIB = 1 << 10, 1 << 20
MARK = "WASMJIT_LIMITS_CELL"
HANG_SECONDS = 120
LEFT_SECONDS = 1.0
BACKGROUND_SECONDS = 120
MOST_DESCRIPTORS = 6  # more at the end than at the beginning

AMOUNTS: dict[str, Sequence[int]] = {
    "nothing": (0,),
    "descriptors": (*range(9), 11, 16),
    "processes": range(5),
    "forks": (0,),
    "address-space": (0, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 128 * MIB, 1024 * MIB),
    "data": (0, MIB, 16 * MIB, 128 * MIB),
    "stack": (128 * KIB, 256 * KIB, 512 * KIB, 2 * MIB),
    "thread-stack": (64 * KIB, 96 * KIB, 128 * KIB, 256 * KIB, 512 * KIB),
    "file-size": (0, 1000, 50_000),
    "signals": (0, 1),
    "disk-bytes": (0,),
    "disk-files": (0,),
    "directories": range(len(DIRECTORIES)),
    "recursion": (4, 7, 10, 14, 20, 32, 60),
    "executable": range(len(EXECUTABLES)),
    "root": (0,),
}
# Those that nobody needs to notice: what they take away is for speed only.
HARMLESS = {"nothing", "file-size", "disk-bytes", "disk-files", "directories"}
ROOTS = {"processes", "forks", "disk-bytes", "disk-files", "root"}
USERS = {"processes", "signals", "directories"}  # hold for others than root only
PHASES = {
    "stack": ("first", "hot", "optimise", "interrupt"),
    "thread-stack": ("translate", "first", "hot", "optimise"),
    "executable": ("text", "translate", "hot", "optimise", "cache"),
    "disk-bytes": ("optimise", "cache"),
    "disk-files": ("optimise", "cache"),
    "directories": ("text", "translate", "optimise", "cache"),
    "file-size": ("text", "translate", "first", "optimise", "cache"),
    "signals": ("translate", "hot", "interrupt"),
}
API_TIERS = ("auto", "default", "baseline", "optimized", "fuel")
TIERS = (*API_TIERS, "cli-run", "cli-auto", "cli-compile")
TIER_PHASES = {
    "auto": limits_cell.STEPS,
    "default": ("hot", "cache"),
    "baseline": ("translate", "first", "hot", "cache"),
    "optimized": ("translate", "first", "hot", "cache", "interrupt"),
    "fuel": ("translate", "first", "hot", "optimise"),
    "cli-run": ("first", "cache"),
    "cli-auto": ("first", "cache"),
    "cli-compile": ("first",),
}
NO_COMMANDS = {"thread-stack", "recursion"}  # they begin with a stack of their own
# What an error has to say, by limit; its type may say it as well.
SAYS = {
    "descriptors": r"(?i)too many open files|descriptor",
    "processes": r"(?i)resource temporarily unavailable|thread|process",
    "forks": r"(?i)cannot allocate memory|invalid argument|thread",
    "address-space": r"(?i)memory|map|address space",
    "data": r"(?i)memory|map|address space",
    "stack": r"(?i)stack",
    "thread-stack": r"(?i)stack",
    "file-size": r"(?i)file too large",
    "signals": r"(?i)timer|signal|resource temporarily",
    "recursion": r"(?i)recursion",
    "executable": r"(?i)sys\.executable|cannot start a compiler process",
    "root": r"(?i)no such file|cannot import name|no module named|cannot start a compiler process|wasm-tools",
}
TYPES = {"address-space": "MemoryError", "data": "MemoryError", "recursion": "RecursionError"}
DOCUMENTED = {"WasmError", "OSError", "MemoryError"}
LATE = {"hot", "optimise", "cache"}
WARNING = "wasmjit cannot make faster code, and goes on in the code that there is"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of the matrix."""

    limit: str
    amount: int
    phase: str
    tier: str

    @property
    def name(self) -> str:
        """How it is called on the command line and in reports."""
        return f"{self.limit}:{self.amount}/{self.phase}/{self.tier}"

    @property
    def is_command(self) -> bool:
        """Whether it is of the command line."""
        return self.tier.startswith("cli")


def cells(tiers: Sequence[str], limits: Sequence[str], phases: Sequence[str]) -> Iterator[Cell]:
    """All that this user can have, in order. What tier auto has is looked at closely, the others at fewer points."""
    is_root = os.geteuid() == 0
    for limit in limits:
        if limit in ROOTS and not is_root:
            continue
        for tier in tiers:
            if tier.startswith("cli") and limit in NO_COMMANDS:
                continue
            amounts = AMOUNTS[limit] if tier == "auto" else AMOUNTS[limit][:: 4 if tier == "default" else 3]
            wanted = set(TIER_PHASES[tier]) & set(PHASES.get(limit, limits_cell.STEPS)) & set(phases)
            if tier.startswith("cli"):
                wanted = set(TIER_PHASES[tier]) & set(phases)
            for amount in amounts:
                yield from (Cell(limit, amount, phase, tier) for phase in limits_cell.STEPS if phase in wanted)


# ---- one cell ----

_wasm: dict[str, bytes] = {}
_COMMAND = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\03\\00\\00\\00") (data (i32.const 16) "42\\0a")
  (func $g (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "_start") (local $n i32) (local $s i32)
    (loop $l (local.set $s (call $g (local.get $s)))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300000))))
    (if (i32.ne (local.get $s) (i32.const 300000)) (then (unreachable)))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))))"""


def _modules() -> dict[str, bytes]:
    if not _wasm:
        _wasm.update({f"{salt}.wasm": bytes(wat2wasm(limits_cell.text(salt))) for salt in SALTS})
        _wasm["command.wasm"] = bytes(wat2wasm(_COMMAND))
    return _wasm


@contextlib.contextmanager
def _disk(place: Path, options: str) -> Iterator[None]:
    """A small disk there."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    try:
        yield
    finally:
        detach = 2
        libc.umount2(os.fsencode(place), detach)


def _marked(mark: str) -> list[int]:
    """The processes that have it in their environment and are not dead."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            is_dead = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if not is_dead and wanted in Path("/proc", entry, "environ").read_bytes():
                found.append(int(entry))
    return found


def run_cell(cell: Cell) -> list[str]:
    """What was wrong with it."""
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasmjit-limits-")))
        place.chmod(0o777)
        names = ("home", "temporary", "cache", "state", "configuration", "data", "here")
        for name in names:
            (place / name).mkdir()
            (place / name).chmod(0o777)
        for name, wasm in _modules().items():
            (place / "data" / name).write_bytes(wasm)
        if cell.limit.startswith("disk"):
            options = "size=16m,mode=777" if cell.limit == "disk-bytes" else "size=64m,nr_inodes=40,mode=777"
            stack.enter_context(_disk(place / "cache", options))
        return _Run(cell, place).judge()


class _Run:
    """The process of a cell, and what it leaves."""

    def __init__(self, cell: Cell, place: Path) -> None:
        self.cell = cell
        self.place = place
        self.mark = uuid.uuid4().hex
        self.said: dict[str, Any] = {}
        self.output = self.errors = ""
        self.status: int | None = None

    def _start(self) -> tuple[subprocess.Popen[str], int]:
        cell, place = self.cell, self.place
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WASMJIT")}
        environment |= {
            MARK: self.mark,
            "PYTHONPATH": str(ROOT),
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "temporary"),
            "WASMJIT_CACHE_DIR": str(place / "cache"),
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_CONFIG_HOME": str(place / "configuration"),
        }
        if cell.limit == "directories":  # its directories are those that it finds by itself
            del environment["WASMJIT_CACHE_DIR"]
        told = dataclasses.asdict(cell) | {
            "directory": str(place / "data"),
            "is_user": cell.limit in USERS and os.geteuid() == 0,
            "arguments": self._arguments(),
            "has_afterwards": True,
            "ends_limited": cell.phase in LATE and cell.limit not in ("forks", "recursion"),
        }
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-c", "from tests.fuzz.limits_cell import main; main()", json.dumps(told), str(writing)],
            cwd=place / "here",
            env=environment,
            pass_fds=[writing],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        os.close(writing)
        return process, reading

    def _arguments(self) -> list[str]:
        program = str(self.place / "data" / "command.wasm")
        if self.cell.tier == "cli-compile":
            return ["compile", "-o", str(self.place / "data" / "out.cwasm"), program]
        return ["run", "--tier", "auto" if self.cell.tier == "cli-auto" else "optimized", program]

    def judge(self) -> list[str]:
        """Runs it, and says what was wrong."""
        process, reading = self._start()
        wrong = []
        try:
            self.output, self.errors = process.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            wrong.append("it hangs")
            process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.output, self.errors = process.communicate(timeout=5)
            process.kill()
            process.communicate()
        self.status = process.returncode
        with open(reading, "rb") as file:
            for line in file.read().splitlines():
                self.said |= json.loads(line)
        if not self.said.get("prepared"):
            return [f"could not be prepared: {self.errors[-1500:]}"]
        wrong += self._left()
        wrong += self._judge_command() if self.cell.is_command else self._judge_steps()
        wrong += self._judge_errors()
        return wrong

    def _left(self) -> Iterator[str]:
        """Processes and files a second after the end."""
        deadline = time.monotonic() + LEFT_SECONDS * 4  # machines are busy
        allowed = 1  # it fills the cache, within a budget, when all others leave the processor to it
        while len(left := _marked(self.mark)) > allowed and time.monotonic() < deadline:
            time.sleep(0.02)
        if len(left) > allowed:
            yield f"{len(left)} processes left"
        while _marked(self.mark) and time.monotonic() < deadline + BACKGROUND_SECONDS:
            time.sleep(0.02)
        for process in _marked(self.mark):
            yield "a process is left that does not end"
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        if self.cell.limit == "root":
            with contextlib.suppress(OSError):
                for entry in (self.place / "temporary").iterdir():
                    shutil.rmtree(entry)
        known = {"wasmjit", "cache.key", "background.lock", ".cache", ".local", "state"}
        for path in self.place.rglob("*"):
            below = path.relative_to(self.place).parts
            is_own = below[0] in ("home", "cache", "state") and (path.suffix == ".cwasm" or path.name in known)
            is_own |= below == ("temporary", "file") or path.name.startswith("filler")
            if len(below) > 1 and below[0] != "data" and not is_own:
                yield f"file left: {path.relative_to(self.place)}"

    def _judge_steps(self) -> Iterator[str]:
        said, cell = self.said, self.cell
        if self.status != 0:
            yield f"ended with {self.status}"
        if "at" not in said:
            yield "did not come to the end of the program"
            return
        if said["error"] is not None:
            yield from self._judge_error(said["at"], said["error"])
        for note in said["notes"]:
            if cell.limit in HARMLESS:
                yield f"no optimised code: {note['message']}"
            elif not self._says(note["message"], note["bases"]):
                yield f"no optimised code, without what ran out: {note['message']}"
        if "afterwards" not in said:
            yield "did not come to an end behind the limit"
        elif said["afterwards"] is not None:
            yield f"fails behind the limit: {said['afterwards']['traceback']}"

    def _judge_error(self, at: str, error: dict[str, Any]) -> Iterator[str]:
        cell = self.cell
        shown = f"in {at}: {error['type']}: {error['message']}\n{error['traceback']}"
        if error["type"] == "WrongResultError":
            yield f"WRONG RESULT {shown}"
        elif not error["is_through_us"] and cell.limit in ("recursion", "address-space", "data"):
            return  # the cell's own frames had no room
        elif (
            cell.limit in ("stack", "thread-stack")
            and error["type"] == "Trap"
            and "stack exhausted" in error["message"]
        ):
            return  # as documented
        elif cell.limit in HARMLESS or at in ("hot", "optimise") or (at == "cache" and self._has_code):
            yield f"the program fails {shown}"
        elif not DOCUMENTED & set(error["bases"]) and not self._is_natural(error):
            yield f"no documented error {shown}"
        elif not self._says(error["message"], error["bases"]):
            yield f"the error does not say what ran out, {shown}"

    def _is_natural(self, error: dict[str, Any]) -> bool:
        """Errors of Python itself, which no library can have otherwise."""
        if error["type"] == "SystemError":  # CPython's imports and calls lose their errors without memory
            return self.cell.limit in ("address-space", "data") and "without" in error["message"]
        if "ImportError" in error["bases"]:
            return self.cell.limit in ("address-space", "data", "root")
        return self.cell.limit == "recursion" and error["type"] == "RecursionError"

    @property
    def _has_code(self) -> bool:
        """Whether what is not in the cache can run all the same."""
        return False

    def _says(self, message: str, bases: Sequence[str]) -> bool:
        pattern = SAYS.get(self.cell.limit)
        return pattern is not None and (
            bool(re.search(pattern, message)) or bool({TYPES.get(self.cell.limit), "SystemError"} & set(bases))
        )

    def _judge_command(self) -> Iterator[str]:
        cell = self.cell
        if self.status == 0:
            if cell.tier != "cli-compile" and self.output != "42\n":
                yield f"printed {self.output!r}"
            elif cell.tier == "cli-compile" and not (self.place / "data" / "out.cwasm").exists():
                yield "wrote nothing"
            return
        is_refused = self.status == 1 and "wasmjit: error: " in self.errors and "internal error" not in self.errors
        if (
            cell.limit in HARMLESS and not (cell.limit == "file-size" and cell.tier == "cli-compile")
        ) or not is_refused:
            yield f"failed with {self.status}: {self.errors}"
        elif not self._says(self.errors, [word for word in ("MemoryError", "RecursionError") if word in self.errors]):
            yield f"the error does not say what ran out: {self.errors}"
        if any((self.place / "data").glob("*out*")):
            yield f"left {sorted(path.name for path in (self.place / 'data').iterdir())}"

    def _judge_errors(self) -> Iterator[str]:
        """What is on stderr beyond the one warning, and an error of the command line."""
        lines = self.errors.splitlines()
        warnings = [number for number, line in enumerate(lines) if WARNING in line]
        if len(warnings) > 1:
            yield f"says it {len(warnings)} times"
        rest = [
            line
            for number, line in enumerate(lines)
            if number not in warnings and not (number - 1 in warnings and line.startswith("  "))
        ]
        if self.cell.is_command and self.status == 1 and rest and rest[0].startswith("wasmjit: error: "):
            rest = [line for line in rest if "Traceback" in line or "internal error" in line]
        if rest:
            yield "stderr has:\n" + "\n".join(rest)[-2500:]


def main() -> int:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, choices in (("tiers", TIERS), ("limits", tuple(AMOUNTS)), ("phases", limits_cell.STEPS)):
        parser.add_argument(f"--{name}", default=",".join(choices), metavar="NAME,...", help=f"of {', '.join(choices)}")
    parser.add_argument("--only", metavar="TEXT", help="cells whose names have it")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    chosen = list(cells(options.tiers.split(","), options.limits.split(","), options.phases.split(",")))
    if options.only:
        chosen = [cell for cell in chosen if options.only in cell.name]
    _modules()
    began = time.monotonic()
    faults = 0
    with ThreadPoolExecutor(options.jobs) as threads:
        for cell, wrong in zip(chosen, threads.map(run_cell, chosen), strict=True):
            for line in wrong:
                print(f"{cell.name}: {line}", flush=True)
            faults += bool(wrong)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{len(chosen)} cells, {faults} with faults; {time.monotonic() - began:.0f} s,"
        f" {used.ru_utime + used.ru_stime:.0f} s of processor time"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
