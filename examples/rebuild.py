"""Rebuilds the prebuilt ``.wasm`` files with ziglang and prints the commands.

    python examples/rebuild.py [NAME...]     all, or those whose file name starts with a NAME

The same ziglang version gives byte-identical files: sources are named relative to their directory, nothing of the
machine or the time gets in, and symbols and debug information are stripped.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE_DIRECTORIES = ("examples", "bench/kernels", "tests/wasi", "tests/wasi/programs", "tests/threads")

# lime1 is the WebAssembly 2.0 subset that tools agree on (bulk memory, sign extension, saturating truncation,
# multi-value, mutable globals, extended constants): no SIMD, no exceptions, no tail calls.
FLAGS = ["-target", "wasm32-wasi", "-mcpu=lime1", "-O2", "-s", "-Wall", "-Wextra"]
# Programs with threads have a memory that their instances share, and no C library.
WITH_THREADS = ["-target", "wasm32-freestanding", "-mcpu=generic+atomics+bulk_memory", "-O2", "-s", "-Wall", "-Wextra"]
WITH_THREADS += ["-Wno-unused-parameter", "-nostdlib", "-Wl,--no-entry", "-Wl,--shared-memory", "-Wl,--import-memory"]
WITH_THREADS += ["-Wl,--export-memory", "-Wl,--max-memory=4194304"]
# Cases of preview 1 call it directly: no C library, nothing but what they ask for.
WITHOUT_LIBRARY = ["-nostdlib", "-ffreestanding", "-Wl,-z,stack-size=65536"]


def command(source: Path, target: str) -> list[str]:
    """The compiler call for one source file, to be run in its directory."""
    is_cpp = source.suffix == ".cpp"
    language = ["c++", "-std=c++17", "-fno-exceptions", "-fno-rtti"] if is_cpp else ["cc", "-std=c11", "-D_GNU_SOURCE"]
    extra = WITHOUT_LIBRARY if source.parent.name == "programs" else []
    flags = WITH_THREADS if source.parent.name == "threads" else FLAGS
    return [sys.executable, "-m", "ziglang", language[0], *flags, *language[1:], *extra, source.name, "-o", target]


def rebuild(source: Path, target: Path) -> None:
    """Compiles `source` to `target`; raises CalledProcessError if the compiler refuses."""
    # Relative, and without the directory part, so that the checkout's place does not get into the file.
    call = command(source, os.path.relpath(target, source.parent))
    print(f"(cd {source.parent} && {shlex.join(call)})", flush=True)
    subprocess.run(call, cwd=source.parent, check=True)
    target.chmod(0o644)


def sources() -> list[Path]:
    """Every C and C++ program with a prebuilt ``.wasm``."""
    return [
        source
        for directory in SOURCE_DIRECTORIES
        for source in sorted((ROOT / directory).iterdir())
        if source.suffix in (".c", ".cpp")
    ]


def main() -> int:
    """Rebuilds what the command line names."""
    for source in sources():
        if not sys.argv[1:] or source.name.startswith(tuple(sys.argv[1:])):
            rebuild(source, source.with_suffix(".wasm"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
