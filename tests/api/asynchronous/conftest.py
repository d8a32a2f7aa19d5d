"""Instances of the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.asynchronous.program import I32_TO_I32, TEXT
from wasmjit import Engine, Linker, Module, Store


@pytest.fixture(scope="module")
def module(engine: Engine) -> Module:
    return Module(engine, TEXT)


@pytest.fixture
def exports_with(engine: Engine, store: Store, module: Module) -> Callable[..., Any]:
    """The exports of an instance of TEXT whose ``host.get`` is this function."""

    def make(get: Callable[..., Any], access_caller: bool = False) -> Any:
        linker = Linker(engine)
        linker.func_new_async("host", "get", I32_TO_I32, get, access_caller)
        return linker.instantiate(store, module).exports(store)

    return make
