"""Where the time of a run went: ``wasmjit run --timing``, and its file, which ``wasmjit explore --timing`` draws."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from .. import FunctionTier, Module, WasmError, stopwatch
from ..errors import printable
from .options import binary_of, is_precompiled

START, TRANSLATION, OTHER = "start of Python, imports", "translation", "other"
# The phases as they are shown: translation is a part of the execution, and done where a function is first called.
_SHOWN = (
    START,
    *stopwatch.PHASES[: stopwatch.PHASES.index(stopwatch.EXECUTION)],
    TRANSLATION,
    *stopwatch.PHASES[stopwatch.PHASES.index(stopwatch.EXECUTION) :],
    OTHER,
)
_MOST_FUNCTIONS = 20
_IN_PROCESS = ("uncompiled", "interpreted", "stencil")


class RunTiming:
    """What there is to say of one run. To be made as soon as it begins; what it measures is this thread's."""

    def __init__(self, file: str, watch: stopwatch.Stopwatch) -> None:
        self.file = file
        self.tier: str | None = None
        self.contents = b""  # of the file
        self.module: Module | None = None  # once there is one
        self._watch = watch
        self._start_seconds = time.process_time()  # of this process's life so far
        self._began = time.perf_counter()

    def keep(self, contents: bytes) -> None:
        """Takes what the file holds."""
        self.contents = contents

    def result(self) -> dict[str, Any]:
        """All of it, as it is written to a file."""
        wall_seconds = time.perf_counter() - self._began
        functions = [] if self.module is None else self.module.tier_report()
        phases = dict(self._watch.seconds)
        taken = sum(function.compile_seconds or 0.0 for function in functions if function.tier in _IN_PROCESS)
        phases[START] = self._start_seconds
        phases[OTHER] = wall_seconds - sum(self._watch.seconds.values())
        if taken:
            phases[TRANSLATION] = taken
            phases[stopwatch.EXECUTION] = max(phases.get(stopwatch.EXECUTION, 0.0) - taken, 0.0)
        wasm = self.contents if is_precompiled(self.contents) else binary_of(self.file, self.contents)
        return {
            "file": self.file,
            "wasm_bytes": len(wasm),
            "sha256": hashlib.sha256(wasm).hexdigest(),
            "tier": self.tier,
            "seconds": {name: phases[name] for name in _SHOWN if name in phases},
            "functions": [as_row(function) for function in functions],
        }


def as_row(function: FunctionTier) -> dict[str, Any]:
    """A function of a report, as it is written."""
    return {name: getattr(function, name) for name in ("index", "name", "tier", "calls", "compile_seconds", "size")} | {
        "loops": [list(loop) for loop in function.loops]
    }


def text(result: dict[str, Any]) -> str:
    """A table of phases, and the functions that were used most."""
    functions = result["functions"]
    title = printable(result["file"], newlines=False)
    lines = [f"wasmjit: time of {title} ({len(functions):,} functions, tier {result['tier']}), in ms"]
    for name, seconds in result["seconds"].items():
        note = "   (processor time)" if name == START else ""
        lines.append(f"  {name:<26} {1000 * seconds:>10.1f}{note}")
    lines.append(f"  {'in all':<26} {1000 * sum(result['seconds'].values()):>10.1f}")
    compiled = [function for function in functions if function["tier"] not in _IN_PROCESS]
    made = sum(function["compile_seconds"] or 0.0 for function in compiled)
    if made:
        lines.append(f"  compilers, beside it       {1000 * made:>10.1f}   for {len(compiled):,} functions")
    if functions:
        lines += ["", *function_lines(functions)]
    return "\n".join(lines)


def function_lines(functions: Sequence[dict[str, Any]], most: int = _MOST_FUNCTIONS) -> list[str]:
    """How many functions are in which tier, and the rows of those that are used, or took, most."""
    counts: dict[str, int] = {}
    for function in functions:
        counts[function["tier"]] = counts.get(function["tier"], 0) + 1
    lines = ["functions: " + ", ".join(f"{count:,} {tier}" for tier, count in counts.items())]
    ordered = sorted(functions, key=lambda f: (f["calls"] or 0, f["compile_seconds"] or 0.0), reverse=True)
    shown = [function for function in ordered if function["calls"] or function["compile_seconds"]][:most]
    if shown:
        lines.append(f"{'index':>7} {'tier':<12} {'calls, loops':>14} {'made in, ms':>12} {'bytes':>9}  name")
    for function in shown:
        calls, seconds, size = (function[name] for name in ("calls", "compile_seconds", "size"))
        cells = [
            f"{function['index']:>7} {function['tier']:<12}",
            f"{'' if calls is None else f'{calls:,}':>14}",
            f"{'' if seconds is None else f'{1000 * seconds:.2f}':>12}",
            f"{'' if size is None else f'{size:,}':>9} ",
            printable(function["name"] or "", newlines=False)[:80],
        ]
        lines.append(" ".join(cells).rstrip())
    if len(functions) > len(shown) and shown:
        lines.append(f"    ... and {len(functions) - len(shown):,} more")
    return lines


def show(timing: RunTiming, path: str | None, *, on_stderr: bool) -> None:
    """Writes it to stderr, and to the file at `path`. Raises OSError."""
    result = timing.result()
    if on_stderr and sys.stderr is not None:
        print(text(result), file=sys.stderr)
    if path is not None:
        with open(path, "w") as file:
            json.dump(result, file, indent=1)


def read(path: str, wasm: bytes) -> dict[str, Any]:
    """What a run wrote, of this module. Raises WasmError, OSError."""
    with open(path, "rb") as file:
        try:
            result = json.load(file)
            found = result["sha256"], result["seconds"], result["functions"]
        except (ValueError, KeyError, TypeError) as error:
            raise WasmError(f"{path}: this is not what `wasmjit run --timing-file` writes ({error})") from None
    if found[0] != hashlib.sha256(wasm).hexdigest():
        raise WasmError(f"{path}: that was a run of another module")
    return dict(result)
