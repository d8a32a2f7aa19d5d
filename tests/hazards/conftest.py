"""Fixtures of the tests for hazards."""

from __future__ import annotations

import pytest

from wasmjit import thresholds


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of tier "auto" stay in the interpreter, whose checks are meant, on a slow machine too."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 3600.0)
