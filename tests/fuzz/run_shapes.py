"""Time and memory against size, for each shape of `shapes.py` and tier; exit code 1 if any grows out of proportion.

    python -m tests.fuzz.run_shapes [--shapes switch,init] [--tiers auto] [--sizes 10000] [--output DIR]

Each module is compiled in a fresh process; in tier auto it is instantiated, too, and its function is called once, which
translates it for the interpreter (the call ends at its timeout, if not before). Processor time is of that process and
its compilers; what the smallest function takes is subtracted, of memory for each kind of process. The exponent is that
of a line through the logarithms of the sizes from 10 kB on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import figures, svg

from . import shapes

MOST_EXPONENT = 1.15
MOST_BYTES_PER_BYTE, MOST_BYTES = 200, 64 << 20
TIMEOUT_SECONDS = 900
CALL_SECONDS = 0.2
_CHILD = "from tests.fuzz.run_shapes import child; child()"


def child() -> None:
    """Compiles the module on stdin; prints figures as JSON."""
    from wasmjit import Config, Engine, Instance, Module, Store, Trap
    from wasmjit.compile import workers

    wasm = sys.stdin.buffer.read()
    error = ""
    try:
        module = Module(Engine(Config(tier=sys.argv[1])), wasm)
        kinds = [export.type for export in module.exports if export.name == "f"]
        if sys.argv[1] == "auto" and kinds and not module.imports:
            store = Store(module.engine, timeout=CALL_SECONDS)
            f = Instance(store, module, []).exports(store)["f"]
            with contextlib.suppress(Trap):
                f(store, *([0] * len(kinds[0].params)))  # type: ignore
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    workers.pool().close()  # resource usage counts processes that have ended
    own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    peaks = {"own_bytes": own.ru_maxrss * 1024, "compiler_bytes": workers.ru_maxrss * 1024}
    print(json.dumps({"cpu_s": seconds, "peak_bytes": max(peaks.values()), **peaks, "error": error}))


def measure(wasm: bytes, tier: str) -> dict[str, Any]:
    """The figures of one compilation."""
    command = [sys.executable, "-c", _CHILD, tier]
    try:
        done = subprocess.run(command, input=wasm, capture_output=True, timeout=TIMEOUT_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        return {"bytes": len(wasm), "cpu_s": math.inf, "peak_bytes": 0, "error": type(error).__name__}
    return {"bytes": len(wasm), **json.loads(done.stdout)}


def exponent(rows: list[dict[str, Any]], base_seconds: float) -> float | None:
    """That of time against bytes; None where too little time was taken to say."""
    points = [(row["bytes"], row["cpu_s"] - base_seconds) for row in rows if row["bytes"] > 5000]
    logs = [(math.log(size), math.log(seconds)) for size, seconds in points if 0.1 < seconds < math.inf]
    if len(logs) < 2 or logs[0][0] == logs[-1][0]:
        return None
    x, y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)


def sweep(names: list[str], tier: str, sizes: list[int], output: Path | None) -> bool:
    """Figures by shape (of no name: the smallest function), which go to `output`; whether all are in proportion."""
    base = measure(shapes.one(shapes.get(0)), tier)
    # Where nothing is compiled of the smallest function, what LLVM itself takes is that of another tier.
    compiler = measure(shapes.one(shapes.get(0)), "optimized") if tier == "auto" else base
    shown: dict[str, Any] = {"": [base]}
    slow, large = [], []
    for name in names:
        make = shapes.SHAPES[name]
        rows = shown[name] = [measure(make(shapes.count_for(make, size)), tier) for size in sizes]
        found = exponent(rows, base["cpu_s"])
        is_slow = (found is not None and found > MOST_EXPONENT) or any(row["cpu_s"] == math.inf for row in rows)
        is_large = any(
            max(row["own_bytes"] - base["own_bytes"], row["compiler_bytes"] - compiler["compiler_bytes"])
            > MOST_BYTES_PER_BYTE * row["bytes"] + MOST_BYTES
            for row in rows
            if row["peak_bytes"]
        )
        if is_slow:
            slow.append(name)
        if is_large:
            large.append(name)
        errors = [row["error"] for row in rows if row["error"]]
        print(
            f"{tier:<10}{name:<26}{'' if found is None else f'{found:5.2f}':>6}"
            f"{' SLOW' if is_slow else ''}{' LARGE' if is_large else ''} "
            + " ".join(f"{row['cpu_s']:.2f} s/{row['peak_bytes'] >> 20} MB" for row in rows)
            + (f" {errors[-1][:60]}" if errors else ""),
            flush=True,
        )
        if output is not None:
            write(output, tier, {"slow": slow, "large": large, "shapes": shown})
    return not slow and not large


def write(directory: Path, tier: str, found: dict[str, Any]) -> None:
    """Puts a tier's figures, and how they were taken, beside those of other tiers that are there, and draws them."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results[tier] = {
        "command": "python -m tests.fuzz.run_shapes " + " ".join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **found,
    }
    path.write_text(figures.text(results))
    for what, unit in (("cpu_s", "processor time, seconds"), ("peak_bytes", "memory, bytes")):
        lines = {
            name: [(float(row["bytes"]), float(row[what])) for row in rows if row["cpu_s"] < math.inf]
            for name, rows in found["shapes"].items()
            if name
        }
        chart = svg.line_chart(f"Tier {tier}", lines, x_label="bytes of wasm", y_label=unit, legend=False)
        (directory / f"{tier}-{'time' if what == 'cpu_s' else 'memory'}.svg").write_text(chart)


def main() -> int:
    """Measures, prints, and writes what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run_shapes")
    parser.add_argument("--shapes", default=",".join(shapes.SHAPES))
    parser.add_argument("--tiers", default="auto,baseline,optimized")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    are_good = [sweep(options.shapes.split(","), tier, sizes, options.output) for tier in options.tiers.split(",")]
    return 0 if all(are_good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
