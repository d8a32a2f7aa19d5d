"""The compatibility suite: every test runs once with the wasmtime package and once with wasmjit, on the same code.

A test here may use nothing but what both modules have in common. What wasmjit adds is tested in tests/api; where the
two differ on purpose, docs/differences.toml says why.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Instantiate = Callable[..., Any]


@pytest.fixture(scope="session", params=["wasmtime", "wasmjit"])
def api(request: pytest.FixtureRequest) -> Any:
    """The module under test: what a program gets by ``import wasmtime``, or ``import wasmjit as wasmtime``."""
    return importlib.import_module(request.param)


@pytest.fixture(scope="session")
def engine(api: Any) -> Any:
    """One engine for all tests, compiling without optimisation."""
    config = api.Config()
    config.cranelift_opt_level = "none"
    return api.Engine(config)


@pytest.fixture
def store(api: Any, engine: Any) -> Iterator[Any]:
    with api.Store(engine) as store:
        yield store


@pytest.fixture
def instantiate(api: Any, store: Any) -> Instantiate:
    """The exports of a module given as text, instantiated with these imports."""

    def instantiate(text: str, *imports: Any) -> Any:
        return api.Instance(store, api.Module(store.engine, text), list(imports)).exports(store)

    return instantiate


@pytest.fixture
def host(api: Any, store: Any) -> Callable[..., Any]:
    """A host function with a type written as in ``host("i32 i64 -> f64", function)``."""

    def host(type: str, function: Callable[..., Any], access_caller: bool = False) -> Any:
        return api.Func(store, func_type(api, type), function, access_caller=access_caller)

    return host


def func_type(api: Any, text: str) -> Any:
    """``i32 i64 -> f64`` as a FuncType."""
    params, _, results = text.partition("->")
    return api.FuncType(*([getattr(api.ValType, name)() for name in side.split()] for side in (params, results)))
