"""Random programs run by wasmjit and by the wasmtime package must behave alike: results, traps, globals, memory.

    python -m tests.fuzz.differential [--count N] [--seed S] [--tiers speed,exact,...]
    python -m tests.fuzz.differential [--count N] [--seed S] --record FILE
    python tools/aarch64.py -m tests.fuzz.differential --recorded FILE --tiers stencils

`TIERS` has the names. ``--record`` writes what wasmtime did, ``--recorded`` compares with that, where it would
take too long anew: under emulation.

Modules come from `wasm-tools smith --ensure-termination`. Each exported function is called in an
instance of its own, twice if it does not trap. The order of other stores around a trap is not promised, but in
`EXACT_TIERS`: memory is compared there. What a call leaves of the fuel in `METERED_TIERS` it leaves in the interpreter.
Elsewhere a load of optimised code is also allowed not to trap if LLVM can prove, by arithmetic of its own, that
the value makes no difference; random programs are full of such loads, compiled ones are not. Those are counted as
relaxed, and more than one in a hundred is a failure. Prints each disagreement and
leaves its module in build/differential/; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
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
    "bulk-memory-enabled": "true",
    "canonicalize-nans": "true",
    "compact-imports-enabled": "false",
    "custom-descriptors-enabled": "false",
    "custom-page-sizes-enabled": "true",
    "exceptions-enabled": "false",
    "export-everything": "true",
    "extended-const-enabled": "true",
    "gc-enabled": "false",
    # Few of what functions are not: half of the modules spent their entropy before they came to any.
    "max-data-segments": "3",
    "max-element-segments": "4",
    "max-elements": "20",
    "max-funcs": "9",
    "max-globals": "8",
    "max-imports": "0",
    "max-instructions": "300",
    "max-memory32-bytes": "1048576",
    "max-memories": "2",
    "max-table-elements": "1000",
    "max-tables": "3",
    "max-types": "12",
    "max-memory64-bytes": "1048576",
    "memory64-enabled": "true",
    "memory-max-size-required": "true",
    "min-funcs": "4",
    "min-memories": "1",
    "min-types": "4",
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
# Iterations and calls of an instance, after which it traps.
FUEL = "2000"
CALLS = 2  # of a function
FAILED_MODULES = Path("build/differential")
INTERESTING = (0, 1, -1, 2, 7, 31, 32, 63, 64, 255, 65535, 65536, -(1 << 31), (1 << 31) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.5, 1e10, -1e30, 0.1, float("inf"))


# By name: options of wasmjit's Config.
TIERS: dict[str, dict[str, Any]] = {
    "speed": {},
    "size": {"opt_level": "speed_and_size"},
    "exact": {"exact_traps": True},
    "explicit": {"signals_based_traps": False},
    "none": {"opt_level": "none"},
    "artifact": {"opt_level": "none", "signals_based_traps": False},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto", "exact_traps": True},  # interpreted, where it can be
    "hot": {
        "tier": "auto",
        "exact_traps": True,
    },  # compiled, and entered, what begins a second time
    "stencils": {"tier": "auto", "exact_traps": True},  # native code from stencils
    "stencils-metered": {"tier": "auto", "exact_traps": True, "consume_fuel": True, "epoch_interruption": True},
    "stencils-explicit": {"tier": "auto", "signals_based_traps": False},
    "auto-explicit": {"tier": "auto", "signals_based_traps": False},
    "hot-explicit": {"tier": "auto", "signals_based_traps": False},
}
FIRST_TIERS = frozenset(tier for tier, options in TIERS.items() if options.get("tier") == "auto")
EXACT_TIERS = FIRST_TIERS | {"exact"}
METERED_TIERS = frozenset(tier for tier, options in TIERS.items() if "consume_fuel" in options)
MUCH_FUEL = 1 << 60


# What is off by default in both packages, and what makes relaxed SIMD comparable.
PROPOSALS = ("wasm_custom_page_sizes", "wasm_wide_arithmetic", "wasm_relaxed_simd_deterministic")


def with_proposals(config: Any) -> Any:
    """The config, accepting what the generator makes."""
    for option in PROPOSALS:
        setattr(config, option, True)
    return config


def generate(seed: int) -> bytes | None:
    """A random module; the same seed gives the same module."""
    source = random.Random(seed)
    entropy = source.randbytes(source.choice((1500, 4000, 12000, 40000)))
    # Without traps, functions go on to their ends; with them, most end at the first access.
    by_turns = {"disallow-traps": seed % 4 < 2, "allow-start-export": seed % 8 == 0}
    given = {**SMITH_OPTIONS, **{name: str(value).lower() for name, value in by_turns.items()}}
    options = [f"--{name}={value}" for name, value in given.items()]
    done = subprocess.run(
        [find_wasm_tools(), "smith", "--ensure-termination", "--fuel", FUEL, *options],
        input=entropy,
        capture_output=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None


def compile_eagerly(wanted: bool) -> None:
    """Whether what is interpreted is reported as hot when it begins a second time, and its code is waited for."""
    thresholds.INTERPRETER_BUDGET = 1 if wanted else 1000
    thresholds.INTERPRETER_IS_PATIENT = not wanted
    LazyCode._ready = lambda code, timeout: ready(code, 60 if wanted else timeout)  # type: ignore[method-assign]


def configuration(tier: str) -> wasmjit.Config:
    """That of a tier, which the process has to be set up for (`begin`)."""
    return with_proposals(wasmjit.Config(**{"tier": "optimized", **TIERS[tier]}))


def begin(tier: str, seed: int) -> None:
    """Sets this process up for a module in a tier."""
    if tier in FIRST_TIERS:
        thresholds.OPTIMISER_PATIENCE_SECONDS = 600.0
        thresholds.STENCILS = tier.startswith("stencils")
        thresholds.REGISTER_SEED = seed % 4
        compile_eagerly(tier.startswith("hot"))


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


def can_be_looked_at(types: tuple[int, ...]) -> bool:
    """Whether what has these types is looked at from outside.

    The wasmtime package aborts the process when it is asked for a type with a v128 in it.
    """
    return V128 not in types


def interface(wasm: bytes, config: wasmjit.Config) -> list[tuple[str, str, list[str]]]:
    """Exports as (name, kind, parameter types): those that can be looked at."""
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
        elif kind == "table":
            types = (module.tables[export.index].element,)
        if can_be_looked_at(types):
            found.append((export.name, kind, [valtype_name(t) for t in params]))
    return found


def new_store(api: Any, engine: Any) -> Any:
    """A store for an instance."""
    return api.Store(engine)


Step = tuple[Any, ...]


def run(
    api: Any, config: Any, wasm: bytes, seed: int, through_artifact: bool = False, metered: bool = False
) -> list[list[Step]]:
    """What happens, instance by instance: one for each exported function. `metered`: what calls leave of
    the fuel, too."""
    source = random.Random(seed)
    engine = api.Engine(config)
    module = api.Module(engine, wasm)
    if through_artifact and api is wasmjit:
        module = api.Module.deserialize(engine, module.serialize())
    items = interface(wasm, with_proposals(wasmjit.Config()))
    seen: list[list[Step]] = []
    for name, kind, params in items:
        if kind != "function":
            continue
        store = new_store(api, engine)
        if metered:
            store.set_fuel(MUCH_FUEL)
            store.set_epoch_deadline(1)
        try:
            exports = api.Instance(store, module, []).exports(store)
        except api.Trap as trap:
            return [[("instantiation", "trap", trap.trap_code.name)]]
        except api.WasmtimeError:
            return [[("instantiation failed",)]]
        steps: list[Step] = [("instance", state(store, exports, items))]
        seen.append(steps)
        for _ in range(CALLS):
            arguments = [argument(kind, source) for kind in params]
            if metered:
                store.set_fuel(MUCH_FUEL)
            try:
                result = plain(exports[name](store, *arguments))
                left = (store.get_fuel(),) if metered else ()
                steps.append((name, result, state(store, exports, items), *left))
            except api.Trap as trap:
                steps.append((name, "trap", trap.trap_code.name, state(store, exports, items)))
                break
            except api.WasmtimeError as error:
                if "GC heap out of memory" not in str(error):
                    raise
                steps.append((name, "trap", "ALLOCATION_TOO_LARGE", state(store, exports, items)))
                break
    return seen


def state(store: Any, exports: Any, items: list[tuple[str, str, list[str]]]) -> list[Any]:
    """What an instance's exports hold."""
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


