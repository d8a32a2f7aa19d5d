"""Translation to code from stencils: time and bytes per wasm instruction, and memory beside the wasm.

    python -m bench.translation [--rounds N] [--realworld] [FILE...]

Without files: all kernels (bench/kernels), as one row, and a generated module; `--realworld`: the programs of
``make realworld``, too. All functions of a module are translated, in processor time of one thread, the least of N (5)
rounds, each with a Module of its own. "code" is native code, "tables" what says where in the wasm an address in it is,
"words" what the interpreter runs and native code is made of, which is freed then, but for a record of each function.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import wasmjit

from .kernels import large
from .kernels.catalogue import KERNELS

TIMES = ("word_ns", "code_ns")


def translate(engine: wasmjit.Engine, wasm: bytes) -> dict[str, int]:
    """What translating all functions of a module takes, and gives."""
    with wasmjit.Module(engine, wasm) as module:
        interpreter = module._load()._interpreter
        assert interpreter is not None
        return {"wasm_bytes": len(wasm), **interpreter.measure(translate_all=True)}


def measure(name: str, modules: Sequence[bytes], rounds: int) -> dict[str, int | str]:
    """The sums of some modules, of the rounds in which each took least."""
    total: dict[str, int] = {}
    engine = wasmjit.Engine(wasmjit.Config(tier="auto", cache=False))
    for wasm in modules:
        found = [translate(engine, wasm) for _ in range(rounds)]
        for key in found[0]:
            total[key] = total.get(key, 0) + min(one[key] for one in found)
    return {"name": name, **total}


HEAD = (
    f"{'module':<12} {'wasm kB':>8} {'instr.':>10} {'words':>7} {'code':>7} {'us/instr.':>9} {'B/instr.':>8}"
    f" {'code+tab.':>9} {'words':>7} {'all':>7}  (memory: times the wasm)"
)


def line(row: dict[str, int | str]) -> str:
    """A row of the table."""
    figures = {key: int(value) for key, value in row.items() if key != "name"}
    count, wasm = figures["instruction_count"], figures["wasm_bytes"]
    words, code = (figures[key] / count / 1e3 for key in TIMES)
    tables = figures["code_bytes"] + figures["table_bytes"]
    missing = figures["function_count"] - figures["native_count"]
    return (
        f"{row['name']:<12} {wasm / 1e3:>8.0f} {count:>10,} {words:>7.3f} {code:>7.3f} {words + code:>9.3f}"
        f" {figures['code_bytes'] / count:>8.2f} {tables / wasm:>9.2f} {figures['word_bytes'] / wasm:>7.2f}"
        f" {(tables + figures['word_bytes']) / wasm:>7.2f}" + (f"  {missing} functions have none" if missing else "")
    )


def _real_programs() -> Iterable[tuple[str, bytes]]:
    from tests.realworld.__main__ import PROGRAMS

    for program in PROGRAMS:
        yield program.name, program.module().read_bytes()


def main(arguments: Sequence[str]) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.translation", description="translation to stencils")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--realworld", action="store_true", help="programs of the registries, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    named: list[tuple[str, list[bytes]]] = [(file.stem, [file.read_bytes()]) for file in options.files]
    if not options.files:
        named.append(("kernels", [kernel.wasm.read_bytes() for kernel in KERNELS]))
        named.append(("generated", [large.module()]))
    if options.realworld:
        named += [(name, [wasm]) for name, wasm in _real_programs()]
    print(HEAD)
    rows = []
    for name, modules in named:
        rows.append(measure(name, modules, options.rounds))
        print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
