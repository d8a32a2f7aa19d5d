"""Builds the C runtime as the extension module ``wasmjit.runtime._native`` (cffi, API mode).

``python runtime_c/build.py`` builds it in place; setuptools uses ``ffibuilder`` (see setup.py). wj_api.h is both the
cdef that cffi reads and the header that C includes. The module uses Python.h, so it is built per Python version.
"""

from __future__ import annotations

import fcntl
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
MODULE = "wasmjit.runtime._native"
SOURCES = [
    "arch_aarch64.c",
    "arch_x86_64.c",
    "atomic_wait.c",
    "atomics.c",
    "builtins.c",
    "callable.c",
    "callbacks.c",
    "code.c",
    "constants.c",
    "enter.c",
    "exceptions.c",
    "externrefs.c",
    "gc_arrays.c",
    "gc_candidates.c",
    "gc_collect.c",
    "gc_heap.c",
    "gc_mark.c",
    "gc_python.c",
    "gc_types.c",
    "gc_verify.c",
    "host.c",
    "huge.c",
    "instance.c",
    "interpret.c",
    "interpret_access.c",
    "interpret_atomics.c",
    "interpret_bulk.c",
    "interpret_calls.c",
    "interpret_control.c",
    "interpret_enter.c",
    "interpret_function.c",
    "interpret_immediates.c",
    "interpret_module.c",
    "interpret_other.c",
    "interpret_translate.c",
    "interpret_vectors.c",
    "interrupt.c",
    "mapping.c",
    "lock.c",
    "memory.c",
    "memory_object.c",
    "memory_typed.c",
    "pool.c",
    "sanitizer.c",
    "signature.c",
    "stencil_aarch64.c",
    "stencil_aarch64_calls.c",
    "stencil_aarch64_frame.c",
    "stencil_aarch64_metering.c",
    "stencil_aarch64_vectors.c",
    "stencil_access.c",
    "stencil_builtins.c",
    "stencil_code.c",
    "stencil_copies.c",
    "stencil_emit.c",
    "stencil_forms.c",
    "stencil_function.c",
    "stencil_narrow.c",
    "stencil_operands.c",
    "stencil_other.c",
    "stencil_places.c",
    "stencil_registers.c",
    "stencil_rows.c",
    "stencil_translate.c",
    "stencil_vectors.c",
    "stencil_x86_64.c",
    "stencil_x86_64_calls.c",
    "stencil_x86_64_frame.c",
    "stencil_x86_64_fused.c",
    "stencil_x86_64_vectors.c",
    "stencil_x86_64_metering.c",
    "store.c",
    "store_object.c",
    "table.c",
    "tiering.c",
    "trap.c",
    "validate.c",
    "validate_special.c",
    "values.c",
    "wasi.c",
]
HEADERS = sorted(path.name for path in (ROOT / "runtime_c").glob("*.h"))
# Warnings are for our files; the code that cffi generates has its own taste.
PREAMBLE = """
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#include <stdint.h>
#include "wj_api.h"
"""
FLAGS = [
    *("-std=gnu11", "-O2", "-fno-omit-frame-pointer", "-fno-plt", "-fvisibility=hidden", "-Wall", "-Wextra"),
    # Small structures are made in vector registers else, and read a field at a time: a tenth of what translation takes.
    "-fno-tree-slp-vectorize",
    # What debuggers read, which Python's own flags ask for, would take a fifth of the build and two thirds of the file.
    "-g0",
]


# As wasmjit/wasm/table_sources.py has it; a test compares.
TABLE_SOURCES = ("types.py", "ops.py", "body_facts.py", "validator_rows.py")
# Where what the build makes for C lies.
GENERATED = str(ROOT / "build")


# The package's own __init__ imports the C runtime, which is not there yet or is that of other sources.
_MAKE = """
import pathlib, sys, types
sys.modules["wasmjit"] = package = types.ModuleType("wasmjit")
package.__path__ = ["wasmjit"]
folder, machine = pathlib.Path(sys.argv[1]), sys.argv[2]
from wasmjit.stencils import header, routines
routines.make(folder / f"wj_vectors_{machine}.o", machine)
header.make(folder, machine)
"""


_COMPARE_TABLE = """
import pathlib, sys, types
sys.modules["wasmjit"] = package = types.ModuleType("wasmjit")
package.__path__ = ["wasmjit"]
from wasmjit.wasm import table_sources, validator_rows
is_current = pathlib.Path("runtime_c/wj_rows.h").read_text() == validator_rows.render_header()
print(table_sources.checksum() if is_current else 0)
"""


def table_sources_checksum() -> int:
    """Of the instruction table's sources; 0 where ``wj_rows.h`` is of another table (`wasm/table_sources.py`)."""
    command = [sys.executable, "-c", _COMPARE_TABLE]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def own_machine() -> str:
    """As `wasmjit.stencils.routines` calls it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def make_code(machine: str) -> Path:
    """Has LLVM make what code is made of or calls (wasmjit/stencils), unless what is there is of the same sources: the
    machine code of the stencil tier, and the routines of vector instructions, whose object file it
    returns."""
    Path(GENERATED).mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", _MAKE, GENERATED, machine], cwd=ROOT, check=True)
    return Path(GENERATED) / f"wj_vectors_{machine}.o"


def make_ffibuilder(directory: str, extra_flags: list[str]) -> FFI:
    """The cffi builder; `directory` is the path of runtime_c (setuptools wants it relative to the repository root)."""
    ffi = FFI()
    ffi.cdef((ROOT / "runtime_c" / "wj_api.h").read_text())
    ffi.set_source(
        MODULE,
        PREAMBLE,
        sources=[f"{directory}/{name}" for name in SOURCES],
        include_dirs=[directory, GENERATED],
        depends=[f"{directory}/{name}" for name in HEADERS],
        extra_objects=[str(Path(GENERATED) / f"wj_vectors_{own_machine()}.o")],
        extra_compile_args=[*FLAGS, *extra_flags, f"-DWJ_TABLE_SOURCES_CHECKSUM={table_sources_checksum()}"],
        libraries=["pthread", "m"],
        py_limited_api=False,
    )
    return ffi


if __name__ == "__cffi__":  # by setuptools, which compiles what is made here
    make_code(own_machine())
    ffibuilder = make_ffibuilder("runtime_c", [])


def build(force: bool = False) -> Path:
    """Builds in place and returns the extension's path; does nothing if it is newer than every source."""
    os.chdir(ROOT)
    target = ROOT / "wasmjit" / "runtime" / ("_native" + sysconfig.get_config_var("EXT_SUFFIX"))
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "native.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_code(own_machine())
        sources = [path for path in (ROOT / "runtime_c").iterdir() if path.is_file()]
        sources += Path(GENERATED).glob("wj_stencils*.h")
        sources.append(Path(GENERATED) / f"wj_vectors_{own_machine()}.o")
        sources += [ROOT / "wasmjit" / "wasm" / name for name in TABLE_SOURCES]
        newest = max(path.stat().st_mtime for path in sources)
        if not force and target.exists() and target.stat().st_mtime > newest:
            return target
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as directory:
            built = make_ffibuilder(str(ROOT / "runtime_c"), ["-Werror"]).compile(tmpdir=directory, verbose=False)
            # A process may have the old file mapped: a new file takes its place, the old one stays intact.
            os.replace(built, target)
        return target


if __name__ == "__main__":
    print(build(force="--force" in sys.argv[1:]))
