"""The benchmark of threads: modules with their memory shared, and the page of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.threads.__main__ import RESULTS, report
from bench.threads.shared import with_shared_memory
from wasmjit.config import Config
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm


@pytest.mark.parametrize(("limits", "maximum"), [("17", 65536), ("300", 65536), ("2 200", 200)])
def test_the_memory_is_shared_and_all_else_the_same(limits: str, maximum: int) -> None:
    wasm = wat2wasm(f'(module (func (export "f")) (memory {limits}) (data (i32.const 0) "x"))')
    shared = with_shared_memory(wasm)
    (memory,) = decode(shared, Config(shared_memory=True).features).memories
    assert memory.shared and (memory.limits.min, memory.limits.max) == (int(limits.split()[0]), maximum)
    kept = slice(-10, None)
    assert shared[:8] == wasm[:8] and shared[kept] == wasm[kept]


@pytest.mark.parametrize("memory", ["", "(memory 1) (memory 2)", "(memory i64 1)", "(memory 1 1 shared)"])
def test_other_modules_are_refused(memory: str) -> None:
    with pytest.raises(ValueError, match="memory"):
        with_shared_memory(wat2wasm(f"(module {memory})"))


def test_the_page_is_that_of_the_results() -> None:
    results = json.loads((RESULTS / "results.json").read_text())
    assert (Path(RESULTS) / "README.md").read_text() == report(results)
