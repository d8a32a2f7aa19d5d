"""Values found by equal keys as long as somebody else has them."""

from __future__ import annotations

import contextlib
import weakref
from _weakref import _remove_dead_weakref  # type: ignore[attr-defined]
from collections import deque
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class WeakValues(Generic[Key, Value]):
    """As `weakref.WeakValueDictionary`, but keys of what is gone go when something is put in, or is counted.

    That one runs Python for each value that goes, and what is raised there is lost: a Ctrl-C, say, while the types of a
    large module are freed. Whoever puts something in holds a lock of all that do.

    >>> values, value = WeakValues(), {1}
    >>> values["key"] = value
    >>> values.get("key") is value
    True
    >>> del value
    >>> values.get("key"), len(values)
    (None, 0)
    """

    def __init__(self) -> None:
        self._references: dict[Key, weakref.KeyedRef[Key, Value]] = {}
        self._dead: deque[weakref.KeyedRef[Key, Value]] = deque()

    def get(self, key: Key) -> Value | None:
        """The value of a key; None if there is none."""
        reference = self._references.get(key)
        return None if reference is None else reference()

    def __setitem__(self, key: Key, value: Value) -> None:
        self._clear()
        self._references[key] = weakref.KeyedRef(value, self._dead.append, key)

    def __len__(self) -> int:
        self._clear()
        return len(self._references)

    def _clear(self) -> None:
        with contextlib.suppress(IndexError):  # at the end; a signal handler may be there first
            while True:
                _remove_dead_weakref(self._references, self._dead.popleft().key)  # if it is dead: at once, unlike here
