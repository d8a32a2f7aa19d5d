"""`python -m tests.fuzz.run_mutations --count 10000`: mutants, accepted or refused as wasm-tools does?

Half of them come from our own mutator, half from `wasm-tools mutate` (and mutants of those). Prints each
disagreement; exit status 1 if there is one. `--keep DIR` writes the modules that disagree.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.corpus import example_modules, seed_modules, smith_modules, wasm_tools_mutants
from tests.fuzz.mutate import mutants
from tests.fuzz.oracle import disagreements, our_refusal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="mutants in all (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    parser.add_argument("--keep", type=Path, help="folder for the modules that disagree")
    arguments = parser.parse_args()

    started = time.perf_counter()
    seeds = seed_modules() + smith_modules(60, arguments.seed) + example_modules(30_000)
    half = arguments.count // 2
    modules = wasm_tools_mutants(seeds, half, arguments.seed)
    from_wasm_tools = len(modules)
    modules += mutants(seeds + modules[:500], arguments.count - len(modules), arguments.seed)
    found = disagreements(modules)
    accepted = sum(our_refusal(wasm) is None for wasm in modules)
    print(
        f"{len(modules)} mutants of {len(seeds)} modules ({from_wasm_tools} by wasm-tools mutate): "
        f"{accepted} accepted, {len(modules) - accepted} refused, {len(found)} disagreements, "
        f"{time.perf_counter() - started:.1f} s"
    )
    for number, (wasm, verdicts) in enumerate(found):
        print(f"- {verdicts}\n  {wasm.hex() if len(wasm) <= 300 else f'{len(wasm)} bytes'}")
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{number}.wasm").write_bytes(wasm)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
