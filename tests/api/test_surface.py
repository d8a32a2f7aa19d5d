"""The public surface of the installed wasmtime package outside `component` exists here: names, attributes, signatures.

A signature "exists" if every call that is valid there is valid here: the parameters have the same names at the same
places, and where the package has a default there is the same one. Further optional parameters are fine. What differs
stands with its reason in docs/differences.toml, and what stands there differs.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmjit

DIFFERENCES = Path(__file__).resolve().parents[2] / "docs" / "differences.toml"
# What programs use through syntax, and so never by name.
PROTOCOLS = ("__init__", "__call__", "__getitem__", "__len__", "__iter__", "__enter__", "__exit__")
MOST_DIFFERENCES = 12


def names(namespace: Any) -> list[str]:
    """The public names of a module or class, and the protocols of a class."""
    return [name for name in dir(namespace) if not name.startswith("_") or name in PROTOCOLS]


def parameters(function: Any) -> list[inspect.Parameter] | None:
    """The parameters of a function or of a method written in C; None for what has no such signature."""
    if isinstance(function, types.MethodDescriptorType) and function.__objclass__.__module__.startswith("wasmjit"):
        self, *rest = inspect.signature(function).parameters.values()
        return [self.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD), *rest]  # it is never given by name
    if not isinstance(function, (types.FunctionType, types.MethodType)):
        return None
    return list(inspect.signature(function).parameters.values())


def takes_every_call(theirs: list[inspect.Parameter], ours: list[inspect.Parameter]) -> bool:
    """Whether calls that fit `theirs` fit `ours` and mean the same."""
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for position, wanted in enumerate(theirs):
        if position >= len(ours):
            return False
        found = ours[position]
        if found.kind != wanted.kind or (wanted.kind not in starred and found.name != wanted.name):
            return False
        if wanted.default is not wanted.empty and found.default != wanted.default:
            return False
    return all(more.default is not more.empty or more.kind in starred for more in ours[len(theirs) :])


def member_differs(theirs: Any, ours: Any) -> bool:
    """Whether a member that both have is of another kind or has another signature."""
    if isinstance(theirs, enum.Enum):
        return not isinstance(ours, enum.Enum) or (theirs.name, theirs.value) != (ours.name, ours.value)
    wanted = parameters(theirs)
    if wanted is None:  # a property, or something inherited from C
        return callable(theirs) and not callable(ours)
    found = parameters(ours)
    return found is None or not takes_every_call(wanted, found)


def differences() -> Iterator[tuple[str, str]]:
    """What the package has and wasmjit has not, or otherwise: "missing" or "signature", and the name."""
    for name in names(wasmtime):
        theirs = getattr(wasmtime, name)
        if isinstance(theirs, types.ModuleType):
            continue
        if not hasattr(wasmjit, name):
            yield "missing", name
            continue
        ours = getattr(wasmjit, name)
        if not inspect.isclass(theirs):
            if member_differs(theirs, ours):
                yield "signature", name
            continue
        for member in names(theirs):
            if not hasattr(ours, member):
                yield "missing", f"{name}.{member}"
            elif member_differs(inspect_member(theirs, member), inspect_member(ours, member)):
                yield "signature", f"{name}.{member}"


def inspect_member(owner: Any, name: str) -> Any:
    """A member as the class shows it: properties stay properties, class methods are bound."""
    static = inspect.getattr_static(owner, name)
    return static if isinstance(static, property) else getattr(owner, name)


def listed() -> dict[str, dict[str, str]]:
    """The list: for "missing" and "signature" the reasons by pattern of names."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    tables: dict[str, dict[str, str]] = tomllib.loads(DIFFERENCES.read_text())
    return {kind: tables[kind] for kind in ("missing", "signature")}


def test_every_difference_is_listed() -> None:
    reasons = listed()
    unlisted = [
        (kind, name) for kind, name in differences() if not any(fnmatchcase(name, pattern) for pattern in reasons[kind])
    ]
    assert not unlisted, f"missing here or of another signature, and not in {DIFFERENCES}: {unlisted}"


def test_every_listed_difference_is_true_and_has_a_reason() -> None:
    found = list(differences())
    entries = [(kind, pattern, reason) for kind, rows in listed().items() for pattern, reason in rows.items()]
    assert len(entries) <= MOST_DIFFERENCES, "the list is for exceptions"
    for kind, pattern, reason in entries:
        assert reason.strip(), pattern
        assert any(kind == of and fnmatchcase(name, pattern) for of, name in found), f"no longer true: {pattern}"


def test_all_names_what_exists() -> None:
    assert len(set(wasmjit.__all__)) == len(wasmjit.__all__)
    assert not [name for name in wasmjit.__all__ if not hasattr(wasmjit, name)]
    assert set(wasmtime.__all__) <= set(wasmjit.__all__)


def test_the_comparison_sees_differences() -> None:
    def theirs(a: int, b: int = 1) -> None: ...
    def same(a: int, b: int = 1, *, c: int = 2) -> None: ...
    def renamed(a: int, x: int = 1) -> None: ...
    def other_default(a: int, b: int = 2) -> None: ...
    def required(a: int, b: int = 1, *, c: int) -> None: ...
    def shorter(a: int) -> None: ...

    assert not member_differs(theirs, same)
    assert all(member_differs(theirs, other) for other in (renamed, other_default, required, shorter, 3, property()))
    assert not member_differs(property(), property())
    assert member_differs(len, 3)
