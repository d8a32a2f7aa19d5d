"""A short run of `schedules.py`; and that it leaves no method of a handle out."""

from __future__ import annotations

import inspect

import pytest

from tests.fuzz import schedule_world
from tests.fuzz.schedules import HOT, METHODS, run_process
from wasmjit import Store, WasmError


def test_no_schedule_gives_freed_memory_or_wrong_values() -> None:
    odd, done = run_process(1, 50)
    assert not odd, odd
    assert len(done) > 90, "hardly anything was called"


def test_every_method_takes_part() -> None:
    """Or stands in a table with the reason; one whose arguments nobody knows raises LookupError."""
    assert HOT and sum(map(len, METHODS)) > 250
    known = {f"{owner.__name__}.{name}" for owner in schedule_world.public_classes() for name in dir(owner)}
    assert set(schedule_world.LEFT_OUT) <= known
    assert set(schedule_world.CALLS) <= known

    class New:
        def method(self, unheard_of: complex) -> None: ...

    with pytest.raises(LookupError, match="what to give for `unheard_of"):
        schedule_world.method(New, "method")
    assert "gc" in dict(inspect.getmembers(Store))


def test_what_is_expected_of_misuse() -> None:
    assert schedule_world.is_expected(WasmError("store is closed"))
    assert schedule_world.is_expected(KeyError("missing export"))
    for odd in (
        KeyError(4096),
        AttributeError("'NoneType' object has no attribute 'pointer'"),
        SystemError("a store was refused without a reason"),
        TypeError("initializer for ctype 'wj_store *' must be a cdata pointer"),
        RuntimeError("dictionary changed size during iteration"),
    ):
        assert not schedule_world.is_expected(odd)
    with pytest.raises(AssertionError):
        schedule_world.check_bytes(b"\xa5\xa5", "read")
