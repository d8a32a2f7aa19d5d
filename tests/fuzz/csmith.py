"""C programs that nobody wrote, compiled by clang, run by wasmjit and by the wasmtime package: checksums are equal.

    python -m tests.fuzz.csmith [--count PROGRAMS] [--kernels] [--levels O0,O2,...] [--tiers speed,...] [--cpu A,B]
        [--seed S] [--seconds S] [--out DIRECTORY] [--triple TRIPLE]

Programs are those of `csmith` (Debian's packages csmith and libcsmith-dev, which are named where they are missing), or
with `--kernels` the loops of `loops_c.py`. Several are one C file, compiled by `zig cc` at each of `LEVELS`, and one
wasm module; each is called, and checksums, traps and in the end all of memory compared. Tiers and CPUs are those of
`tests.fuzz.loops`. A disagreement leaves the C file and the module in `--out`; exit code 1. With `--triple` modules
are compiled for another machine, and not run: under qemu, `tools/aarch64.py -m tests.fuzz.csmith --modules DIRECTORY`
runs those that `--keep` left there, since zig does not run there, and compares with what wasmtime did here.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import wasmtime

import wasmjit
from tests.processors import runnable
from wasmjit import thresholds

from . import loops_c
from .loops import configurations
from .loops_run import NEVER, Configuration, equal_but_for_nans

OUT = Path("build/csmith")
LEVELS = {
    "O0": ["-O0"],
    "O1": ["-O1"],
    "Os": ["-Os"],
    "O2": ["-O2"],
    "O3": ["-O3"],
    "O2-plain": ["-O2", "-fno-unroll-loops", "-fno-vectorize"],
    "O3-plain": ["-O3", "-fno-unroll-loops", "-fno-vectorize"],
    "O3-simd": ["-O3", "-msimd128"],
}
PROGRAMS = 10  # of csmith, in one file
KERNELS = 40
# As small as still has loops, arrays, structs and pointers: what they take is LLVM's time, here and in zig.
CSMITH_OPTIONS = (
    "--concise --no-argc --max-funcs 4 --max-block-depth 3 --max-block-size 4 --max-expr-complexity 5"
).split()
FUEL = 20_000_000
TIMEOUT_SECONDS = 20.0
CSMITH_HEADERS = "/usr/include/csmith"
MISSING = "csmith is missing: apt-get install csmith libcsmith-dev"

PRELUDE = """
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
"""
CSMITH_PRELUDE = r"""
#define UNDEFINED(value) (value)
#define LOG_INDEX
#define LOG_EXEC
#define STATIC static
#define FUNC_NAME(x) (safe_##x)
#include "safe_math.h"
static uint32_t crc32_context, table[256];
#define platform_main_begin()
#define platform_main_end(checksum, flag)
#define printf(...) ((void)0)
static void crc32_gentab(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int j = 0; j < 8; j++)
            crc = crc & 1 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
        table[i] = crc;
    }
}
static void transparent_crc_bytes(void *start, int count, char *name, int flag)
{
    for (int i = 0; i < count; i++)
        crc32_context = (crc32_context >> 8) ^ table[(crc32_context ^ ((uint8_t *)start)[i]) & 255];
}
static void transparent_crc(uint64_t value, char *name, int flag)
{
    transparent_crc_bytes(&value, 8, name, flag);
}
"""


class Unit(NamedTuple):
    """Several programs in one C file: `run_0` and so on, each called with each of `calls`."""

    name: str
    text: str
    programs: int
    calls: Sequence[int]


def csmith_unit(seed: int, count: int = PROGRAMS) -> Unit:
    """The programs of `count` seeds. Raises FileNotFoundError without csmith."""
    parts = [PRELUDE, CSMITH_PRELUDE]
    for number in range(count):
        command = ["csmith", "--seed", str(seed * PROGRAMS + number), *CSMITH_OPTIONS]
        with tempfile.TemporaryDirectory() as directory:  # where it leaves a file of its own
            text = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout
        text = text.replace('#include "csmith.h"', "").replace("static long __undefined;", "")
        text = re.sub(r"\b(func_\d+|g_\d+|S\d+|U\d+)\b", rf"p{number}_\1", text)
        parts.append(text.replace("int main (void)", f"static int main_{number}(void)"))
        parts.append(
            f'__attribute__((export_name("run_{number}"))) uint32_t run_{number}(int n)\n'
            f"{{\n    crc32_context = ~0u;\n    main_{number}();\n    return crc32_context;\n}}\n"
        )
    return Unit(f"csmith-{seed}", "\n".join(parts), count, (0,))


def kernel_unit(seed: int, count: int = KERNELS) -> Unit:
    """The kernels of `count` seeds."""
    parts = [PRELUDE, loops_c.PRELUDE, *(loops_c.kernel(seed * KERNELS + k, k) for k in range(count))]
    return Unit(f"kernels-{seed}", "\n".join(parts), count, loops_c.CALLS)


def compile_unit(unit: Unit, level: str, directory: Path) -> bytes:
    """The module. Raises CalledProcessError with zig's messages."""
    directory.mkdir(parents=True, exist_ok=True)
    source, linked, target = (directory / f"{unit.name}{end}" for end in (".c", f"-{level}.o", f"-{level}.wasm"))
    source.write_text(unit.text)
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-mcpu=lime1"]
    options = ["-fno-sanitize=all", "-fno-stack-protector", "-w", f"-I{CSMITH_HEADERS}"]
    # zig keeps what it has compiled, here thousands of files that nobody asks for again.
    environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": str(directory / "zig-cache")}
    # Programs call nothing of the C library, which zig would compile first: half a minute in each new environment.
    for call in (
        [*compiler, *LEVELS[level], *options, "-c", source.name, "-o", linked.name],
        [*compiler, "-O2", "-nostdlib", "-Wl,--no-entry", "-s", linked.name, "-o", target.name],
    ):
        subprocess.run(call, cwd=directory, env=environment, check=True, capture_output=True, text=True)
    wasm = target.read_bytes()
    for leftover in (source, linked, target):
        leftover.unlink()
    return wasm


