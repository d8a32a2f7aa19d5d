"""The options of ``wasmjit run``: of its command line, and of the table ``[run]`` in the configuration file."""

from __future__ import annotations

from .options import ENGINE_ROWS, WASI_ROW
from .rows import Row, duration_seconds, integer, one_of, size_bytes

PROFILERS = ("perfmap", "jitdump")
_SYSTEM, _LIMITS = "What the program may see", "Limits"

ROWS = (
    Row("--invoke", kind=str, metavar="FUNCTION", help="call this export with the arguments; prints its results"),
    Row(
        "--preload",
        kind=str,
        repeated=True,
        metavar="NAME=FILE",
        help="a module that FILE imports as NAME",
    ),
    Row("--allow-precompiled", help="FILE may be a .cwasm: native code, trusted"),
    Row(
        "--profile",
        kind=one_of(*PROFILERS),
        metavar="|".join(PROFILERS),
        choices=PROFILERS,
        help="tell `perf` where functions are: /tmp/perf-PID.map, or jit-PID.dump here",
    ),
    Row("--timing", help="say on stderr where the time went, and what functions ran in"),
    Row("--timing-file", kind=str, metavar="FILE", help="write that to FILE, for `wasmjit explore --timing FILE`"),
    Row(
        "--dir",
        kind=str,
        repeated=True,
        metavar="HOST[::GUEST[::ro]]",
        help="a directory the program may use, under the name GUEST (HOST if left out), read-only with ::ro",
        section=_SYSTEM,
    ),
    Row(
        "--env",
        kind=str,
        repeated=True,
        metavar="NAME[=VALUE]",
        help="an environment variable (ours if no =VALUE)",
        section=_SYSTEM,
    ),
    Row("--argv0", kind=str, metavar="NAME", help="the program's own name (default: the file's)", section=_SYSTEM),
    Row("--fuel", kind=integer, metavar="N", help="trap after about N instructions", section=_LIMITS),
    Row(
        "--timeout",
        kind=duration_seconds,
        metavar="DURATION",
        help="trap when a call runs longer than this: 1.5, 2s, 100ms",
        section=_LIMITS,
    ),
    Row(
        "--max-memory",
        kind=size_bytes,
        metavar="SIZE",
        help="refuse memories and tables that are larger than this together",
        section=_LIMITS,
    ),
    Row("--max-table-elements", kind=integer, metavar="N", help="refuse tables longer than this", section=_LIMITS),
    Row(
        "--max-output",
        kind=size_bytes,
        metavar="SIZE",
        help="end a program that writes more than this to stdout and stderr",
        section=_LIMITS,
    ),
    Row(
        "--max-descriptors",
        kind=integer,
        metavar="N",
        help="how many files, directories and sockets it may have open (default: 1024, and half of what we may)",
        section=_LIMITS,
    ),
    Row(
        "--max-threads",
        kind=integer,
        metavar="N",
        help="how many threads it may have besides the first, with -S threads (default: 256)",
        section=_LIMITS,
    ),
    WASI_ROW,
    *ENGINE_ROWS,
)
