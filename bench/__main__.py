"""Runs all benchmarks and prints their tables; figures also go to bench/results/<time>.json.

    python -m bench [--quick] [NAME...]

NAME is one of BENCHMARKS.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
from pathlib import Path

BENCHMARKS = (
    "compile",
    "instantiate",
    "call",
    "execute",
    "simd",
    "wasi",
    "start",
    "load",
    "compile_size",
    "compare",
    "paired",
)
QUICK = "--quick"
TAKE_QUICK = {"compare", "compile_size", "wasi"}
RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str]) -> int:
    """0; 2 for a benchmark that does not exist; 1 if kernels failed."""
    names = [word for word in arguments if word != QUICK]
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))} (one of {', '.join(BENCHMARKS)})", file=sys.stderr)
        return 2
    figures = {}
    for name in names or BENCHMARKS:
        options = [QUICK] if QUICK in arguments and name in TAKE_QUICK else []
        figures[name] = importlib.import_module(f"bench.{name}").main(options)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "system": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"host": machine, **figures}, indent=1))
    print(f"\nfigures: {path}")
    return 1 if figures.get("compare", {}).get("failed") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
