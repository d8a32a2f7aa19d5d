"""Stand-ins for what a worker would import and have no use for, which is most of the processor time that its start
takes; a short task waits for that.

In this process alone. `typing`, of which annotations are all that is needed, is one for good: `processes` has it come
first. What llvmlite imports is there while it does (`worker`): half of the standard library to find its own file, its
generator of LLVM IR for names that only `TypeRef.as_ir` uses, and enumerations, which may as well be numbers.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import namedtuple
from types import ModuleType

_NO_MEMBERS = frozenset(("__annotations__", "__module__", "__qualname__", "__dict__", "__weakref__"))


class _NamedTuples(type):
    """Makes a named tuple of each class that has one for a base."""

    def __new__(cls, name, bases, namespace):  # type: ignore[no-untyped-def]
        """As `typing.NamedTuple` does."""
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        fields = namespace.get("__annotations__", {})
        defaults = [namespace[field] for field in fields if field in namespace]
        made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])  # type: ignore[misc]
        for key, value in namespace.items():
            if key not in fields and key not in _NO_MEMBERS:
                setattr(made, key, value)
        return made


class _NamedTuple(metaclass=_NamedTuples):
    pass


class _Generic:
    def __class_getitem__(cls, item: object) -> type:
        return cls


class _Typing(ModuleType):
    """`typing`, as far as the worker's modules use it; whoever wants more gets the real one."""

    TYPE_CHECKING = False
    Any = BinaryIO = IO = Protocol = object
    Generic = _Generic
    NamedTuple = _NamedTuple

    @staticmethod
    def TypeVar(name: str, **options: object) -> None:
        """A name for annotations."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("typing") is self:
            del sys.modules["typing"]
        return getattr(__import__("typing"), name)


if "typing" not in sys.modules:
    sys.modules["typing"] = _Typing("typing")


class _Names(ModuleType):
    """A module that is asked for names of types, which nobody uses."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


class _Folder:
    """What `importlib.resources.files` makes of a package in a folder."""

    def __init__(self, package: str) -> None:
        self.path = sys.modules[package].__path__[0]

    def __truediv__(self, name: str) -> str:
        return os.path.join(self.path, name)


def stand_ins_of_llvmlite() -> dict[str, ModuleType]:
    """By the names of modules."""
    resources = ModuleType("importlib.resources")
    resources.files = _Folder  # type: ignore[attr-defined]
    resources.as_file = contextlib.nullcontext  # type: ignore[attr-defined]
    platform = ModuleType("platform")
    platform.machine = lambda: os.uname().machine  # type: ignore[attr-defined]
    enum = ModuleType("enum")
    enum.IntEnum = enum.IntFlag = int  # type: ignore[attr-defined]
    made = {"importlib.resources": resources, "platform": platform, "llvmlite.ir": _Names("llvmlite.ir")}
    return {name: module for name, module in made.items() if name not in sys.modules} | {"enum": enum}
