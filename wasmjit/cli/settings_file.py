"""The configuration file: TOML, with wasmtime's tables for the option groups, and our own for the cache and for runs.

    [optimize]            # as -O; also [codegen], [debug], [wasm], [wasi]
    opt-level = 2
    [cache]
    enabled = true
    directory = "/var/cache/wasmjit"
    max-size = "2g"
    background-seconds = 60   # processor time after a program's end; 0: none
    background-memory = "1g"
    [run]                 # long options of `wasmjit run`
    timeout = "10s"
    env = ["LANG=C"]

The command line wins over the file.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import SimpleNamespace
from typing import Any

from .. import WasmError
from ..reading import read_written
from .rows import Row, Setting, size_bytes
from .run_rows import ROWS

_BOOL = (True, False)
_CACHE_KEYS = (
    "enabled",
    "directory",
    "max-size",
    "files-total-size-soft-limit",
    "background-seconds",
    "background-memory",
)


def use_config_file(arguments: SimpleNamespace) -> None:
    """Puts the settings of the configuration file under those of the command line. Once per command, before others.

    Raises WasmError, naming the file, for what it cannot understand.
    """
    named = getattr(arguments, "config", None)
    path = named
    if path is None:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
        path = os.path.join(base, "wasmjit", "config.toml")
        if not os.path.exists(path):
            return
    apply_file(path, arguments)


def apply_file(path: str, arguments: SimpleNamespace) -> None:
    """Puts the settings of the file under those of a command's arguments. Raises WasmError naming file and key."""
    from . import groups  # large tables, seldom needed

    tables = _read(path)
    letters = {table: letter for letter, table in groups.TABLES.items()}
    settings: list[Setting] = []
    for table, values in tables.items():
        if not isinstance(values, dict) or table not in (*letters, "cache", "run"):
            known = ", ".join((*letters, "cache", "run"))
            raise WasmError(f"{path}: unknown table {table!r} (one of {known})")
        try:
            if table in letters:
                settings += _group_settings(letters[table], values)
            elif table == "cache":
                _apply_cache(values, arguments)
            else:
                _apply_run(values, arguments)
        except ValueError as error:
            raise WasmError(f"{path}: [{table}] {error}") from None
    arguments.file_settings = settings


def _read(path: str) -> dict[str, Any]:
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

    try:
        return dict(tomllib.loads(read_written(path).decode()))
    except OSError as error:
        raise WasmError(f"configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WasmError(f"configuration file {path}: {error}") from error


def _text(key: str, value: Any) -> str:
    """A value as the command line would have it."""
    if isinstance(value, bool):
        return "y" if value else "n"
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{key}: expected text, a number, true or false")
    return str(value)


def _group_settings(letter: str, values: dict[str, Any]) -> list[Setting]:
    from . import groups

    known = groups.entries(letter)
    return [one for key, value in values.items() for one in groups.setting(letter, known, key, _text(key, value))]


def _apply_cache(values: dict[str, Any], arguments: SimpleNamespace) -> None:
    for key, value in values.items():
        if key not in _CACHE_KEYS:
            raise ValueError(f"unknown key {key!r} (one of {', '.join(_CACHE_KEYS)})")
        if key == "enabled":
            if value not in _BOOL or not isinstance(value, bool):
                raise ValueError("enabled: expected true or false")
            arguments.no_cache = getattr(arguments, "no_cache", False) or not value
        elif key == "directory":
            if not isinstance(value, str) or not value:
                raise ValueError("directory: expected a path")
            arguments.cache_directory = value
        elif key == "background-seconds":
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
                raise ValueError("background-seconds: expected a number of seconds")
            _give(arguments, "background_cpu_seconds", value)
        elif key == "background-memory":
            _give(arguments, "background_memory", _size(key, value))
        else:
            arguments.cache_max_bytes = _size(key, value)


def _give(arguments: SimpleNamespace, name: str, value: Any) -> None:
    """What the command line does not say."""
    if getattr(arguments, name, None) is None:
        setattr(arguments, name, value)


def _size(key: str, value: Any) -> int:
    try:
        return size_bytes(_text(key, value))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _apply_run(values: dict[str, Any], arguments: SimpleNamespace) -> None:
    # Groups have tables of their own; the file cannot name another one; what to call is not a matter of taste.
    # [cache] has what is about the cache.
    without = {"config", "invoke", "no_cache", "background_cpu_seconds", "background_memory"}
    rows = {
        row.name.replace("_", "-"): row
        for row in ROWS
        if row.name not in without and not row.name.startswith("settings_")
    }
    for key, value in values.items():
        row = rows.get(key)
        if row is None:
            raise ValueError(f"unknown key {key!r} (one of {', '.join(rows)})")
        if hasattr(arguments, row.name):  # other commands have some of them only
            _apply_row(row, key, value, arguments)


def _apply_row(row: Row, key: str, value: Any, arguments: SimpleNamespace) -> None:
    given = getattr(arguments, row.name)
    if row.kind is None:
        if not isinstance(value, bool):
            raise ValueError(f"{key}: expected true or false")
        setattr(arguments, row.name, given or value)
        return
    words = [_text(key, item) for item in value] if row.repeated and isinstance(value, list) else [_text(key, value)]
    try:
        made = [row.kind(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if row.repeated:
        setattr(arguments, row.name, made + given)
    elif given is None:
        setattr(arguments, row.name, made[0])
