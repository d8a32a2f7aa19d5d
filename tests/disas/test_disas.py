"""Golden IR: each .wat here ends with the IR that its functions become, as comments.

`WASMJIT_BLESS=1 pytest tests/disas` writes what the compiler makes now into the files; review the diff.
First lines of a file may set the Config: `;;! signals_based_traps = false`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from wasmjit.compile import pipeline
from wasmjit.config import Config
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate_module_level

HERE = Path(__file__).parent
_MARK = ";;; IR"


def _config(text: str) -> Config:
    config = Config(target="x86_64-unknown-linux-gnu")
    for name, value in re.findall(r"^;;! (\w+) = (\S+)$", text, re.MULTILINE):
        setattr(config, name, {"true": True, "false": False}.get(value, value))
    return config


def _render(text: str) -> str:
    module = decode(wat2wasm(text), _config(text).features)
    validate_module_level(module)
    ir = pipeline.render(module, _config(text), "ir")
    functions = ir[: ir.index("@wj_functions_")].rstrip()
    return re.sub(r"(?m)^(?=.)", ";; ", functions)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.wat")), ids=lambda path: path.stem)
def test_golden_ir(path: Path) -> None:
    text = path.read_text()
    source, _, expected = text.partition(_MARK)
    found = _render(source)
    if os.environ.get("WASMJIT_BLESS"):
        path.write_text(f"{source.rstrip()}\n\n{_MARK}\n{found}\n")
        return
    assert found.strip() == expected.strip()
