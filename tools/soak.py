"""Runs a small program that works on files again and again: memory and descriptors must stay as they are.

    python tools/soak.py [--cycles 100000] [--minutes 30]

Does so many cycles, spread over so many minutes. Each makes a Store, instantiates the program, runs it and drops all:
with host directories and in memory, ending by return, by a trap, with descriptors left open, with the Store closed and
just forgotten, in turns. What it reports is the resident memory of this process; it fails (exit code 1) if that grew by
more than `ALLOWED_GROWTH_BYTES` after the first cycles, or if any descriptor stays open.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wasmjit import Config, Engine, Linker, MemoryFS, Module, Store, Trap, WasiConfig, run

ALLOWED_GROWTH_BYTES = 3 << 20
WARM_UP_CYCLES = 200
REPORT_CYCLES = 2000
ROOT = Path(__file__).resolve().parent.parent
PROBE = ROOT / "tests" / "wasi" / "probe.wasm"
# Creates, writes, reads, lists, links, renames, removes; leaves two descriptors open. Words of tests/wasi/probe.c.
WORK = """
    open 3 1 new 1 66 0  write 4 hello  seek 4 0 0  read 4 5  mkdir 3 dir  open 3 1 dir 2 2 0  readdir 3 0
    symlink 3 new link  link 3 new 3 hard  rename 3 hard 3 moved  pathstat 3 1 link  unlink 3 moved
    unlink 3 link  rmdir 3 dir  open 3 1 ../outside 0 2 0  open 3 1 nothing 0 2 0  unlink 3 new
""".split()
TRAP = b"""(module (memory (export "memory") 4)
  (func (export "_start") (memory.fill (i32.const 0) (i32.const 1) (i32.const 200000)) unreachable))"""


def resident_bytes() -> int:
    """The memory this process has in use."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_descriptors() -> int:
    """How many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


def cycles_on(directory: Path) -> list[Callable[[], None]]:
    """The kinds of cycle."""
    engine = Engine(Config(tier="baseline"))
    probe, trapping = Module.from_file(engine, str(PROBE)), Module(engine, TRAP)
    linker = Linker(engine)
    linker.define_wasi()

    def on_host() -> None:
        result = run(probe, WORK, dirs={"/": directory})
        if result.exit_code or b"-> 0" not in result.stdout:
            raise RuntimeError(f"the program failed: {result}")

    def in_memory() -> None:
        files = MemoryFS({"file": bytes(10_000)})
        if run(probe, WORK, dirs={"/": files}).exit_code or files.listdir() != ["file"]:
            raise RuntimeError("the program failed in memory")

    def forgotten() -> None:
        store = Store(engine)
        config = WasiConfig(argv=["probe", *WORK], stdout=io.BytesIO())
        config.preopen_dir(directory, "/")
        store.set_wasi(config)
        linker.instantiate(store, probe).exports(store)["_start"](store)

    def trap() -> None:
        try:
            run(trapping, dirs={"/": directory})
        except Trap:
            return
        raise RuntimeError("the program did not trap")

    return [on_host, in_memory, forgotten, trap]


class Soak:
    """The cycles and what was measured. `growth_bytes` and `leaked_descriptors` are since the warm-up."""

    def __init__(self, directory: Path) -> None:
        self._cycles = cycles_on(directory)
        self.done = 0
        self.run(WARM_UP_CYCLES)
        self._resident_bytes, self._descriptors = self._measure()

    @staticmethod
    def _measure() -> tuple[int, int]:
        gc.collect()
        return resident_bytes(), open_descriptors()

    def run(self, count: int) -> None:
        """So many cycles, of all kinds in turns."""
        for _ in range(count):
            self._cycles[self.done % len(self._cycles)]()
            self.done += 1

    def growth(self) -> tuple[int, int]:
        """(bytes, descriptors) more than after the warm-up."""
        resident, descriptors = self._measure()
        return resident - self._resident_bytes, descriptors - self._descriptors


def main(arguments: list[str]) -> int:
    """0; 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--minutes", type=float, default=30, help="spread over this time (default 30)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(Path(directory))
        print(f"{'cycles':>8} {'minutes':>8} {'resident':>12} {'growth':>12} descriptors")
        grown_bytes = descriptors = 0
        while soak.done < options.cycles:
            soak.run(min(REPORT_CYCLES, options.cycles - soak.done))
            due = started + options.minutes * 60 * soak.done / options.cycles
            time.sleep(max(0.0, due - time.monotonic()))
            grown_bytes, descriptors = soak.growth()
            minutes = (time.monotonic() - started) / 60
            resident_kib = resident_bytes() >> 10
            print(
                f"{soak.done:8} {minutes:8.1f} {resident_kib:8} KiB {grown_bytes >> 10:8} KiB {descriptors:+}",
                flush=True,
            )
    if grown_bytes > ALLOWED_GROWTH_BYTES or descriptors > 0:
        print(f"grew by {grown_bytes} bytes and {descriptors} descriptors", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
