"""The command line: ``wasmjit COMMAND ...``, also ``python -m wasmjit``. Uses the public API only.

Exit status: the guest's own; 134 after a trap; 1 for an error of ours, with its reason on stderr; 2 for wrong usage.

`run` starts without click where its command line is plainly right (`rows.parse_quickly`); all else is click's
(`commands`).
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NoReturn

from .. import ExitTrap, Trap, WasmError
from . import console

EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + 2
EXIT_TRAP = 128 + 6  # what a shell reports for a program that aborted
EXIT_BROKEN_PIPE = 128 + 13

COMPLETE_VARIABLE = "_WASMJIT_COMPLETE"  # set by the scripts of `wasmjit completion`
# The commands, and what `wasmjit --help` says of them. Each is imported when it is used.
COMMANDS = {
    "run": "run a program or call a function",
    "compile": "compile to a .cwasm file",
    "validate": "check modules",
    "objdump": "show functions, IR, machine code",
    "explore": "write a page with wasm, LLVM IR and assembly side by side",
    "wast": "run spec scripts",
    "settings": "list options and targets",
    "cache": "show or clear the cache of compiled code",
    "bench": "time and memory of a module, by layer",
    "completion": "print a script for the shell's completion",
}


def exit_status(code: int) -> int:
    """The process exit status for a guest's exit code: its low byte, but never 0 for a failure."""
    return code & 0xFF or (EXIT_ERROR if code else 0)


def _report(error: BaseException) -> None:
    console.report(str(error) or type(error).__name__)
    if os.environ.get("WASMJIT_TRACEBACK"):
        console.show_traceback(error)


def status_of(command: Callable[[SimpleNamespace], int], arguments: SimpleNamespace) -> int:
    """Runs a command and turns whatever it raises into an exit status."""
    try:
        status = command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except ExitTrap as trap:
        return exit_status(trap.code)
    except Trap as trap:
        _report(trap)
        return EXIT_TRAP
    except KeyboardInterrupt:
        sys.last_type = KeyboardInterrupt  # as Python does with one that nobody catches
        if sys.stderr is not None:
            print("wasmjit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _write_no_more()  # whoever read our output has gone
        return EXIT_BROKEN_PIPE
    except (WasmError, OSError, UnicodeError, MemoryError, ImportError) as error:  # imports need files and memory
        _report(error)
        if isinstance(error, OSError):
            _write_no_more()  # it may have been stdout that failed: a full disk
        return EXIT_ERROR
    except Exception as error:  # a defect of ours: still a reason and a status, not a traceback
        if type(error).__module__.partition(".")[0] == "click":
            raise  # wrong usage, which click reports
        console.report(f"internal error: {type(error).__name__}: {error}")
        if os.environ.get("WASMJIT_TRACEBACK"):
            console.show_traceback(error)
        return EXIT_ERROR


def _write_no_more() -> None:
    """Python flushes stdout once more at exit, and would complain there of what was reported: let it go nowhere."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def open_standard_streams() -> None:
    """Puts /dev/null where a standard stream is closed, as the run-time systems of other languages do.

    Else the next file that is opened has its number, and what a program prints is written into it: an entry of the
    cache, for example. Python has None for such streams.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: SIM115  # for good
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _is_file(word: str) -> bool:
    """Whether a word in the place of a command is the FILE of `run`."""
    return word == "-" or (not word.startswith("-") and os.path.isfile(word))


def run_command_line(argv: Sequence[str]) -> int:
    """Carries out a command line and returns its exit status: 2, with the usage on stderr, if it is wrong."""
    words = list(argv)
    if words and words[0] not in COMMANDS and _is_file(words[0]):
        words.insert(0, "run")
    try:
        if words[:1] == ["run"]:
            from . import rows, run, run_rows

            arguments = rows.parse_quickly(run_rows.ROWS, words[1:])
            if arguments is not None:
                return status_of(run.run, arguments)
        from . import commands

        return commands.main(words)
    except (OSError, MemoryError, ImportError) as error:
        _report(error)
        return EXIT_ERROR


def main() -> NoReturn:
    """The console script."""
    open_standard_streams()
    if COMPLETE_VARIABLE in os.environ:
        from . import commands

        sys.exit(commands.complete(sys.argv[1:]))
    _leave(run_command_line(sys.argv[1:]))


def _leave(status: int) -> NoReturn:
    """Ends the process; does what is to be done at exit, but does not take the interpreter apart.

    That takes a sixth of the time of a short run, and the system does it better.
    """
    import threading

    if threading.active_count() == 1:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            atexit._run_exitfuncs()
        except BaseException:
            sys.exit(status)  # Python knows how to say what went wrong
        os._exit(status)
    sys.exit(status)
