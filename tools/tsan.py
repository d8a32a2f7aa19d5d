"""Runs tests with the C runtime under ThreadSanitizer.

    python tools/tsan.py [pytest arguments]
    python tools/tsan.py -m tests.threads.growth --seconds 60

As tools/asan.py, from which this has most: the C files are compiled with -fsanitize=thread into build/tsan/, and
libtsan is preloaded. Python is not instrumented, but its locks, the GIL's too, are those of the C library, which the
preloaded library sees. So it knows what happens before what wherever Python or C orders it, and what C reads and
writes. It sees nothing of generated code, whose plain accesses to shared memories race by right, and what C does there
for a program by plain accesses races as well (`SUPPRESSED`).

Our signals come to us (runtime_c/sanitizer.h), but not while the thread is in the C library: an end that has to find it
in poll comes late. Ctrl-C is Python's, and the sanitizer keeps it until the thread calls something, which generated
code does not. Tests of both are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys

import asan

BUILT = asan.ROOT / "build" / "tsan"
# It does not know fences, which order nothing more for it than the atomic accesses around them.
FLAGS = ["-Werror", "-Wno-error=tsan", "-Wno-tsan", "-fsanitize=thread", "-g", "-O1"]
FOUND = 97  # exit code
REPORTS = BUILT / "report"  # with a number; pytest keeps what is written to the standard streams
OPTIONS = {
    "exitcode": FOUND,
    "report_signal_unsafe": 0,  # Python's handlers allocate nothing, ours neither
    "die_after_fork": 0,
    "history_size": 4,
    "handle_segv": 0,
    "handle_sigbus": 0,
    "handle_sigill": 0,
    "handle_sigfpe": 0,
    "handle_sigtrap": 0,
    "allow_user_segv_handler": 1,
    "use_sigaltstack": 0,
}
SUPPRESSED = """
# The C library frees what an ended thread had, under a lock of its own that the sanitizer does not see.
race:_dl_deallocate_tls
# Python closes descriptors without its lock: the pipe of the optimiser's thread at the end, whose reader is gone.
race:internal_close
# What a program does in its memories by plain accesses: other threads of it may do so at the same time.
race:wj_builtin_memory_copy
race:wj_builtin_memory_fill
race:wj_builtin_memory_init
race:wj_run_interpreted
"""
TESTS = (
    "tests/api/test_threads.py",
    "tests/api/test_shared_memory.py",
    "tests/api/test_wasi_threads.py",
    "tests/api/test_wasi_thread_races.py",
    "tests/api/test_wasi_shared_memory.py",
    "tests/api/test_thread_pool.py",
    "tests/unit/test_native_memberships.py",
    "tests/hazards/test_litmus.py",
    "tests/threads/test_*.py",
)
LEFT_OUT = "not (poll or signal or ctrl_c or leak)"
# Proves that the sanitizer is at work: threads without the GIL write the same bytes by C's.
PLANTED = """
import threading
from wasmjit.runtime._native import ffi, lib
memory = lib.wj_memory_new(ffi.NULL, 256, 256, 16, 256 << 16, 0, ffi.new("int *"))
bytes_ = bytes(256 << 16)
work = lambda: [lib.wj_memory_write(memory, 0, ffi.from_buffer(bytes_), len(bytes_)) for _ in range(20)]
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def environment() -> dict[str, str]:
    """In which Python runs with the sanitizer."""
    suppressions = BUILT / "suppressed"
    suppressions.write_text(SUPPRESSED)
    options = {**OPTIONS, "suppressions": suppressions, "log_path": REPORTS}
    paths = [str(BUILT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "LD_PRELOAD": asan.library("libtsan.so"),
        "TSAN_OPTIONS": ":".join(f"{name}={value}" for name, value in options.items()),
        "PYTHONPATH": os.pathsep.join(paths),
    }


def python(*arguments: str) -> list[str]:
    """A command: with addresses that the sanitizer has room for."""
    return ["setarch", "-R", sys.executable, *arguments]


def reports() -> str:
    """What was found, of processes that tests start, too; it is taken away."""
    found = ""
    for report in sorted(BUILT.glob(f"{REPORTS.name}.*")):
        found += report.read_text()
        report.unlink()
    return found


def main(arguments: list[str]) -> int:
    """Builds, makes sure that the sanitizer is at work, runs pytest or a module."""
    asan.build(BUILT, FLAGS)
    reports()
    settings = environment()
    halting = {**settings, "TSAN_OPTIONS": settings["TSAN_OPTIONS"] + ":halt_on_error=1"}
    planted = subprocess.run(python("-c", PLANTED), env=halting, cwd=asan.ROOT, check=False, timeout=100)
    if planted.returncode != FOUND or "data race" not in reports():
        print("the sanitizer does not find a race that was planted", file=sys.stderr)
        return 1
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-k", LEFT_OUT, "-o", "faulthandler_timeout=300"]
    command = [*([] if arguments[:1] == ["-m"] else pytest), *(arguments or asan.files(TESTS))]
    code = subprocess.run(python(*command), env=settings, cwd=asan.ROOT, check=False).returncode
    found = reports()
    print(found)
    return code or (FOUND if found else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
