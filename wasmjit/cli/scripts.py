"""``wasmjit wast``: runs the specification's scripts and counts what they assert."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .. import WasmError
from .language import add_language_options
from .options import opt_level


def add_commands(commands: Any) -> None:
    """Adds ``wast`` to the argparse subparsers."""
    parser = commands.add_parser("wast", help="run spec scripts", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="*", help="a script")
    parser.add_argument("--list", metavar="FILE", help="a file with names of scripts, one a line, `/` written `-`")
    parser.add_argument(
        "--suite",
        metavar="DIR",
        help="of --list's scripts (default: $WASMJIT_TESTSUITE, or testsuite/ beside it)",
    )
    parser.add_argument("-O", "--opt-level", type=opt_level, default="speed", metavar="LEVEL", help="0, 2 or s")
    parser.add_argument("--explicit-checks", action="store_true", help="bounds checks in code, not guard pages")
    parser.add_argument("--through-artifact", action="store_true", help="serialize and deserialize every module")
    add_language_options(parser)
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes over files")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each failure with its line")
    parser.set_defaults(act=run_scripts)


def run_scripts(arguments: argparse.Namespace) -> int:
    """0 if all assertions hold, else 1."""
    from . import wast  # not needed by the other commands

    paths = list(map(Path, arguments.files))
    if arguments.list:
        paths += wast.listed_files(Path(arguments.list), Path(arguments.suite) if arguments.suite else None)
    if not paths:
        raise WasmError("no scripts: name files, or a list of them with --list")
    options = wast.WastOptions(
        arguments.opt_level, arguments.explicit_checks, arguments.through_artifact, tuple(arguments.language)
    )
    passed = failed = 0
    for result in wast.run_files(paths, options, min(arguments.jobs, len(paths))):
        passed += result.passed
        failed += len(result.failures)
        print(f"{result.path}: {result.passed} passed, {len(result.failures)} failed", flush=True)
        if arguments.verbose:
            for failure in result.failures:
                print(f"  {result.path}:{failure.line}: {failure.command}: {failure.reason}")
    print(f"{len(paths)} files: {passed} passed, {failed} failed")
    return 1 if failed else 0
