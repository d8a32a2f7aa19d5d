"""Compile throughput: where the time goes from wasm bytes to callable code, by stage.

    python -m bench.compile [FILE...] [--opt-level none|speed|speed_and_size]

Without files: a generated module of at least 300,000 instructions (bench/kernels/large.py), and the examples.
The first row of figures is what the project promises: wasm instructions per second turned into LLVM IR, in one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from wasmjit import abi
from wasmjit.artifact import Artifact
from wasmjit.compile.pipeline import CompileStatistics, compile_module, resolve_target, target_architecture
from wasmjit.compile.unit import Unit, plan_units
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.config import OPT_LEVELS, Config
from wasmjit.runtime.code import load
from wasmjit.runtime.validator import check_bodies
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import Module
from wasmjit.wasm.validate import validate, validate_module_level

from .kernels import large

ROOT = Path(__file__).resolve().parent.parent
REPETITIONS = 5
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class CompileFigures:
    """Times in seconds. LLVM's are of work, summed over processes; `wall_seconds` is what one waits for."""

    name: str
    opt_level: str
    wasm_bytes: int
    instructions: int
    ir_bytes: int
    code_bytes: int
    decode_seconds: float
    validate_seconds: float  # a validating pass by itself; compiling does it within `generate_seconds`
    in_c_seconds: float  # the same in C, on one processor
    generate_seconds: float
    parse_seconds: float
    optimise_seconds: float
    emit_seconds: float
    link_seconds: float
    load_seconds: float
    wall_seconds: float

    @property
    def generated_per_second(self) -> float:
        """Wasm instructions validated and turned into IR text per second."""
        return self.instructions / self.generate_seconds


def best_of(work: Callable[[], Result]) -> tuple[float, Result]:
    """The least processor time of a few runs (other load on the machine does not count), and the last result."""
    times = []
    for _ in range(REPETITIONS):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result


def generate(module: Module, config: Config) -> int:
    """Generates the IR of all units; returns the number of wasm instructions."""
    policy = CodePolicy.from_config(config, target_architecture(config))
    layout = abi.module_layout(module)
    instructions = 0
    for functions in plan_units(module):
        unit = Unit(module, functions, policy, layout)
        unit.text()
        instructions += unit.num_instructions
    return instructions


def measure(name: str, wasm: bytes, config: Config) -> CompileFigures:
    """Compiles one module, stage by stage."""
    target = resolve_target(config)  # starts a compiler process, which is not this module's time
    decode_seconds, module = best_of(lambda: decode(wasm, config.features))
    validate_seconds, _ = best_of(lambda: validate(module))
    in_c_seconds, _ = best_of(lambda: validate(module, partial(check_bodies, parallel=False)))
    generate_seconds, instructions = best_of(lambda: generate(module, config))
    statistics = CompileStatistics()
    started = time.perf_counter()
    validate_module_level(module)
    units = compile_module(module, config, statistics)
    compiled = time.perf_counter()
    artifact = Artifact.from_compiled(module, units, target=target, config_key=config.cache_key())
    linked = time.perf_counter()
    code = load(artifact)
    loaded = time.perf_counter()
    assert statistics.instructions == instructions and code.function_addresses
    return CompileFigures(
        name=name,
        opt_level=config.opt_level,
        wasm_bytes=len(wasm),
        instructions=instructions,
        ir_bytes=statistics.ir_bytes,
        code_bytes=len(artifact.text),
        decode_seconds=decode_seconds,
        validate_seconds=validate_seconds,
        in_c_seconds=in_c_seconds,
        generate_seconds=generate_seconds,
        parse_seconds=statistics.parse_seconds,
        optimise_seconds=statistics.optimise_seconds,
        emit_seconds=statistics.emit_seconds,
        link_seconds=linked - compiled,
        load_seconds=loaded - linked,
        wall_seconds=loaded - started + decode_seconds,
    )


STAGES = ("decode", "validate", "in_c", "generate", "parse", "optimise", "emit", "link", "load", "wall")


def print_table(rows: list[CompileFigures]) -> None:
    """A line per module and level; times in milliseconds."""
    print("\nCompile time by stage, in ms of work (validate, in_c: by themselves; wall: what one waits for, all cores)")
    head = f"{'module':<16} {'level':<7} {'instructions':>12} {'Minstr/s IR':>11} {'code kB':>8}"
    print(head + "".join(f" {stage:>9}" for stage in STAGES))
    for row in rows:
        line = f"{row.name:<16} {row.opt_level[:7]:<7} {row.instructions:>12,} {row.generated_per_second / 1e6:>11.2f}"
        figures = [getattr(row, f"{stage}_seconds") * 1e3 for stage in STAGES]
        print(f"{line} {row.code_bytes / 1e3:>8.0f}" + "".join(f" {figure:>9.1f}" for figure in figures), flush=True)


def modules(paths: list[str]) -> list[tuple[str, bytes]]:
    """(name, wasm) of what is to be measured."""
    if paths:
        return [(Path(path).stem, Path(path).read_bytes()) for path in paths]
    examples = sorted((ROOT / "examples").glob("*.wasm"))
    return [("large", large.module()), *((path.stem, path.read_bytes()) for path in examples)]


def main(arguments: list[str]) -> list[dict[str, object]]:
    """Measures and prints; returns the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.compile")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--opt-level", choices=OPT_LEVELS, action="append")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    options = parser.parse_args(arguments)
    rows = [
        measure(name, wasm, Config(opt_level=level))
        for name, wasm in modules(options.files)
        for level in options.opt_level or ("none", "speed")
    ]
    figures = [asdict(row) for row in rows]
    if options.json:
        json.dump(figures, sys.stdout, indent=1)
    else:
        print_table(rows)
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
