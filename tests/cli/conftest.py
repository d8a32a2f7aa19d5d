"""All tests of the command line leave the user's cache and configuration alone."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_environment(command_line_environment: None) -> None:
    """For tests that start processes by themselves."""
