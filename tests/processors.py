"""Processors by LLVM's names: which of them this machine is as good as, so that code for them can be run here."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from wasmjit import Config
from wasmjit.compile.pipeline import resolve_target
from wasmjit.target import missing_features


def lacks(cpu: str | None) -> list[str]:
    """The features of a processor that this machine lacks."""
    return [] if cpu is None else missing_features(resolve_target(Config(cpu=cpu)).features)


def runnable(cpus: Sequence[str]) -> list[str]:
    """Those of which code can be run here; says which are left out."""
    left_out = [cpu for cpu in cpus if lacks(cpu)]
    if left_out:
        print(f"left out, this machine has less: {', '.join(left_out)}", file=sys.stderr, flush=True)
    return [cpu for cpu in cpus if cpu not in left_out]


def skip_unless_runnable(cpu: str | None) -> None:
    """Ends a test of a processor whose code cannot be run here."""
    missing = lacks(cpu)
    if missing:
        pytest.skip(f"{cpu} has {', '.join(missing)}, which this CPU lacks")
