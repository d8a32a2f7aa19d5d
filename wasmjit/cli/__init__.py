"""The command line: ``wasmjit COMMAND ...``, also ``python -m wasmjit``. Uses the public API only.

Exit status: the guest's own; 134 after a trap; 1 for an error of ours, with its reason on stderr; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from .. import ExitTrap, Trap, WasmError, __version__
from . import bench, build, objdump, run, scripts

EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + 2
EXIT_TRAP = 128 + 6  # what a shell reports for a program that aborted
EXIT_BROKEN_PIPE = 128 + 13

DESCRIPTION = "Runs WebAssembly as native code, compiled through LLVM."
EPILOG = "`wasmjit FILE ...` is short for `wasmjit run FILE ...`. WASMJIT_TRACEBACK=1 shows where an error came from."


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and the parser of each command by name."""
    parser = argparse.ArgumentParser(prog="wasmjit", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"wasmjit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for part in (run, build, objdump, scripts, bench):
        part.add_commands(commands)
    return parser, dict(commands.choices)


def exit_status(code: int) -> int:
    """The process exit status for a guest's exit code: its low byte, but never 0 for a failure."""
    return code & 0xFF or (EXIT_ERROR if code else 0)


def _report(error: BaseException) -> None:
    sys.stdout.flush()
    text = str(error) or type(error).__name__
    print(f"wasmjit: error: {text}", file=sys.stderr)
    if os.environ.get("WASMJIT_TRACEBACK"):
        traceback.print_exception(type(error), error, error.__traceback__)


def _status_of(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Runs a command and turns whatever it raises into an exit status."""
    try:
        status = command(arguments)
        sys.stdout.flush()
        return status
    except ExitTrap as trap:
        return exit_status(trap.code)
    except Trap as trap:
        _report(trap)
        return EXIT_TRAP
    except KeyboardInterrupt:
        print("wasmjit: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone. Python flushes stdout once more at exit: let that go nowhere.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        return EXIT_BROKEN_PIPE
    except (WasmError, OSError, UnicodeError, MemoryError) as error:
        _report(error)
        return EXIT_ERROR
    except Exception as error:  # a defect of ours: still a reason and a status, not a traceback
        _report(RuntimeError(f"internal error: {type(error).__name__}: {error}"))
        if os.environ.get("WASMJIT_TRACEBACK"):
            traceback.print_exception(type(error), error, error.__traceback__)
        return EXIT_ERROR


def run_command_line(argv: Sequence[str]) -> int:
    """Carries out a command line and returns its exit status. Wrong usage raises SystemExit(2), as argparse does."""
    parser, commands = _parser()
    words = list(argv)
    if words and words[0] not in commands and not words[0].startswith("-") and os.path.isfile(words[0]):
        words.insert(0, "run")
    arguments = parser.parse_args(words)
    return _status_of(arguments.act, arguments)


def main() -> NoReturn:
    """The console script."""
    sys.exit(run_command_line(sys.argv[1:]))