class Outcome(NamedTuple):
    """What calls gave, by (program, argument): a checksum or a trap's name; and memory afterwards."""

    results: dict[tuple[int, int], int | str]
    memory: bytes


def run(api: Any, engine: Any, module: Any, wanted: Sequence[tuple[int, int]], kind: str = "") -> Outcome:
    """Calls each of `wanted` in a new instance."""
    store = api.Store(engine) if api is wasmtime else wasmjit.Store(engine, timeout=TIMEOUT_SECONDS)
    if api is wasmtime or kind == "fuel":
        store.set_fuel(FUEL if api is wasmtime else 1 << 62)
    if kind == "epoch":
        store.set_epoch_deadline(1 << 40)
    exports = api.Instance(store, module, []).exports(store)
    results: dict[tuple[int, int], int | str] = {}
    for program, argument in wanted:
        if api is wasmtime:
            store.set_fuel(FUEL)
        try:
            results[program, argument] = exports[f"run_{program}"](store, argument) & 0xFFFFFFFF
        except api.Trap as trap:
            results[program, argument] = trap.trap_code.name if trap.trap_code is not None else "trap"
    memory = exports["memory"]
    contents = bytes(memory.read(store, 0, memory.data_len(store)))
    store.close()
    return Outcome(results, contents)


