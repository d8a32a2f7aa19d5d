"""Runs all benchmarks and prints their tables; figures also go to bench/results/<time>.json.

python -m bench [compile] [instantiate] [call] [execute] [simd]
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
from pathlib import Path

BENCHMARKS = ("compile", "instantiate", "call", "execute", "simd")
RESULTS = Path(__file__).resolve().parent / "results"


def main(names: list[str]) -> int:
    """0, or 2 for a benchmark that does not exist."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))} (one of {', '.join(BENCHMARKS)})", file=sys.stderr)
        return 2
    figures = {name: importlib.import_module(f"bench.{name}").main([]) for name in names or BENCHMARKS}
    machine = {"machine": platform.machine(), "python": platform.python_version(), "system": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"host": machine, **figures}, indent=1))
    print(f"\nfigures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
