"""Runs tests with the C runtime under AddressSanitizer.

    python tools/asan.py [pytest arguments]
    python tools/asan.py -m tests.fuzz.signatures --count 1000

The C files are compiled with -fsanitize=address into build/asan/, and a sitecustomize there makes the test process and
those that it starts load that copy in place of the installed one. libasan is preloaded, since Python itself is built
without it. Faults stay ours: wasm code traps by signals (handle_*=0), and the alternate signal stack is ours too. Leaks
are not looked for: Python keeps much until it ends. Generated code is not instrumented; what it calls in C is.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

EXTENSION_NAME = "_native" + sysconfig.get_config_var("EXT_SUFFIX")
ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "asan"
FLAGS = ["-Werror", "-fsanitize=address", "-fno-common", "-g", "-O1"]
FOUND = 97  # exit code
OPTIONS = {
    "detect_leaks": 0,
    "handle_segv": 0,
    "handle_sigbus": 0,
    "handle_sigill": 0,
    "handle_sigfpe": 0,
    "handle_sigtrap": 0,
    "allow_user_segv_handler": 1,
    "use_sigaltstack": 0,
    "allocator_may_return_null": 1,  # tests of huge allocations
    "exitcode": FOUND,
}
TESTS = (
    "tests/unit/test_native_*.py",
    "tests/unit/test_validator.py",
    "tests/api/test_call*.py",
    "tests/api/test_func.py",
    "tests/api/test_mem*.py",
    "tests/api/test_objects.py",
    "tests/api/test_shared_memory.py",
    "tests/api/test_store.py",
    "tests/hazards/*.py",
    "tests/fuzz/test_signatures.py",
)
# Freed memory stays in quarantine for a while, so the process grows; limits of address space leave none for the shadow.
LEFT_OUT = "not (leave_nothing_behind or leak or no_more_memory or address_space_back or memory_is_in_proportion)"
# Proves that the sanitizer is at work: C reads 100 words from an array of one.
PLANTED = """
from wasmjit.runtime._native import ffi, lib
table = lib.wj_table_new(lib.wj_store_new(1 << 20), 100, 100, 0, ffi.new("int *"))
lib.wj_table_write(table, 0, ffi.new("uint64_t[1]"), 100)
"""
REDIRECT = '''"""Made by tools/asan.py: loads the C runtime that was built with a sanitizer."""

import importlib.util
import sys


class Redirect:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "wasmjit.runtime._native":
            return importlib.util.spec_from_file_location(name, {extension!r})
        return None


sys.meta_path.insert(0, Redirect)
'''


def build_script() -> ModuleType:
    """runtime_c/build.py, which knows the sources."""
    spec = importlib.util.spec_from_file_location("runtime_c_build", ROOT / "runtime_c" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(built: Path, flags: list[str]) -> None:
    """Builds the extension into a directory of its own unless it is newer than every source."""
    extension = built / EXTENSION_NAME
    newest = max(path.stat().st_mtime for path in (ROOT / "runtime_c").iterdir() if path.is_file())
    built.mkdir(parents=True, exist_ok=True)
    with (built / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (built / "sitecustomize.py").write_text(REDIRECT.format(extension=str(extension)))
        if extension.exists() and extension.stat().st_mtime > newest:
            return
        directory = built / "work"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        script = build_script()
        script.make_code(script.own_machine())
        os.replace(script.make_ffibuilder(str(ROOT / "runtime_c"), flags).compile(tmpdir=directory), extension)


def library(name: str) -> str:
    """The path of a sanitizer's library, of the C compiler's. Raises SystemExit if it has none."""
    compiler = os.environ.get("CC", "gcc")
    found = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = Path(found.stdout.strip())
    if not path.is_absolute():
        sys.exit(f"{compiler} has no {name}")
    return str(path.resolve())


def environment() -> dict[str, str]:
    """In which Python runs with the sanitizer."""
    options = ":".join(f"{name}={value}" for name, value in OPTIONS.items())
    paths = [str(BUILT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "LD_PRELOAD": library("libasan.so"),
        "ASAN_OPTIONS": options,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONMALLOC": "malloc",  # Python's objects get red zones too
    }


def files(patterns: Sequence[str]) -> list[str]:
    """Those that patterns name."""
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def main(arguments: list[str]) -> int:
    """Builds, makes sure that the sanitizer is at work, runs pytest or a module."""
    build(BUILT, FLAGS)
    settings = environment()
    planted = [sys.executable, "-c", PLANTED]
    seen = subprocess.run(planted, env=settings, cwd=ROOT, capture_output=True, text=True, check=False)
    if seen.returncode != FOUND or "heap-buffer-overflow" not in seen.stderr:
        print(seen.stderr, "the sanitizer does not find an error that was planted", sep="\n", file=sys.stderr)
        return 1
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-k", LEFT_OUT]
    command = [sys.executable, *([] if arguments[:1] == ["-m"] else pytest), *(arguments or files(TESTS))]
    return subprocess.run(command, env=settings, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
