"""Seed modules: the .wat files in seeds/, the project's examples, and what `wasm-tools smith` and `mutate` make."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wasmjit.config import SUPPORTED_FEATURES
from wasmjit.wasm.text import find_wasm_tools, wat2wasm

SEEDS = Path(__file__).parent / "seeds"
EXAMPLES = Path(__file__).parents[2] / "examples"
_SMITH_FEATURES = (
    "custom_page_sizes",
    "exceptions",
    "gc",
    "memory64",
    "relaxed_simd",
    "simd",
    "tail_call",
    "threads",
    "wide_arithmetic",
)
# Everything that wasmjit does not accept yet is off. So is garbage collection, which not all oracles know: who wants it
# asks for it.
_SMITH_OPTIONS = (
    *(
        f"--{name.replace('_', '-')}-enabled={str(name in SUPPORTED_FEATURES - {'gc'}).lower()}"
        for name in _SMITH_FEATURES
    ),
    "--compact-imports-enabled=false",
    "--custom-descriptors-enabled=false",
    "--shared-everything-threads-enabled=false",
    f"--max-memories={3 if 'multi_memory' in SUPPORTED_FEATURES else 1}",
    "--max-tables=4",
    "--min-funcs=2",
    "--generate-custom-sections=true",
)


def seed_modules() -> list[bytes]:
    """The .wat seeds as binaries, in name order."""
    return [wat2wasm(path.read_text()) for path in sorted(SEEDS.glob("*.wat"))]


def example_modules(max_bytes: int = 200_000) -> list[bytes]:
    """The prebuilt example programs up to a size, if there are any."""
    files = sorted(EXAMPLES.glob("**/*.wasm")) if EXAMPLES.is_dir() else []
    return [path.read_bytes() for path in files if path.stat().st_size <= max_bytes]


def smith_modules(count: int, seed: int = 0, options: tuple[str, ...] = ()) -> list[bytes]:
    """Up to `count` valid modules from wasm-tools smith; the same seed gives the same modules."""
    rng = random.Random(seed)
    inputs = [rng.randbytes(rng.randint(500, 20_000)) for _ in range(count)]
    by_name = {option.partition("=")[0]: option for option in (*_SMITH_OPTIONS, *options)}  # yours win
    command = [find_wasm_tools(), "smith", *by_name.values()]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda data: _run(command, data), inputs))
    return [wasm for wasm in outputs if wasm is not None]


def wasm_tools_mutants(seeds: list[bytes], count: int, seed: int = 0, max_bytes: int = 100_000) -> list[bytes]:
    """Up to `count` modules from `wasm-tools mutate`, half of them by transformations that keep the semantics.

    It now and then makes a data segment of megabytes: modules over `max_bytes` are left out.
    """
    rng = random.Random(seed)
    jobs = []
    for _ in range(count):
        options = ["--preserve-semantics"] if rng.random() < 0.5 else []
        command = [find_wasm_tools(), "mutate", f"--seed={rng.randrange(1 << 32)}", "--fuel=1000", *options]
        jobs.append((command, rng.choice(seeds)))
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda job: _run(*job), jobs))
    return [wasm for wasm in outputs if wasm is not None and len(wasm) <= max_bytes]


def _run(command: list[str], data: bytes) -> bytes | None:
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    return result.stdout if result.returncode == 0 and result.stdout else None