def same(ours: list[Step], theirs: list[Step], memory_after_trap: bool) -> bool:
    """Whether both saw the same in an instance, up to where one's stack was exhausted (how much fits is not said)."""
    for mine, other in zip(ours, theirs, strict=False):
        mine = mine[: max(len(other), 3)]  # without what is left of the fuel, which wasmtime was not given
        if "STACK_OVERFLOW" in (*mine[1:], *other[1:]):
            return True
        if not memory_after_trap and "trap" in mine[1:2] and "trap" in other[1:2]:
            mine, other = mine[:3], other[:3]
        if mine != other:
            return False
    return len(ours) == len(theirs)


def differences(
    ours: list[list[Step]], theirs: list[list[Step]], memory_after_trap: bool
) -> list[tuple[list[Step], list[Step]]]:
    """The instances in which they saw other things."""
    if len(ours) != len(theirs):
        return [(ours[0] if ours else [], theirs[0] if theirs else [])]
    return [pair for pair in zip(ours, theirs, strict=True) if not same(*pair, memory_after_trap)]


def is_exact(theirs: list[list[Step]], wasm: bytes, seed: int) -> bool:
    """Whether nothing differs where no trap may be left out."""
    return not differences(run(wasmjit, configuration("exact"), wasm, seed), theirs, memory_after_trap=True)


