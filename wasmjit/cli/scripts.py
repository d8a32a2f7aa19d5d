"""``wasmjit wast``: runs the specification's scripts and counts what they assert."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import WasmError
from .options import EXPLICIT_CHECKS_ROW, LANGUAGE_ROW, OPTIMIZE_ROW, settings_of
from .rows import Row, positive

ROWS = (
    Row("--list", kind=str, metavar="FILE", help="a file with names of scripts, one a line, `/` written `-`"),
    Row(
        "--suite",
        kind=str,
        metavar="DIR",
        help="of --list's scripts (default: $WASMJIT_TESTSUITE, or testsuite/ beside it)",
    ),
    Row("--through-artifact", help="serialize and deserialize every module"),
    Row("-j", "--jobs", kind=positive, metavar="N", help="processes over files"),
    Row("-v", "--verbose", help="show each failure with its line"),
    OPTIMIZE_ROW,
    LANGUAGE_ROW,
    EXPLICIT_CHECKS_ROW,
)


def command(name: str) -> Any:
    """The click command."""
    from . import click_commands

    files = click_commands.file_argument("files", metavar="[FILE]...", nargs=-1)
    return click_commands.make(
        name, run_scripts, ROWS, "Runs spec scripts and counts what they assert.", arguments=[files]
    )


def run_scripts(arguments: SimpleNamespace) -> int:
    """0 if all assertions hold, else 1."""
    from . import wast  # not needed by the other commands

    paths = list(map(Path, arguments.files))
    if arguments.list:
        paths += wast.listed_files(Path(arguments.list), Path(arguments.suite) if arguments.suite else None)
    if not paths:
        raise WasmError("no scripts: name files, or a list of them with --list")
    settings = [setting for setting in settings_of(arguments) if not setting[0].startswith("run.")]
    levels = [value for name, value in settings if name == "opt_level"]
    options = wast.WastOptions(
        levels[-1] if levels else "speed",
        arguments.explicit_checks,
        arguments.through_artifact,
        tuple(setting for setting in settings if setting[0] != "opt_level"),
    )
    passed = failed = 0
    for result in wast.run_files(paths, options, min(arguments.jobs or os.cpu_count() or 1, len(paths))):
        passed += result.passed
        failed += len(result.failures)
        print(f"{result.path}: {result.passed} passed, {len(result.failures)} failed", flush=True)
        if arguments.verbose:
            for failure in result.failures:
                print(f"  {result.path}:{failure.line}: {failure.command}: {failure.reason}")
    print(f"{len(paths)} files: {passed} passed, {failed} failed")
    return 1 if failed else 0
