"""Compiles the example programs, runs them on the files in examples/data, and shows output and times.

    python examples/demo.py [NAME...]     all programs (`make demo`), or those of these names

Each program runs twice: compiled from its ``.wasm``, then loaded from the ``.cwasm`` that the first run left behind,
as a second start of an application would. Both runs must give the same output.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from wasmjit import Config, Engine, ExitTrap, Linker, Module, Store, WasiConfig

EXAMPLES = Path(__file__).resolve().parent
SHOWN_LINES = 8
SHOWN_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of a program: its arguments, and the file it writes if that is its output."""

    program: str
    arguments: tuple[str, ...]
    output_file: str | None = None


DEMOS = (
    Demo("sha256", ("data/article.txt", "data/library.json", "wordfreq.wasm")),
    Demo("json_pretty", ("data/library.json",)),
    Demo("json_pretty", ("data/broken.json",)),
    Demo("mandelbrot", ("900", "600", "300", "/out/mandelbrot.ppm"), "mandelbrot.ppm"),
    Demo("textsearch", ("-rni", "wasm", "data/tree")),
    Demo("wordfreq", ("-n", "6", "-m", "4", "data/article.txt")),
)
PROGRAMS = {demo.program for demo in DEMOS}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave, and the seconds it took (instantiation included)."""

    exit_code: int
    output: bytes
    errors: bytes
    file: bytes
    seconds: float


def run(engine: Engine, module: Module, demo: Demo, output_directory: Path) -> Outcome:
    """Runs a program that sees examples/ (read-only) as its root and `output_directory` as /out."""
    output, errors = io.BytesIO(), io.BytesIO()
    wasi = WasiConfig(argv=[demo.program, *demo.arguments], stdout=output, stderr=errors)
    wasi.preopen_dir(EXAMPLES, "/", fs_mutable=False)
    wasi.preopen_dir(output_directory, "/out")
    exit_code = 0
    started = time.perf_counter()
    with Store(engine) as store:
        store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        try:
            linker.instantiate(store, module).exports(store)["_start"](store)
        except ExitTrap as exit_trap:
            exit_code = exit_trap.code
    seconds = time.perf_counter() - started
    file = output_directory.joinpath(demo.output_file).read_bytes() if demo.output_file else b""
    return Outcome(exit_code, output.getvalue(), errors.getvalue(), file, seconds)


def show(outcome: Outcome) -> None:
    """Prints the first lines of what a program wrote."""
    lines = (outcome.output + outcome.errors).decode("utf-8", "replace").splitlines()
    for line in lines[:SHOWN_LINES]:
        print("   |", line if len(line) <= SHOWN_COLUMNS else line[: SHOWN_COLUMNS - 3] + "...")
    if len(lines) > SHOWN_LINES:
        print(f"   | ... {len(lines) - SHOWN_LINES} more lines")
    if outcome.file:
        header = outcome.file[:15].split(b"\n")[:2]
        print(f"   | ({len(outcome.file)} bytes written to a file: {b' '.join(header).decode()})")


def main() -> int:
    """0 if all went well, 1 if a second run differs from the first, 2 for a name that no program has."""
    if unknown := set(sys.argv[1:]) - PROGRAMS:
        print(f"no such program: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    engine = Engine(Config(tier="optimized"))  # what is timed below is compiling all of it
    rows = []
    failed = False
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        compiled: dict[str, tuple[Module, float]] = {}
        for demo in (demo for demo in DEMOS if demo.program in (sys.argv[1:] or PROGRAMS)):
            artifact = directory / f"{demo.program}.cwasm"
            if demo.program not in compiled:
                started = time.perf_counter()
                module = Module.from_file(engine, EXAMPLES / f"{demo.program}.wasm")
                compiled[demo.program] = module, time.perf_counter() - started
                artifact.write_bytes(module.serialize())
            module, compile_seconds = compiled[demo.program]
            first = run(engine, module, demo, directory)
            started = time.perf_counter()
            loaded = Module.deserialize_file(engine, artifact)
            load_seconds = time.perf_counter() - started
            second = run(engine, loaded, demo, directory)
            directories = "--dir examples::/::ro" + (" --dir OUT::/out" if demo.output_file else "")
            print(f"$ wasmjit run {directories} examples/{demo.program}.wasm {' '.join(demo.arguments)}")
            show(first)
            print(f"   exit code {first.exit_code}\n")
            if (first.exit_code, first.output, first.errors, first.file) != (
                second.exit_code,
                second.output,
                second.errors,
                second.file,
            ):
                print(f"   the second run of {demo.program} differs from the first", file=sys.stderr)
                failed = True
            rows.append((demo.program, compile_seconds, first.seconds, load_seconds, second.seconds))
    print(f"{'times in ms':<14} {'compile':>10} {'run':>10} {'load .cwasm':>12} {'run':>10}")
    for program, *seconds in rows:
        compile_ms, first_ms, load_ms, second_ms = (value * 1e3 for value in seconds)
        print(f"{program:<14} {compile_ms:>10.1f} {first_ms:>10.1f} {load_ms:>12.1f} {second_ms:>10.1f}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
