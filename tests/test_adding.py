"""What docs/adding-an-instruction.md shows is all that an instruction takes: without it there is none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding-an-instruction.md"
BODIES = {
    "i8x16.avgr_u": "(i8x16.avgr_u (local.get 0) (local.get 0)) drop",
    "i64.mul_wide_u": "(i64.mul_wide_u (i64.const 1) (i64.const 2)) drop drop",
}
PROGRAM = """
from wasmjit import Config, Engine, Module, wat2wasm
config = Config()
config.wasm_wide_arithmetic = True
Module.validate(Engine(config), wat2wasm({text!r}))
"""


def diffs() -> list[dict[str, list[str]]]:
    """Of each diff on the page, by file: runs of lines that it adds."""
    found = []
    for diff in re.findall(r"```diff\n(.*?)```", PAGE.read_text(), re.DOTALL):
        added: dict[str, list[str]] = {}
        for file, hunk in re.findall(r"^\+\+\+ b/(\S+)\n(.*?)(?=^--- |\Z)", diff, re.DOTALL | re.MULTILINE):
            runs = re.findall(r"(?:^\+.*\n)+", hunk, re.MULTILINE)
            added[file] = [re.sub(r"^\+", "", run, flags=re.MULTILINE) for run in runs]
        found.append(added)
    return found


@pytest.mark.parametrize("number", range(2))
def test_a_diff_of_the_page_is_all_there_is(number: int, tmp_path: Path) -> None:
    added = diffs()[number]
    name = next(name for name in BODIES if any(name in text for texts in added.values() for text in texts))
    program = PROGRAM.format(text=f"(module (func (param v128) {BODIES[name]}))")
    shutil.copytree(ROOT / "wasmjit", tmp_path / "wasmjit", ignore=shutil.ignore_patterns("__pycache__"))
    outcomes = []
    for is_without in (False, True):
        for file, texts in added.items() if is_without else ():
            path = tmp_path / file
            source = path.read_text()
            for text in texts:
                assert source.count(text) == 1, f"{file} has changed: the page has to follow"
                source = source.replace(text, "")
            path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        outcomes.append(done.stderr)
    assert outcomes[0] == ""
    assert "illegal opcode" in outcomes[1]
