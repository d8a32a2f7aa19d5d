"""Programs with objects of garbage collection under wasmjit and the wasmtime package, turn by turn in one process.

    python -m bench.objects [--rounds N] [NAME...]

A round calls the program in each package once, in stores of their own; figures are the least processor time of all
rounds (15). Both have compiled what they run before.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import wasmtime

import wasmjit

SOURCE = Path(__file__).parent / "kernels.wat"
# How much is asked for, so that a round takes some milliseconds.
AMOUNTS = {
    "trees": 100,
    "lists": 200,
    "tests": 2000,
    "casts": 2000,
    "sums": 2000,
    "doubles": 2000,
    "defaults": 200_000,
    "copies": 300_000,
    "matrix": 300,
    "fields": 1_000_000,
    "closures": 500_000,
    "maps": 300_000,
    "sorts": 300,
    "strings": 100_000,
    "words": 5_000,
}


def exports_of(api: Any) -> tuple[Any, Any]:
    """The engine and the module."""
    config = api.Config()
    config.wasm_gc = config.wasm_function_references = True
    if api is wasmjit:
        config.tier = "optimized"
    engine = api.Engine(config)
    return engine, api.Module(engine, SOURCE.read_text())


def seconds(api: Any, made: tuple[Any, Any], name: str) -> tuple[float, int]:
    """The processor time of one call, and its result."""
    store = api.Store(made[0])
    function = api.Instance(store, made[1], []).exports(store)[name]
    began = time.process_time()
    result = function(store, AMOUNTS[name])
    return time.process_time() - began, result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("names", nargs="*", default=list(AMOUNTS))
    options = parser.parse_args()
    packages = (wasmjit, wasmtime)
    made = [exports_of(api) for api in packages]
    ratios = []
    print("| program | wasmjit, ms | wasmtime, ms | ratio |\n|---|---|---|---|")
    for name in options.names:
        best = [math.inf, math.inf]
        for number in range(options.rounds):
            results = {}
            for position in (0, 1) if number % 2 else (1, 0):
                taken, results[position] = seconds(packages[position], made[position], name)
                best[position] = min(best[position], taken)
            assert results[0] == results[1], (name, results)
        ratios.append(best[0] / best[1])
        print(f"| {name} | {best[0] * 1e3:.3f} | {best[1] * 1e3:.3f} | {ratios[-1]:.3f} |", flush=True)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"| geometric mean | | | {mean:.3f} |")


if __name__ == "__main__":
    main()
