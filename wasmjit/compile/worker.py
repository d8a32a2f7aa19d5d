"""A worker's start: its main function, and the import of llvmlite without what takes most of that."""

from __future__ import annotations

import ctypes  # noqa: F401  # before llvmlite does: these two have use for what stands in for something there
import re  # noqa: F401
import sys

from .quick_imports import stand_ins_of_llvmlite


def _import_quickly() -> None:
    stand_ins = stand_ins_of_llvmlite()
    hidden = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        __import__("llvmlite.binding")
    except Exception:  # another version of llvmlite, or it lies in an archive: then as everybody imports it
        for name in [name for name in sys.modules if name.partition(".")[0] == "llvmlite"]:
            del sys.modules[name]
    finally:
        for name, module in hidden.items():
            if module is not None:
                sys.modules[name] = module
            elif sys.modules.get(name) is stand_ins[name]:
                del sys.modules[name]


_import_quickly()

from .llvm import serve  # noqa: E402

__all__ = ["serve"]
