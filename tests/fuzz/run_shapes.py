"""Time and memory against size, for each shape of `shapes.py` and tier; exit code 1 if any grows out of proportion.

    python -m tests.fuzz.run_shapes [--shapes switch,init] [--tiers auto] [--sizes 10000] [--output DIR]

Each module is compiled in a fresh process; in tier auto it is instantiated, too, and its function is called once, which
translates it for the interpreter (the call ends at its timeout, if not before). Processor time is of that process and
its compilers; what an empty module takes is subtracted. The exponent is that of a line through the logarithms of the
sizes from 10 kB on.
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
    from wasmjit.compile import pipeline

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
    pipeline.pool().close()  # resource usage counts processes that have ended
    own, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    print(json.dumps({"cpu_s": seconds, "peak_bytes": max(own.ru_maxrss, workers.ru_maxrss) * 1024, "error": error}))


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


def sweep(names: list[str], tiers: list[str], sizes: list[int]) -> dict[str, Any]:
    """Figures by tier and shape, and what is out of proportion."""
    results: dict[str, Any] = {"offenders": []}
    for tier in tiers:
        base = measure(b"\0asm\1\0\0\0", tier)
        results[tier] = {"": [base]}
        for name in names:
            make = shapes.SHAPES[name]
            rows = [measure(make(shapes.count_for(make, size)), tier) for size in sizes]
            results[tier][name] = rows
            found = exponent(rows, base["cpu_s"])
            is_large = any(
                row["peak_bytes"] - base["peak_bytes"] > MOST_BYTES_PER_BYTE * row["bytes"] + MOST_BYTES for row in rows
            )
            is_slow = found is not None and found > MOST_EXPONENT
            errors = [row["error"] for row in rows if row["error"]]
            if is_slow or is_large or any(row["cpu_s"] == math.inf for row in rows):
                results["offenders"].append([tier, name])
            print(
                f"{tier:<10}{name:<26}{'' if found is None else f'{found:5.2f}':>6}"
                f"{' SLOW' if is_slow else ''}{' LARGE' if is_large else ''} "
                + " ".join(f"{row['cpu_s']:.2f} s/{row['peak_bytes'] >> 20} MB" for row in rows)
                + (f" {errors[-1][:60]}" if errors else ""),
                flush=True,
            )
    return results


def main() -> int:
    """Measures, prints, and writes what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run_shapes")
    parser.add_argument("--shapes", default=",".join(shapes.SHAPES))
    parser.add_argument("--tiers", default="auto,baseline,optimized")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    tiers = options.tiers.split(",")
    results = sweep(options.shapes.split(","), tiers, [int(size) for size in options.sizes.split(",")])
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        about = {
            "command": "python -m tests.fuzz.run_shapes " + " ".join(sys.argv[1:]),
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        }
        (options.output / "results.json").write_text(figures.text({**about, **results}))
        for tier in tiers:
            lines = {
                name: [(float(row["bytes"]), row["cpu_s"]) for row in rows if row["cpu_s"] < math.inf]
                for name, rows in results[tier].items()
                if name
            }
            chart = svg.line_chart(f"Tier {tier}", lines, x_label="bytes of wasm", y_label="processor time, seconds")
            (options.output / f"{tier}.svg").write_text(chart)
    return 1 if results["offenders"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
