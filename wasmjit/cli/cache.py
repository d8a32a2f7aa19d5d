"""``wasmjit cache``: what is kept of compiled modules, and where."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

from .. import WasmError
from ..cache import DEFAULT_MAX_BYTES, background_process
from .options import CONFIG_ROW, config_from
from .settings_file import use_config_file

_SUFFIX = ".cwasm"
_TEMPORARY_PREFIX = ".new-"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
ACTIONS = {
    "info": "how many modules there are, how large, how long unused, and the limit",
    "clear": "remove them all",
    "path": "print the directory",
}


class Entry(NamedTuple):
    """A compiled module of the cache: path, bytes, and when it was last used (seconds since the epoch)."""

    path: str
    size_bytes: int
    used: float


def command(name: str) -> Any:
    """The click group."""
    import click

    from . import click_commands

    group = click.Group(
        name,
        help="Shows or clears the cache of compiled code, which `run`, `compile` and `objdump` use and fill.\n\n"
        "It is in ~/.cache/wasmjit, or where WASMJIT_CACHE_DIR or the configuration file's [cache] table says.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.context_class = click_commands.Context
    acts = {"info": info, "clear": clear, "path": path}
    for action, text in ACTIONS.items():
        made = click_commands.make(action, acts[action], (CONFIG_ROW,), text[:1].upper() + text[1:] + ".")
        made.short_help = text
        group.add_command(made)
    return group


def _directory(arguments: SimpleNamespace) -> str:
    use_config_file(arguments)
    directory = config_from(arguments).cache_directory
    if directory is None:
        raise WasmError("there is no directory for the cache: the user has no home, and WASMJIT_CACHE_DIR is not set")
    return directory


def entries(directory: str) -> list[Entry]:
    """The compiled modules in a directory; none if there is no such directory."""
    found = []
    try:
        with os.scandir(directory) as listing:
            for item in listing:
                if item.name.endswith(_SUFFIX) and item.is_file(follow_symlinks=False):
                    status = item.stat(follow_symlinks=False)
                    found.append(Entry(item.path, status.st_size, status.st_mtime))
    except FileNotFoundError:
        pass
    return found


def info(arguments: SimpleNamespace) -> int:
    """Prints what there is."""
    directory = _directory(arguments)
    found = entries(directory)
    limit = getattr(arguments, "cache_max_bytes", None) or DEFAULT_MAX_BYTES
    print(f"directory: {directory}")
    print(f"modules:   {len(found)}")
    print(f"size:      {size_text(sum(entry.size_bytes for entry in found))} of at most {size_text(limit)}")
    config = config_from(arguments)
    seconds, memory = config.background_cpu_seconds, size_text(config.background_memory)
    running = background_process()
    print(
        "background: none after a program's end"
        if not seconds
        else f"background: at most one process after a program's end, {seconds} s of processor time, {memory}"
        + (f"; now: process {running}" if running is not None else "")
    )
    if found:
        print(f"last used: {_age_text(max(entry.used for entry in found))}")
        print(f"oldest:    {_age_text(min(entry.used for entry in found))}")
    return 0


def clear(arguments: SimpleNamespace) -> int:
    """Removes all compiled modules, and what interrupted writers left."""
    directory = _directory(arguments)
    removed = size_bytes = 0
    for entry in entries(directory):
        try:
            os.unlink(entry.path)
        except FileNotFoundError:
            continue  # another process was faster
        except OSError as error:
            raise WasmError(f"{entry.path} cannot be removed: {error.strerror}") from error
        removed += 1
        size_bytes += entry.size_bytes
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith(_TEMPORARY_PREFIX):
                os.unlink(os.path.join(directory, name))
    print(f"removed {removed} modules, {size_text(size_bytes)}, from {directory}")
    return 0


def path(arguments: SimpleNamespace) -> int:
    """Prints the directory."""
    print(_directory(arguments))
    return 0


def size_text(size_bytes: int) -> str:
    """A size for people.

    >>> size_text(0), size_text(1536), size_text(3 << 30)
    ('0 bytes', '1.5 KiB', '3.0 GiB')
    """
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit + 1 < len(_UNITS):
        size /= 1024
        unit += 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} {_UNITS[0]}"


def _age_text(used: float) -> str:
    seconds = max(0.0, time.time() - used)
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} seconds ago"
