"""What the optimiser's client and its process say to each other beside code: options, and why nothing was made."""

from __future__ import annotations

import os
from typing import Any

from .. import processes
from ..config import OPTIMIZED, Config
from ..errors import CompileError, WasmError


def options(config: Config) -> dict[str, Any]:
    """What the optimiser's Config is made of."""
    options = {name: getattr(config, name) for name in config.options()}
    directory = config.cache_directory
    return options | {"tier": OPTIMIZED, "cache": os.path.abspath(directory) if directory else False}


# What the system is short of may be there another time. (RuntimeError: a thread cannot be started.)
SHORTAGES = (processes.NoCompilerError, OSError, MemoryError, ImportError, RuntimeError)
# What the process says of an error beside the reason: whether it may go away.
KINDS: dict[str, type[CompileError]] = {
    "died": processes.CompilerDiedError,
    "short": processes.NoCompilerError,
    "code": CompileError,
}


def kind_of(error: Exception) -> str:
    """The key in KINDS of an error."""
    if isinstance(error, processes.CompilerDiedError):
        return "died"
    return "short" if isinstance(error, SHORTAGES) and not isinstance(error, RecursionError) else "code"


def reason(error: BaseException) -> str:
    """What went wrong, in words."""
    return error.reason if isinstance(error, WasmError) else f"{type(error).__name__}: {error}"
