"""SQLite as a WASI program: its source from a registry, and our task for it (sqlite/task.c), compiled at first use.

Of the programs in the registries that are SQLite, none runs under the wasmtime package, which has no `wasi_unstable`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.realworld.packages import BUILD, Package, UnavailableError

TASK = Path(__file__).resolve().parent / "sqlite" / "task.c"
SOURCE = Package(
    "npm",
    "better-sqlite3",
    "12.2.0",
    "better-sqlite3-12.2.0.tgz",
    "0d0a263ac2296abe3d85fbc56e7c22eb7aa2861c929d963f9227298064559044",
)
MEMBERS = ("package/deps/sqlite3/sqlite3.c", "package/deps/sqlite3/sqlite3.h")
OPTIONS = ("OS_OTHER=1", "THREADSAFE=0", "OMIT_LOAD_EXTENSION", "TEMP_STORE=3", "DQS=0", "OMIT_DEPRECATED")


def module() -> Path:
    """The program. Raises UnavailableError if the source or the ziglang package cannot be had, or does not compile."""
    source, _ = (SOURCE.extract(member) for member in MEMBERS)
    made = source.with_name("sqlite_task.wasm")
    if made.exists() and made.stat().st_mtime >= TASK.stat().st_mtime:
        return made
    partial = made.with_suffix(f".{os.getpid()}.wasm")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-s", "-w"]
    command += [f"-DSQLITE_{option}" for option in OPTIONS]
    command += [f"-I{source.parent}", str(source), str(TASK), "-o", str(partial)]
    # What it keeps of a C library is ours to throw away.
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(BUILD / "zig"), "ZIG_LOCAL_CACHE_DIR": str(BUILD / "zig")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise UnavailableError(f"cannot compile SQLite: {done.stderr.strip()[-500:]}")
    partial.replace(made)
    return made
