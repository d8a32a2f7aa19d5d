"""Fixtures of the tests for hazards."""

from __future__ import annotations

import pytest

from wasmjit import thresholds


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of tier "auto" stay in the interpreter, whose checks are meant, on a slow machine too.

    Those of code from stencils are meant in test_stencils.py.
    """
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 3600.0)
    monkeypatch.setattr(thresholds, "STENCILS", False)
    monkeypatch.setenv("WASMJIT_STENCILS", "0")  # of child processes
