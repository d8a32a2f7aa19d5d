"""The C twin of what `bench.call` measures: the same functions as a C extension, the least that calls could cost.

`load()` compiles twin.c with cffi (API mode) into build/call_twin/ when that is missing or older than its sources.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cffi import FFI

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / "build" / "call_twin"
NAME = "_call_twin"
CALLBACKS = """
extern "Python+C" void twin_callback_nothing(void);
extern "Python+C" int32_t twin_callback_add(int32_t a, int32_t b);
"""
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-sign-compare", "-Werror"]


def build() -> Path:
    """Builds the extension unless it is newer than its sources, and returns its path."""
    target = BUILT / (NAME + sysconfig.get_config_var("EXT_SUFFIX"))
    newest = max(path.stat().st_mtime for path in HERE.iterdir() if path.is_file())
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists() and target.stat().st_mtime > newest:
            return target
        ffi = FFI()
        ffi.cdef((HERE / "twin.h").read_text() + CALLBACKS)
        ffi.set_source(
            NAME,
            '#include <stdint.h>\n#include "twin.h"\n',
            sources=[str(HERE / "twin.c")],
            include_dirs=[str(HERE)],
            extra_compile_args=FLAGS,
            py_limited_api=False,
        )
        with tempfile.TemporaryDirectory(dir=BUILT) as directory:
            os.replace(ffi.compile(tmpdir=directory), target)
    return target


class Twin:
    """The loaded extension: `lib` and `ffi` of cffi, and the METH_FASTCALL builtins by hand."""

    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib = lib
        self.ffi = ffi
        self.nothing = self._builtin(0)
        self.add = self._builtin(1)
        self.add_released = self._builtin(2)

    def _builtin(self, which: int) -> Callable[..., Any]:
        address = self.lib.twin_builtin(which)
        if not address:
            raise MemoryError("the C twin could not make a builtin")
        function: Callable[..., Any] = ctypes.cast(address, ctypes.py_object).value  # C's reference stays: one per run
        return function


def load() -> Twin:
    """Builds and imports the twin. Raises what the C compiler or the loader has to say."""
    spec = importlib.util.spec_from_file_location(NAME, build())
    assert spec is not None and spec.loader is not None
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return Twin(extension.lib, extension.ffi)
