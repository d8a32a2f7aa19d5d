"""What is made of measured times: medians, ratios, means; and plots of them."""

from __future__ import annotations

import doctest
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from bench import figures, svg

SVG = "{http://www.w3.org/2000/svg}"


def kernel(name: str, vectorisable: bool, **seconds: list[float]) -> dict[str, Any]:
    contenders = {contender: figures.merge([{"execute_s": samples}]) for contender, samples in seconds.items()}
    return {"kernel": name, "vectorisable": vectorisable, "contenders": contenders}


@pytest.mark.parametrize("module", [figures, svg], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_geometric_mean() -> None:
    assert figures.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert figures.geometric_mean([3.0]) == pytest.approx(3.0)
    assert figures.geometric_mean([]) is None
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError):
            figures.geometric_mean([1.0, wrong])


def test_spread() -> None:
    assert figures.spread([4.0, 1.0, 2.0, 3.0]) == {"median": 2.5, "min": 1.0, "max": 4.0, "runs": 4}
    with pytest.raises(ValueError):
        figures.spread([])


def test_merge_leaves_out_what_is_no_number() -> None:
    merged = figures.merge([{"compile_s": 1.0, "output": "ab"}, {"execute_s": []}, {"execute_s": [2.0]}])
    assert set(merged) == {"compile_s", "execute_s"}
    assert merged["execute_s"]["runs"] == 1


def test_ratios_of_median_and_minimum() -> None:
    contenders = kernel("k", False, wasmjit=[1.0, 2.0, 9.0], wasmtime=[4.0, 4.0, 4.0])["contenders"]
    assert figures.ratios(contenders, "wasmjit") == {"wasmtime": 0.5}
    assert figures.ratios(contenders, "wasmjit", statistic="min") == {"wasmtime": 0.25}
    assert figures.ratios(contenders, "absent") == {}


def test_summary() -> None:
    kernels = [
        kernel("a", True, wasmjit=[1.0], wasmtime=[4.0], V8=[1.0]),
        kernel("b", False, wasmjit=[2.0], wasmtime=[1.0]),
        kernel("c", False, wasmjit=[1.04], wasmtime=[1.0]),
    ]
    summary = figures.summarise(kernels, "wasmjit")
    wasmtime = summary["peers"]["wasmtime"]
    assert wasmtime["kernels"] == 3
    assert wasmtime["geomean"] == pytest.approx((0.25 * 2 * 1.04) ** (1 / 3))
    assert wasmtime["geomean_vectorisable"] == pytest.approx(0.25)
    assert summary["peers"]["V8"] == {
        "kernels": 1,
        "geomean": 1.0,
        "geomean_of_minima": 1.0,
        "geomean_vectorisable": 1.0,
        "geomean_others": None,
    }
    assert summary["slow"] == {"b": 2.0}
    assert figures.summarise([], "wasmjit") == {"peers": {}, "slow": {}}


def test_bar_chart_has_a_bar_per_ratio_and_cuts_tall_ones() -> None:
    picture = svg.bar_chart("a < b", {"gemm": {"V8": 0.5, "wasm2c": 7.25}, "fib": {"V8": 1.0}}, top=2.0)
    root = ElementTree.fromstring(picture)
    tips = [title.text for title in root.iter(f"{SVG}title")]
    assert {"a < b", "gemm, V8: 0.50", "gemm, wasm2c: 7.25", "fib, V8: 1.00"} <= set(tips)
    heights = {
        rect.find(f"{SVG}title").text: float(rect.get("height")) for rect in root.iter(f"{SVG}rect") if len(rect)
    }  # type: ignore[union-attr, arg-type]
    assert heights["gemm, V8: 0.50"] * 2 == pytest.approx(heights["fib, V8: 1.00"], abs=0.2)
    assert heights["gemm, wasm2c: 7.25"] == pytest.approx(heights["fib, V8: 1.00"] * 2, abs=0.2)
    assert "7.2" in [text.text for text in root.iter(f"{SVG}text")]


def test_line_chart_places_points_on_logarithmic_axes() -> None:
    root = ElementTree.fromstring(svg.line_chart("t", {"a": [(100.0, 1.0), (1.0, 0.01), (10.0, 0.1)]}))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SVG}circle")]  # type: ignore[arg-type]
    (x0, y0), (x1, y1), (x2, y2) = circles
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x0 < x1 < x2 and y0 > y1 > y2


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0.0, 1.0)]}, {"a": [(1.0, -1.0)]}])
def test_line_chart_refuses_what_has_no_logarithm(series: dict[str, list[tuple[float, float]]]) -> None:
    with pytest.raises(ValueError):
        svg.line_chart("t", series)
