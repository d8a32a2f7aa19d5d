"""Statistics of benchmarks: what is made of the times that were measured."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# What the project wants to be: no kernel slower than this, relative to wasmtime.
SLOW_RATIO = 1.05


def geometric_mean(ratios: Iterable[float]) -> float | None:
    """The geometric mean, None of nothing. Raises ValueError unless all are positive.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    values = list(ratios)
    if any(not value > 0 for value in values):
        raise ValueError("a ratio that is not positive")
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Median, least, greatest and number of samples. Raises ValueError for none.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0, 'runs': 3}
    """
    if not samples:
        raise ValueError("no samples")
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples), "runs": len(samples)}


def merge(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The spread of each figure over runs. A run's figure is a number, or a list of them; anything else is left out.

    >>> merge([{"execute_s": [1.0, 2.0]}, {"execute_s": [3.0], "engine": "x"}])["execute_s"]["median"]
    2.0
    """
    samples: dict[str, list[float]] = {}
    for run in runs:
        for key, value in run.items():
            values = value if isinstance(value, list) else [value]
            if values and all(isinstance(v, (int, float)) for v in values):
                samples.setdefault(key, []).extend(values)
    return {key: spread(values) for key, values in samples.items()}


def ratios(
    contenders: Mapping[str, Mapping[str, Any]], subject: str, key: str = "execute_s", statistic: str = "median"
) -> dict[str, float]:
    """The subject's figure `key`, an execution time, by each other contender's: below 1, the subject is faster.

    >>> ratios({"a": {"execute_s": {"median": 1.0}}, "b": {"execute_s": {"median": 4.0}}}, "a")
    {'b': 0.25}
    """
    if subject not in contenders:
        return {}
    ours = contenders[subject][key][statistic]
    return {
        name: ours / figures[key][statistic]
        for name, figures in contenders.items()
        if name != subject and figures[key][statistic] > 0
    }


def summarise(kernels: Sequence[Mapping[str, Any]], subject: str, key: str = "execute_s") -> dict[str, Any]:
    """Geometric means of the subject's ratios to each peer: of medians, of minima, and of the vectorisable kernels.

    `slow` lists the kernels above SLOW_RATIO of wasmtime's time, slowest first.
    """
    peers: dict[str, dict[str, Any]] = {}
    names = dict.fromkeys(name for kernel in kernels for name in kernel["contenders"] if name != subject)
    for peer in names:
        both = [kernel for kernel in kernels if subject in kernel["contenders"] and peer in kernel["contenders"]]

        def mean(statistic: str, chosen: list[Mapping[str, Any]], peer: str = peer) -> float | None:
            return geometric_mean(ratios(kernel["contenders"], subject, key, statistic)[peer] for kernel in chosen)

        peers[peer] = {
            "kernels": len(both),
            "geomean": mean("median", both),
            "geomean_of_minima": mean("min", both),
            "geomean_vectorisable": mean("median", [kernel for kernel in both if kernel["vectorisable"]]),
            "geomean_others": mean("median", [kernel for kernel in both if not kernel["vectorisable"]]),
        }
    found = {kernel["kernel"]: ratios(kernel["contenders"], subject, key).get("wasmtime", 0) for kernel in kernels}
    slow = {name: ratio for name, ratio in found.items() if ratio > SLOW_RATIO}
    return {"peers": peers, "slow": dict(sorted(slow.items(), key=lambda item: -item[1]))}


def text(results: Mapping[str, Any]) -> str:
    """Results as JSON, with a line for each item, or each item of a list, and rounded figures.

    >>> print(text({"a": 1.23456, "b": [{"c": 1}, {"c": 2}]}), end="")
    {
    "a": 1.235,
    "b": [
    {"c": 1},
    {"c": 2}
    ]
    }
    """
    lines = []
    for key, value in results.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(_rounded(item)) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(_rounded(value))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def collect(
    results: dict[str, Any],
    rows: Iterable[dict[str, Any]],
    directory: Path,
    *,
    line: Callable[[dict[str, Any]], str],
    report: Callable[[dict[str, Any]], str],
) -> None:
    """Measures kernel by kernel: `rows` go to ``results["kernels"]`` as they come, with a line printed for each.

    All so far is in `directory` then: results.json, and the page README.md. At the end prints the mean of the ratios.
    """
    results["kernels"] = []
    directory.mkdir(parents=True, exist_ok=True)
    for row in rows:
        results["kernels"].append(row)
        print(line(row), flush=True)
        (directory / "results.json").write_text(text(results))
        (directory / "README.md").write_text(report(results))
    print(f"geometric mean: {geometric_mean(row['ratio'] for row in results['kernels']):.3f}")


def _rounded(value: Any) -> Any:
    """With four digits for each fraction: more are noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
