"""Fixtures for the API tests: one engine for all (compiling without optimisation), a fresh store each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine(Config(opt_level="none"))


@pytest.fixture
def store(engine: Engine) -> Iterator[Store]:
    with Store(engine) as store:
        yield store


@pytest.fixture
def instantiate(store: Store) -> Callable[..., Any]:
    """The exports of a module given as text, instantiated with these imports."""

    def instantiate(text: str, *imports: Any) -> Any:
        return Instance(store, Module(store.engine, text), list(imports)).exports(store)

    return instantiate
