"""`close()` and `with` for every handle of the public API."""

from __future__ import annotations

from typing import TypeVar

from ..errors import ClosedError

Self = TypeVar("Self", bound="Handle")


class Handle:
    """Base of public classes that can be closed. Use after `close()` raises ClosedError, a ValueError.

    >>> import wasmjit
    >>> with wasmjit.Engine() as engine:
    ...     isinstance(engine, wasmjit.Managed)
    True
    """

    _closed: bool = False

    def close(self) -> None:
        """Releases this handle; closing twice is fine. Later use raises ClosedError."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{type(self).__name__.lower()} is closed")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
