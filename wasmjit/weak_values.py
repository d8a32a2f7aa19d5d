"""What is found, or gone through, as long as somebody else has it."""

from __future__ import annotations

import contextlib
import functools
import weakref
from _weakref import _remove_dead_weakref  # type: ignore[attr-defined]
from collections import deque
from collections.abc import Iterator
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

    def reference(self, key: Key) -> weakref.ref[Value] | None:
        """A reference to the value of a key, which may be gone; None if there is none."""
        return self._references.get(key)

    def __setitem__(self, key: Key, value: Value) -> None:
        self._clear()
        self._references[key] = weakref.KeyedRef(value, self._dead.append, key)

    def __len__(self) -> int:
        self._clear()
        return len(self._references)

    def __iter__(self) -> Iterator[Key]:
        """The keys that there are now, also of values that have just gone: others may come meanwhile."""
        return iter(list(self._references))

    def _clear(self) -> None:
        with contextlib.suppress(IndexError):  # at the end; a signal handler may be there first
            while True:
                _remove_dead_weakref(self._references, self._dead.popleft().key)  # if it is dead: at once, unlike here


class WeakMembers(Generic[Value]):
    """As `weakref.WeakSet`, by identity, and like `WeakValues` no Python runs when a member goes.

    >>> members, member = WeakMembers(), {1}
    >>> members.add(member)
    >>> members.add(member)
    >>> len(list(members))
    1
    >>> del member
    >>> list(members)
    []
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Value]] = {}

    def add(self, member: Value) -> None:
        """Adds one, if it is not in it already. Needs no lock, nor may there be one: an allocation runs finalizers."""
        key = id(member)  # nobody else's before what is called with the reference when it is gone
        self._references[key] = weakref.ref(member, functools.partial(self._references.pop, key))

    def __iter__(self) -> Iterator[Value]:
        """Those that there are now: others may come meanwhile."""
        for reference in list(self._references.values()):
            member = reference()
            if member is not None:
                yield member

    def take(self) -> list[Value]:
        """Takes all out. Those that others add meanwhile are taken, or stay."""
        taken = []
        with contextlib.suppress(KeyError):  # at the end
            while True:
                _, reference = self._references.popitem()
                member = reference()
                if member is not None:
                    taken.append(member)
        return taken
