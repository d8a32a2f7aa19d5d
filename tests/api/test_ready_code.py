"""Better code in tier "auto": when nobody asks for it, and that it is used as soon as it is there."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, abi, thresholds
from wasmjit.runtime.native import lib
from wasmjit.tiers import lazy
from wasmjit.tiers.lazy import LazyCode

from .test_lazy import MANY, lazy_code


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimiser; every question is heard."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)
    monkeypatch.setattr(LazyCode, "_ignores", lambda self: False)


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so() and time.monotonic() < end:
        time.sleep(0.001)
    assert is_so()


def test_code_is_taken_without_a_question() -> None:
    """It lay ready until somebody asked, 10 to 40 ms later, or for ever."""
    module = Module(Engine(Config(tier="auto")), MANY)
    code = lazy_code(module)
    code.hot(1, 0, abi.ASKED_BY_STENCILS)
    wait_until(lambda: code.tiers.is_optimized(1))
    wait_until(lambda: not code._is_awaiting)
    assert sum(code.reports.values()) == 1


def test_who_waits_for_a_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module(Engine(Config(tier="auto")), MANY)
    code = lazy_code(module)
    told: list[int] = []
    monkeypatch.setattr(type(code.tiers), "tell", lambda self, position: told.append(position))
    loop_offset = module._decoded.wasm.rindex(b"\x03\x40")
    code._recurring[4] = loop_offset
    code.tiers.raise_to(lazy.Tier.OPTIMIZED, {})
    monkeypatch.setattr(thresholds, "LOOP_PATIENCE_SECONDS_A_BYTE", 0.0)
    code.hot(4, loop_offset, abi.ASKED_BY_STENCILS)
    wait_until(lambda: bool(told))
    assert told == [4] and code.hot(4, loop_offset, abi.ASKED_BY_STENCILS) > 0


def test_nobody_asks_while_there_is_no_answer_but_who_was_told() -> None:
    """The program waited for the GIL, which the thread had that made its request ready."""
    engine = Engine(Config(tier="auto"))
    module = Module(engine, MANY)
    store = Store(engine)
    call = Instance(store, module, []).exports(store)["call"]
    code = lazy_code(module)
    code._left |= set(range(5))  # nothing is to be made of them
    call(store, 1, 10)
    lib.wj_hold_questions(600 * 10**9)
    try:
        for _ in range(10):
            call(store, 1, 20_000)
        assert not code.reports
        code.tiers.tell(4)
        call(store, 1, 20_000)
        assert code.reports == {4: 1}
    finally:
        lib.wj_hold_questions(0)

    def is_asked() -> bool:
        call(store, 1, 20_000)
        return sum(code.reports.values()) > 1

    wait_until(is_asked)


@pytest.mark.parametrize("num_processors", [2, 3])
def test_a_second_worker_is_not_started_at_once_on_two_processors(
    num_processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its start took more of the program's processor than what it was to make."""
    monkeypatch.setattr(lazy, "num_processors", lambda: num_processors)
    code = lazy_code(Module(Engine(Config(tier="auto")), MANY))
    compiler = code._compiler_of_groups()
    monkeypatch.setattr(type(compiler), "is_busy", False)
    pending: Any = SimpleNamespace(begun_at=time.monotonic() + 600)
    code._pending.append(pending)
    assert code._is_compiler_busy() is (num_processors == 2)
    pending.begun_at -= 1200
    assert not code._is_compiler_busy()
    code._pending.clear()


def test_a_question_begins_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there were two, one of which imported what the other waited for, the program waited for both to begin."""
    begun: list[Callable[[], None]] = []
    monkeypatch.setattr(lazy, "num_processors", lambda: 2)
    monkeypatch.setattr(lazy, "start_thread", begun.append)
    monkeypatch.setattr(lazy._Imports, "_are_to_be_begun", lambda self: True)
    lazy_code(Module(Engine(Config(tier="auto")), MANY)).hot(1, 0, abi.ASKED_BY_STENCILS)
    assert len(begun) == 1


def test_waiting_for_code_keeps_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "LOOK_AT_CODE_SECONDS", 0.01)
    monkeypatch.setattr(LazyCode, "_ready", lambda self, timeout_seconds: [])  # it takes long
    module = Module(Engine(Config(tier="auto")), MANY)
    code = lazy_code(module)
    code.hot(1, 0, abi.ASKED_BY_STENCILS)
    wait_until(lambda code=code: code._is_awaiting)  # type: ignore[misc]
    reference = weakref.ref(code)
    del code, module

    def is_gone() -> bool:
        gc.collect()
        return reference() is None

    wait_until(is_gone)
