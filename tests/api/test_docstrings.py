"""Every public name has a docstring with an example (run as a doctest), and every public member has a docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import wasmjit
from tests.rows import for_each
from wasmjit.config import Option

# Names that cannot carry an example of their own.
WITHOUT_EXAMPLE = {
    "__version__",  # a string
    "WasmtimeError",  # another name for WasmError
}
# Members whose docstring Python itself provides or whose meaning the data model fixes.
INHERITED_FROM = (object, BaseException, Exception, dict, str, int)


def public_names() -> list[str]:
    return [name for name in wasmjit.__all__ if name not in WITHOUT_EXAMPLE]


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods, properties and options that a class itself or a base of ours defines."""
    for base in cls.__mro__:
        if base.__module__.startswith("wasmjit"):
            for name, member in vars(base).items():
                if not name.startswith("_") and (
                    callable(member) or isinstance(member, (property, Option, classmethod, staticmethod))
                ):
                    yield name, member


@for_each(public_names())
def test_every_public_name_has_a_docstring_with_an_example(name: str) -> None:
    item = getattr(wasmjit, name)
    if not (inspect.isclass(item) or inspect.isfunction(item)):
        return  # an alias for types (Storelike, Extern, ...)
    text = vars(item).get("__doc__") if inspect.isclass(item) else item.__doc__
    assert text, f"{name} has no docstring"
    assert ">>> " in text, f"{name} has no example"


@for_each(public_names())
def test_every_public_member_has_a_docstring(name: str) -> None:
    item = getattr(wasmjit, name)
    if inspect.isclass(item):
        assert [member for member, value in members(item) if not getattr(value, "__doc__", None)] == []


def test_doctests_are_collected(pytestconfig: pytest.Config) -> None:
    assert "--doctest-modules" in pytestconfig.getini("addopts")
    assert "wasmjit" in pytestconfig.getini("testpaths")