def report(wasm: bytes, seed: int, tier: str, ours: list[Step], theirs: list[Step]) -> None:
    """Leaves the module, and says where they part."""
    FAILED_MODULES.mkdir(parents=True, exist_ok=True)
    path = FAILED_MODULES / f"{seed}.wasm"
    path.write_bytes(wasm)
    first = next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), (ours, theirs))
    print(f"{path}, {tier}: ours {first[0]}\n    theirs {first[1]}", flush=True)


Case = tuple[int, bytes, list[list[Step]]]  # seed, module, and what wasmtime did


def cases(first: int, count: int) -> Iterator[Case]:
    """Of random modules."""
    for seed in range(first, first + count):
        wasm = generate(seed)
        if wasm is not None:
            yield seed, wasm, run(wasmtime, with_proposals(wasmtime.Config()), wasm, seed)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tiers", default="speed", help=",".join(TIERS))
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what wasmtime does, and compare nothing")
    parser.add_argument("--recorded", type=Path, metavar="FILE", help="compare with what was written")
    options = parser.parse_args()
    tiers = options.tiers.split(",")
    if options.record:
        options.record.write_bytes(pickle.dumps(list(cases(options.seed, options.count))))
        return 0
    counts = dict.fromkeys(("modules", "calls", "of them traps", "executions", "disagreements", "relaxed"), 0)
    recorded = pickle.loads(options.recorded.read_bytes()) if options.recorded else None
    for seed, wasm, theirs in recorded or cases(options.seed, options.count):
        counts["modules"] += 1
        calls = sum(len(steps) - 1 for steps in theirs)
        counts["calls"] += calls
        counts["of them traps"] += sum("trap" in steps[-1][1:2] for steps in theirs)
        for tier in tiers:
            begin(tier, seed)
            is_metered = tier in METERED_TIERS
            ours = run(wasmjit, configuration(tier), wasm, seed, tier == "artifact", is_metered)
            counts["executions"] += calls
            parted = differences(ours, theirs, tier in EXACT_TIERS)
            if is_metered:
                thresholds.STENCILS = False
                parted += differences(ours, run(wasmjit, configuration(tier), wasm, seed, metered=True), True)
            for mine, other in parted:
                is_relaxed = (
                    tier not in EXACT_TIERS and "MEMORY_OUT_OF_BOUNDS" in other[-1] and is_exact(theirs, wasm, seed)
                )
                counts["relaxed" if is_relaxed else "disagreements"] += 1
                if not is_relaxed:
                    report(wasm, seed, tier, mine, other)
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    too_relaxed = counts["relaxed"] > 1 + counts["executions"] // 100
    return 1 if counts["disagreements"] or not counts["calls"] or too_relaxed else 0


if __name__ == "__main__":
    sys.exit(main())
