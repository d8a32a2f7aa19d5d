"""Compile time against size: programs of many functions, and one function that grows.

    python -m bench.compile_size [--quick] [--json] [--output DIRECTORY]

Programs are those of bench/kernels/large.py, from 10,000 to 1,000,000 instructions; the single function is an
interpreter: a `br_table` in a loop, nested blocks, one for each case, and up to 10,000 locals (`interpreter`). Each is
compiled in a fresh process at the opt levels `speed` and `none`. Wall time is what one waits for, processor time is
that of all processes together, memory the peak of the largest process. `results.json`, `programs.svg`,
`function.svg` and `README.md` are written to DIRECTORY (bench/results/compile-size).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import figures, svg
from .kernels import large

RESULTS = Path(__file__).resolve().parent / "results" / "compile-size"
LEVELS = ("speed", "none")
PROGRAMS = (3, 30, 100, 300, 1000, 2750)  # functions, of some 350 instructions each, and libc
QUICK_PROGRAMS = (3, 30, 100)
FUNCTIONS = (5_000, 20_000, 50_000, 200_000)  # instructions
QUICK_FUNCTIONS = (5_000, 20_000)
MOST_LOCALS = 10_000
INSTRUCTIONS_PER_CASE = 25
TIMEOUT_SECONDS = 1800
_OPERATORS = (0x6A, 0x6B, 0x71, 0x72, 0x73)  # i32.add, sub, and, or, xor
_CHILD = "import sys; from bench.compile_size import child; child(*sys.argv[1:])"


def leb(value: int) -> bytes:
    """A number in LEB128; of those below 64 the signed form is the same."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _case(draw: random.Random, instructions: int, num_locals: int) -> bytes:
    """Instructions that load, store, calculate and branch on locals drawn at random."""
    code = bytearray()
    count = 0
    while count < instructions:
        a, b, c = (leb(draw.randrange(1, num_locals)) for _ in range(3))
        address = leb(draw.randrange(4096) * 4)
        kind = draw.randrange(4)
        if kind == 0:
            code += b"\x20" + a + b"\x20" + b + bytes([draw.choice(_OPERATORS)]) + b"\x21" + c
            count += 4
        elif kind == 1:
            code += b"\x20" + a + b"\x28\x02" + address + b"\x21" + c
            count += 3
        elif kind == 2:
            code += b"\x20" + a + b"\x20" + b + b"\x36\x02" + address
            count += 3
        else:  # if (a) c = b * constant
            code += b"\x20" + a + b"\x04\x40\x20" + b + b"\x41" + leb(draw.randrange(64)) + b"\x6c\x21" + c + b"\x0b"
            count += 6
    return bytes(code)


def interpreter(instructions: int, seed: int = 1) -> bytes:
    """A module of one function of about so many instructions: ``(loop (block ... (br_table ...) case) case) ...)``."""
    draw = random.Random(seed)
    cases = max(1, instructions // INSTRUCTIONS_PER_CASE)
    num_locals = min(MOST_LOCALS, max(16, instructions // 5))
    body = bytearray(leb(1) + leb(num_locals - 1) + b"\x7f")
    body += b"\x03\x40" + b"\x02\x40" * (cases + 1)
    # local 0 is the program counter: memory[local 0 + 1] says which case is next
    body += b"\x20\x00\x41\x01\x6a\x22\x00\x28\x02\x00\x0e" + leb(cases) + b"".join(map(leb, range(cases))) + leb(cases)
    for number in range(cases):
        body += b"\x0b" + _case(draw, INSTRUCTIONS_PER_CASE - 1, num_locals) + b"\x0c" + leb(cases - number)
    body += b"\x0b\x0b\x0b"

    def section(number: int, content: bytes) -> bytes:
        return bytes([number]) + leb(len(content)) + content

    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            section(1, b"\x01\x60\x01\x7f\x00"),
            section(3, b"\x01\x00"),
            section(5, b"\x01\x00\x10"),
            section(7, b"\x01\x01f\x00\x00"),
            section(10, b"\x01" + leb(len(body)) + body),
        )
    )


def child(path: str, level: str) -> None:
    """Compiles a file and prints figures as JSON: the process that `measure` starts."""
    from wasmjit.compile import pipeline, workers
    from wasmjit.config import Config
    from wasmjit.wasm.decode import decode
    from wasmjit.wasm.validate import validate_module_level

    module = decode(Path(path).read_bytes())
    validate_module_level(module)
    statistics = pipeline.CompileStatistics()
    started = time.perf_counter()
    units = pipeline.compile_module(module, Config(opt_level=level), statistics)
    wall_s = time.perf_counter() - started
    workers.pool().close()  # resource usage counts processes that have ended
    own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "instructions": statistics.instructions,
        "wasm_bytes": os.path.getsize(path),
        "object_bytes": sum(len(unit.object) for unit in units),
        "wall_s": wall_s,
        "cpu_s": own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime,
        "generate_s": statistics.generate_seconds,
        "optimise_s": statistics.optimise_seconds,
        "emit_s": statistics.emit_seconds,
        "peak_bytes": max(own.ru_maxrss, workers.ru_maxrss) * 1024,
    }
    print(json.dumps(figures))


