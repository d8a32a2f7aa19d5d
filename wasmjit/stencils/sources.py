"""What is made when the runtime is built is made again only where its sources have changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import llvmlite

from .. import abi
from ..compile import lower, simd, simd_templates
from ..wasm import first_tier, ops


def state_of() -> str:
    """A hash of what stencils and routines are made of: this package, the rows, LLVM."""
    sources = [*sorted(Path(__file__).parent.glob("*.py"))]
    modules = (abi, lower, simd, simd_templates, first_tier, ops)
    sources += [Path(module.__file__) for module in modules if module.__file__]
    digest = hashlib.sha256(llvmlite.__version__.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()
