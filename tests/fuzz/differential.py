"""Random programs run by wasmjit and by the wasmtime package must behave alike: results, traps, globals, memory.

    python -m tests.fuzz.differential [--count N] [--seed S] [--opt-level LEVEL] [--explicit-checks] [--exact-traps]
        [--through-artifact] [--interpret]

With --interpret our side is tier "auto": modules of what is interpreted, a third of which have functions and loops that
are compiled, and entered, as soon as they begin a second time.

Modules come from `wasm-tools smith --ensure-termination`. Each export is called once; after a trap a module is left,
because the order of other stores around a trap is not promised (it is with --exact-traps: memory is compared too).
Without --exact-traps a load is also allowed not to trap if LLVM can prove, by arithmetic of its own, that the value
makes no difference; random programs are full of such loads, compiled ones are not. Those are counted as relaxed, and
more than one in a hundred is a failure. Prints each disagreement and leaves its module in build/differential/; exit
code 1 if there was any.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wasmtime

import wasmjit
from wasmjit import thresholds
from wasmjit.tiers.lazy import LazyCode
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import find_wasm_tools
from wasmjit.wasm.types import EXTERN_KIND_NAMES, V128, valtype_name

SMITH_OPTIONS = {
    "allow-start-export": "true",
    "bulk-memory-enabled": "true",
    "canonicalize-nans": "true",
    "compact-imports-enabled": "false",
    "custom-descriptors-enabled": "false",
    "custom-page-sizes-enabled": "true",
    "exceptions-enabled": "false",
    "export-everything": "true",
    "extended-const-enabled": "true",
    "gc-enabled": "false",
    "max-imports": "0",
    "max-instructions": "400",
    "max-memory32-bytes": "1048576",
    "max-memories": "2",
    "max-table-elements": "1000",
    "max-memory64-bytes": "1048576",
    "memory64-enabled": "true",
    "memory-max-size-required": "true",
    "min-funcs": "4",
    "multi-value-enabled": "true",
    "reference-types-enabled": "true",
    "relaxed-simd-enabled": "true",
    "saturating-float-to-int-enabled": "true",
    "shared-everything-threads-enabled": "false",
    "sign-extension-ops-enabled": "true",
    "simd-enabled": "true",
    "table-max-size-required": "true",
    "tail-call-enabled": "true",
    "threads-enabled": "false",
    "wide-arithmetic-enabled": "true",
}
# Modules and functions with these are compiled.
NOT_INTERPRETED = {
    "custom-page-sizes-enabled": "false",
    "max-memories": "1",
    "memory64-enabled": "false",
    "relaxed-simd-enabled": "false",
    "simd-enabled": "false",
    "tail-call-enabled": "false",
    "wide-arithmetic-enabled": "false",
}
FAILED_MODULES = Path("build/differential")
INTERESTING = (0, 1, -1, 2, 7, 31, 32, 63, 64, 255, 65535, 65536, -(1 << 31), (1 << 31) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.5, 1e10, -1e30, 0.1, float("inf"))


# What is off by default in both packages, and what makes relaxed SIMD comparable.
PROPOSALS = ("wasm_custom_page_sizes", "wasm_wide_arithmetic", "wasm_relaxed_simd_deterministic")


def with_proposals(config: Any) -> Any:
    """The config, accepting what the generator makes."""
    for option in PROPOSALS:
        setattr(config, option, True)
    return config


def generate(seed: int, without: Mapping[str, str] = {}) -> bytes | None:
    """A random module; the same seed gives the same module. `without` are options of the generator."""
    source = random.Random(seed)
    entropy = source.randbytes(source.choice((400, 1500, 4000)))
    options = [f"--{name}={value}" for name, value in {**SMITH_OPTIONS, **without}.items()]
    done = subprocess.run(
        [find_wasm_tools(), "smith", "--ensure-termination", *options], input=entropy, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def compile_eagerly(wanted: bool) -> None:
    """Whether what is interpreted is reported as hot when it begins a second time, and its code is waited for."""
    thresholds.INTERPRETER_BUDGET = 1 if wanted else 1000
    thresholds.INTERPRETER_IS_PATIENT = not wanted
    LazyCode._ready = lambda code, timeout: ready(code, 60 if wanted else timeout)  # type: ignore[method-assign]


ready = LazyCode._ready


def argument(kind: str, source: random.Random) -> Any:
    """A value for a parameter."""
    if kind in ("i32", "i64"):
        return source.choice(INTERESTING) if source.random() < 0.7 else source.getrandbits(31)
    return source.choice(FLOATS) if kind in ("f32", "f64") else None


def plain(value: Any) -> Any:
    """A result in a form that compares across engines: NaNs alike, references as null or not."""
    if isinstance(value, (wasmtime.Val, wasmjit.Val)):  # a null reference
        value = value.value
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return "nan" if value != value else (value, str(value))
    return value if value is None or isinstance(value, int) else "reference"


def interface(wasm: bytes, config: wasmjit.Config) -> list[tuple[str, str, list[str]]]:
    """Exports as (name, kind, parameter types), without those that have a v128 in their type.

    The wasmtime package aborts the process when it is asked for such a type.
    """
    module = decode(wasm, config.features)
    found: list[tuple[str, str, list[str]]] = []
    for export in module.exports:
        kind = EXTERN_KIND_NAMES[export.kind]
        params: tuple[int, ...] = ()
        types: tuple[int, ...] = ()
        if kind == "function":
            params = module.function_type(export.index).params
            types = (*params, *module.function_type(export.index).results)
        elif kind == "global":
            types = (module.globals[export.index].content,)
        if V128 not in types:
            found.append((export.name, kind, [valtype_name(t) for t in params]))
    return found


def run(api: Any, config: Any, wasm: bytes, seed: int, memory_after_trap: bool, through_artifact: bool) -> list[Any]:
    """What happens, step by step: an entry per observation."""
    source = random.Random(seed)
    engine = api.Engine(config)
    store = api.Store(engine)
    module = api.Module(engine, wasm)
    if through_artifact and api is wasmjit:
        module = api.Module.deserialize(engine, module.serialize())
    seen: list[Any] = []
    items = interface(wasm, with_proposals(wasmjit.Config()))
    try:
        exports = api.Instance(store, module, []).exports(store)
    except api.Trap as trap:
        return [("instantiation trapped", trap.trap_code.name)]
    except api.WasmtimeError:
        return [("instantiation failed",)]

    def state() -> list[Any]:
        values: list[Any] = []
        for name, kind, _ in items:
            extern = exports[name]
            if kind == "memory":
                values.append(hashlib.sha256(bytes(extern.read(store, 0, extern.data_len(store)))).hexdigest())
            elif kind == "global":
                values.append(plain(extern.value(store)))
            elif kind == "table":
                values.append(extern.size(store))
        return values

    seen.append(state())
    for name, kind, params in items:
        if kind != "function":
            continue
        arguments = [argument(t, source) for t in params]
        try:
            result = plain(exports[name](store, *arguments))
            seen.append((name, result, state()))
        except api.Trap as trap:
            seen.append((name, "trap", trap.trap_code.name, *([state()] if memory_after_trap else [])))
            break
    return seen


def same(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether both saw the same, up to where one's stack was exhausted (how much fits is not specified)."""
    for mine, other in zip(ours, theirs, strict=False):
        if "STACK_OVERFLOW" in (*mine[1:], *other[1:]):
            return True
        if mine != other:
            return False
    return len(ours) == len(theirs)


