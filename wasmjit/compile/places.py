"""Where the accesses of an optimised function are, and which the code generator may take for one (`exact`)."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

_WIDEST_BYTES = 64  # of accesses that the code generator does not split


class Place(NamedTuple):
    """Where an access is: behind a pointer with a form (`_Function.address`), which may be computed by a loop."""

    form: str
    offset: int
    is_moving: bool

    def may_be(self, other: Place) -> bool:
        """Whether the code generator may find both equal: computed equally, or equal by what it knows of loops."""
        if self.form == other.form:
            return self.offset == other.offset
        return self.is_moving and other.is_moving


class Places:
    """Some places."""

    def __init__(self) -> None:
        self.all: Counter[tuple[str, int]] = Counter()
        self.moving: set[str] = set()
        self.ends: dict[tuple[str, int], int] = {}  # of those that were added with a size

    def add(self, place: Place, size_bytes: int = 0) -> None:
        key = place.form, place.offset
        self.all[key] += 1
        self.ends[key] = max(self.ends.get(key, place.offset), place.offset + size_bytes)
        if place.is_moving:
            self.moving.add(place.form)

    def may_cover(self, place: Place, size_bytes: int) -> bool:
        """Whether one that was added with a size may have all bytes of an access."""
        end = place.offset + size_bytes
        return self.may_have(place) or any(
            self.ends.get((place.form, start), start) >= end for start in range(end - _WIDEST_BYTES, place.offset)
        )

    def may_have(self, place: Place, times: int = 1) -> bool:
        """Whether one that it may be is among them, or `times`."""
        has_others = place.is_moving and len(self.moving) > (place.form in self.moving)
        return has_others or self.all[place.form, place.offset] >= times