class Comparer:
    """Counts of what was compared."""

    def __init__(self, chosen: Sequence[Configuration], out: Path) -> None:
        config = wasmtime.Config()
        config.consume_fuel = True
        config.parallel_compilation = False
        self.engine = wasmtime.Engine(config)
        self.chosen = chosen
        self.out = out
        self.modules = self.programs = self.calls = self.executions = self.endless = 0
        self.found: dict[str, int] = {}

    def expected(self, wasm: bytes, unit: Unit) -> Outcome | None:
        """What wasmtime makes of it, of programs that end in time; None if there is none."""
        module = wasmtime.Module(self.engine, wasm)
        wanted = [(program, n) for program in range(unit.programs) for n in unit.calls]
        first = run(wasmtime, self.engine, module, wanted)
        ending = [call for call in wanted if first.results[call] != "OUT_OF_FUEL"]
        self.endless += len(wanted) - len(ending)
        if len(ending) == len(wanted):
            return first
        return run(wasmtime, self.engine, module, ending) if ending else None

    def compare(self, wasm: bytes, unit: Unit, level: str, kept: Path | None = None) -> None:
        """Compares a module under every configuration; what is expected is read from `kept`, or else written there."""
        if kept is not None and kept.exists():
            written = pickle.loads(kept.read_bytes())
            expected = written and Outcome(*written)
        else:
            expected = self.expected(wasm, unit)
            if kept is not None:
                kept.write_bytes(pickle.dumps(expected and tuple(expected)))  # not the class, which may be __main__'s
        if expected is None:
            return
        self.modules += 1
        self.programs += unit.programs
        self.calls += len(expected.results)
        for configuration in self.chosen:
            module = wasmjit.Module(configuration.engine, wasm)
            if configuration.kind == "artifact":
                module = wasmjit.Module.deserialize(configuration.engine, module.serialize())
            got = run(wasmjit, configuration.engine, module, list(expected.results), configuration.kind)
            self.executions += len(got.results)
            wrong = [
                f"run_{program}({n}): expected {expected.results[program, n]}, got {got.results[program, n]}"
                for program, n in expected.results
                if got.results[program, n] != expected.results[program, n]
            ]
            trapped = any(isinstance(result, str) for result in expected.results.values())
            # What was written down on another processor may have NaNs of the other sign.
            is_equal = got.memory == expected.memory or (
                kept is not None and equal_but_for_nans(got.memory, expected.memory, "f32")
            )
            if not wrong and not trapped and not is_equal:
                wrong = ["memory differs"]
            if wrong:
                self.report(wasm, unit, level, configuration, wrong)

    def report(self, wasm: bytes, unit: Unit, level: str, configuration: Configuration, wrong: list[str]) -> None:
        """Saves a disagreement."""
        self.found[configuration.name] = self.found.get(configuration.name, 0) + 1
        self.out.mkdir(parents=True, exist_ok=True)
        name = f"{unit.name}-{level}"
        print(f"{name} {configuration.name}: {'; '.join(wrong[:5])} ({len(wrong)})", flush=True)
        (self.out / f"{name}.wasm").write_bytes(wasm)
        (self.out / f"{unit.name}.c").write_text(unit.text)
        with (self.out / f"{name}.txt").open("a") as report:
            report.write(f"{configuration.name}\n" + "".join(f"  {line}\n" for line in wrong))

    def summary(self) -> str:
        """In a line."""
        found = ", ".join(f"{count} {name}" for name, count in sorted(self.found.items())) or "none"
        return (
            f"{self.modules} modules, {self.programs} programs, {self.calls} calls ({self.endless} more do not end),"
            f" {self.executions} executions of ours; modules with disagreements: {found}"
        )


def run_modules(directory: Path, comparer: Comparer) -> None:
    """Compares modules that `--keep` left. Nothing gets hot: under emulation calls would wait long for LLVM."""
    thresholds.INTERPRETER_BUDGET = NEVER
    for path in sorted(directory.glob("*.wasm")):
        name, _, level = path.stem.partition("@")
        kernels = name.startswith("kernels")
        unit = Unit(name, "", KERNELS if kernels else PROGRAMS, loops_c.CALLS if kernels else (0,))
        comparer.compare(path.read_bytes(), unit, level, path.with_suffix(".expected"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50, help="programs")
    parser.add_argument("--kernels", action="store_true", help="loops of loops_c.py instead")
    parser.add_argument("--levels", default="O0,O1,Os,O2,O3,O3-plain")
    parser.add_argument("--tiers", default="speed")
    parser.add_argument("--cpu", default="")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--keep", type=Path, help="where to leave the modules")
    parser.add_argument("--modules", type=Path, help="compare these, compile no C")
    parser.add_argument("--triple", default="")
    options = parser.parse_args(arguments)
    cpus = runnable([cpu for cpu in options.cpu.split(",") if cpu])
    comparer = Comparer(configurations(options.tiers.split(","), cpus), options.out)
    if options.modules:
        run_modules(options.modules, comparer)
        print(comparer.summary())
        return 1 if comparer.found or not comparer.executions else 0
    abroad = wasmjit.Engine(wasmjit.Config(target=options.triple, verify_ir=True)) if options.triple else None
    per_unit = KERNELS if options.kernels else PROGRAMS
    started = reported = time.monotonic()
    for seed in range(options.seed, options.seed + -(-options.count // per_unit)):
        try:
            unit = kernel_unit(seed) if options.kernels else csmith_unit(seed)
        except FileNotFoundError:
            print(MISSING)
            return 2
        for level in options.levels.split(","):
            if time.monotonic() - started > options.seconds:
                break
            wasm = compile_unit(unit, level, options.out / "work")
            expected = None
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                kept = options.keep / f"{unit.name}@{level}.wasm"
                kept.write_bytes(wasm)
                expected = kept.with_suffix(".expected")
                expected.unlink(missing_ok=True)
            if abroad is not None:
                wasmjit.Module(abroad, wasm)
            else:
                comparer.compare(wasm, unit, level, expected)
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            print(f"[{seed}] {comparer.summary()}", flush=True)
    print(comparer.summary())
    return 1 if comparer.found or not (comparer.executions or abroad) else 0


if __name__ == "__main__":
    sys.exit(main())