def relaxed(theirs: list[Any], config: Any, wasm: bytes, seed: int) -> bool:
    """Whether theirs ended with an out-of-bounds trap, and so does ours where no trap may be left out."""
    if "MEMORY_OUT_OF_BOUNDS" not in theirs[-1]:
        return False
    exact = config.copy()
    exact.exact_traps = True
    return same(run(wasmjit, exact, wasm, seed, False, False), theirs)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--opt-level", default="speed")
    parser.add_argument("--explicit-checks", action="store_true")
    parser.add_argument("--exact-traps", action="store_true")
    parser.add_argument("--through-artifact", action="store_true")
    parser.add_argument("--interpret", action="store_true")
    options = parser.parse_args()
    config = with_proposals(
        wasmjit.Config(tier="optimized", opt_level=options.opt_level, exact_traps=options.exact_traps)
    )
    config.signals_based_traps = not options.explicit_checks
    if options.interpret:
        config.tier = "auto"
        thresholds.OPTIMISER_PATIENCE_SECONDS = 600.0
    compared = calls = disagreements = allowed = 0
    for seed in range(options.seed, options.seed + options.count):
        wasm = generate(seed, NOT_INTERPRETED if options.interpret else {})
        if options.interpret:
            compile_eagerly(seed % 3 == 0)
        if wasm is None:
            continue
        theirs = run(wasmtime, with_proposals(wasmtime.Config()), wasm, seed, options.exact_traps, False)
        ours = run(wasmjit, config, wasm, seed, options.exact_traps, options.through_artifact)
        compared += 1
        calls += len(theirs) - 1
        if same(ours, theirs):
            continue
        if not options.exact_traps and relaxed(theirs, config, wasm, seed):
            allowed += 1
        else:
            disagreements += 1
            FAILED_MODULES.mkdir(parents=True, exist_ok=True)
            path = FAILED_MODULES / f"{seed}.wasm"
            path.write_bytes(wasm)
            first = next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), (ours, theirs))
            print(f"{path}: ours {first[0]}\n    theirs {first[1]}")
    print(f"{compared} modules, {calls} calls compared: {disagreements} disagreements, {allowed} relaxed")
    return 1 if disagreements or not calls or allowed > 1 + compared // 100 else 0


if __name__ == "__main__":
    sys.exit(main())
