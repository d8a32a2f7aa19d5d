"""The documentation: it builds without a warning, and the Python in it runs."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run(page: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "WASMJIT_TIER"}  # as a reader has it
    for example in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        command = [sys.executable, "-c", example]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), example


@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="needs mkdocs-material (the docs extra)")
def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    module = (tmp_path / "site" / "reference" / "module.html").read_text()
    assert "Module.serialize" in module and "deserialize_file" in module
    assert "StoreContext" in (tmp_path / "site" / "migration.html").read_text()