def measure(path: Path, level: str) -> dict[str, Any]:
    """The figures of one compilation in a fresh process. Raises RuntimeError if it failed."""
    command = [sys.executable, "-c", _CHILD, str(path), level]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    if done.returncode:
        raise RuntimeError(f"{path.name}, {level}: {done.stderr.strip()[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def sweep(files: Sequence[Path], quiet: bool) -> dict[str, list[dict[str, Any]]]:
    """Figures of all files by opt level."""
    found: dict[str, list[dict[str, Any]]] = {level: [] for level in LEVELS}
    for path in files:
        for level in LEVELS:
            figures = measure(path, level)
            found[level].append(figures)
            if not quiet:
                print(
                    f"{path.stem:<20} {level:<6} {figures['instructions']:>9,} instructions {figures['wall_s']:8.2f} s"
                    f" {figures['cpu_s']:8.2f} s of processors {figures['peak_bytes'] / 1e6:7.0f} MB",
                    flush=True,
                )
    return found


def report(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    lines = [
        "# Compile time against size",
        "",
        f"Taken {results['date']} by `python -m bench.compile_size`, {results['cores']} cores"
        f" ({results['system']}), load at the start {results['load']:.1f}. One compilation each, in a fresh process;"
        " processor time is of all its processes, memory the peak of the largest.",
    ]
    for name, title in (("programs", "Programs of many functions"), ("function", "One function, an interpreter")):
        lines += ["", f"## {title}", "", f"![{title}]({name}.svg)", ""]
        lines += ["| instructions | level | wall, s | processors, s | µs per instruction | memory, MB |"]
        lines += ["|---:|---|---:|---:|---:|---:|"]
        for level, rows in results[name].items():
            lines += [
                f"| {row['instructions']:,} | {level} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} |"
                f" {row['cpu_s'] / row['instructions'] * 1e6:.0f} | {row['peak_bytes'] / 1e6:.0f} |"
                for row in rows
            ]
    return "\n".join(lines) + "\n"


def write(results: dict[str, Any], directory: Path) -> None:
    """Writes the results, the plots and the page about them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(figures.text(results))
    labels = {"x_label": "instructions of wasm", "y_label": "compile time, seconds"}
    for name, title in (("programs", "Compile time of programs"), ("function", "Compile time of one function")):
        lines = {
            level: [(float(row["instructions"]), row["wall_s"]) for row in rows]
            for level, rows in results[name].items()
        }
        (directory / f"{name}.svg").write_text(svg.line_chart(title, lines, **labels))
    (directory / "README.md").write_text(report(results))


def main(arguments: list[str]) -> dict[str, Any]:
    """Measures, prints and writes; returns the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.compile_size", description="compile time against size")
    parser.add_argument("--quick", action="store_true", help="smaller sizes only")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIRECTORY")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory(prefix="wasmjit-bench-") as directory:
        programs, functions = [], []
        for count in QUICK_PROGRAMS if options.quick else PROGRAMS:
            programs.append(Path(directory, f"program-{count}.wasm"))
            large.build(programs[-1], count)
        for count in QUICK_FUNCTIONS if options.quick else FUNCTIONS:
            functions.append(Path(directory, f"function-{count}.wasm"))
            functions[-1].write_bytes(interpreter(count))
        results["programs"] = sweep(programs, options.json)
        results["function"] = sweep(functions, options.json)
    write(results, options.output)
    if options.json:
        json.dump(results, sys.stdout, indent=1)
    else:
        print(f"written to {options.output}")
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
