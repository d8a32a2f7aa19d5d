"""Regular expressions that are compiled when they are first used.

All of a worker's together took 11 ms of processor time when it started, a sixth of that; most requests use a few.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any


class _Late:
    """Stands in for a pattern; each of its methods becomes the pattern's when it is first asked for."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._arguments = (pattern, flags)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(re.compile(*self._arguments), name)
        self.__dict__[name] = found
        return found


if TYPE_CHECKING:
    late = re.compile
else:

    def late(pattern: str, flags: int = 0) -> _Late:
        """As `re.compile`."""
        return _Late(pattern, flags)
