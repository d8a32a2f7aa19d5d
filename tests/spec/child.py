"""What the process does that scripts run in: nothing twice that configurations have in common."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from tests import compiled_once, text_in_process
from wasmjit.cli import wast


class Converted:
    """The script that ran last, as wasm-tools gave it, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path: Path | None = None
        self._commands: list[dict[str, Any]] = []

    def __call__(self, path: Path, directory: Path) -> list[dict[str, Any]]:
        """As `wast.convert`."""
        if path != self._path:
            self._path = None
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory.mkdir()
            self._commands = convert(path, self._directory)
            self._path = path
        shutil.copytree(self._directory, directory, copy_function=os.link, dirs_exist_ok=True)
        return self._commands


convert = wast.convert
_until_the_end = contextlib.ExitStack()


def begin(directory: Path, compiled: Path) -> None:
    """To be called first in the process, with a directory that it may make, and one of functions (`compiled_once`)."""
    text_in_process.use()
    compiled_once.answers.directory = compiled
    _until_the_end.enter_context(compiled_once.use())
    wast.convert = Converted(directory)


def given_again() -> int:
    """How many functions and adapters were compiled for another configuration."""
    return compiled_once.answers.given_again
