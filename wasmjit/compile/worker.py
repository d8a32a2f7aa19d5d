"""A worker's start: its main function, and the import of llvmlite without what takes most of that.

To find its library, llvmlite imports half of the standard library, and for names that only `TypeRef.as_ir` has use
for, its own generator of LLVM IR: two thirds of the processor time that a worker took to start, which the program
waits for where there is one processor. Here are stand-ins for these, in this process alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import ModuleType

_LLVM = __name__.rpartition(".")[0] + ".llvm"


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


def _stand_ins() -> dict[str, ModuleType]:
    resources = ModuleType("importlib.resources")
    resources.files = _Folder  # type: ignore[attr-defined]
    resources.as_file = contextlib.nullcontext  # type: ignore[attr-defined]
    platform = ModuleType("platform")
    platform.machine = lambda: os.uname().machine  # type: ignore[attr-defined]
    made = {"importlib.resources": resources, "platform": platform, "llvmlite.ir": _Names("llvmlite.ir")}
    return {name: module for name, module in made.items() if name not in sys.modules}


def _import_quickly() -> None:
    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    try:
        __import__(_LLVM)
    except Exception:  # another version of llvmlite, or it lies in an archive: then as everybody imports it
        for name in [name for name in sys.modules if name == _LLVM or name.partition(".")[0] == "llvmlite"]:
            del sys.modules[name]
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


_import_quickly()

from .llvm import serve  # noqa: E402

__all__ = ["serve"]
