"""The owner of which code runs function N: each function of a loaded module is in one tier, and only ever rises."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from ..artifact import Artifact
from ..wasm.module import Module


class Tier(IntEnum):
    """What calls of a function run in, the lowest first."""

    UNCOMPILED = 0  # its first call waits for code
    INTERPRETED = 1
    BASELINE = 2
    OPTIMIZED = 3


# Functions that were compiled together, by index, and the seconds that it took.
Made = tuple[Sequence[int], float]


class FunctionTable(Protocol):
    """What calls go through (runtime/entries.py)."""

    def redirect(self, words: Mapping[int, int]) -> None:
        """Has later calls go to other addresses, by word of the function table."""
        ...

    def tell(self, position: int) -> None:
        """There is code for an activation of a function to go on in: it is to ask soon."""
        ...

    def address(self, position: int) -> int:
        """Where calls of a function go."""
        ...

    def count(self, position: int) -> int:
        """How often a function and its loops began, in code that counts."""
        ...

    def counts(self) -> Sequence[int]:
        """The same of each function."""
        ...


class FunctionTiers:
    """The tiers of the functions that a module defines, by position. Thread-safe."""

    def __init__(self, tiers: Iterable[Tier]) -> None:
        """`tiers`: where each begins."""
        self._tiers = bytearray(tiers)
        self._made: list[tuple[Tier, Made]] = []
        self._table: weakref.ref[FunctionTable] | None = None
        self._raises: deque[tuple[Tier, Mapping[int, int], Sequence[Made], Tier]] = deque()
        self._renew()

    @classmethod
    def of(cls, artifact: Artifact, tier: Tier) -> FunctionTiers:
        """Those of an artifact whose code is of one tier. Some of its functions may be left to the interpreter."""
        tiers = cls([tier] * len(artifact.functions))
        for function in artifact.interpreted:
            tiers._tiers[function - artifact.module.num_imported_functions] = Tier.INTERPRETED
        tiers._made = [(tier, made) for made in artifact.made]
        return tiers

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may call wasm, and have better code come
        self._is_raising = False

    def attach(self, table: FunctionTable) -> None:
        """Redirects calls there from now on. Held weakly: the table leads to who asks for code, and that to this."""
        self._table = weakref.ref(table)

    def raise_to(
        self, tier: Tier, words: Mapping[int, int], made: Sequence[Made] = (), *, highest: Tier | None = None
    ) -> None:
        """Has later calls of functions go to the addresses of their words of the function table, in code of `tier`.

        Nothing happens to those that are in a higher tier already, or higher than `highest`. `made` is what that code
        took.
        """
        if self._pid != os.getpid():  # after a fork: another thread of the parent may have held the lock
            self._renew()
        with self._lock:
            self._raises.append((tier, words, made, tier if highest is None else highest))
            if self._is_raising:  # a signal handler, in the middle of it: who is at it goes on with this
                return
            self._is_raising = True
            try:
                while self._raises:
                    self._raise(*self._raises[0])
                    self._raises.popleft()
            finally:
                self._is_raising = False

    def optimize(self, words: Mapping[int, int], made: Sequence[Made] = ()) -> None:
        """As `raise_to` the highest tier."""
        self.raise_to(Tier.OPTIMIZED, words, made)

    def _raise(self, tier: Tier, words: Mapping[int, int], made: Sequence[Made], highest: Tier) -> None:
        tiers, count = self._tiers, len(self._tiers)
        rising = {word: address for word, address in words.items() if tiers[word % count] <= highest}
        table = self._table() if self._table is not None else None
        if table is not None:
            table.redirect(rising)
        self._made += [(tier, item) for item in made]
        for word in rising:  # another thread that sees the tier finds what it took
            tiers[word % count] = tier

    def is_optimized(self, position: int) -> bool:
        """Whether a function is in the highest tier."""
        return self._tiers[position] == Tier.OPTIMIZED

    def tell(self, position: int) -> None:
        """There is code for an activation of a function to go on in: it is to ask soon."""
        table = self._table() if self._table is not None else None
        if table is not None:
            table.tell(position)

    def address(self, position: int) -> int:
        """Where calls of a function go; 0 if nothing can call it any more."""
        table = self._table() if self._table is not None else None
        return 0 if table is None else table.address(position)

    def tier(self, position: int) -> Tier:
        """The tier that calls of a function run in."""
        return Tier(self._tiers[position])

    def snapshot(self) -> Sequence[Tier]:
        """The same of each function, at one moment: what is asked about them afterwards may be of higher tiers."""
        return [Tier(tier) for tier in bytes(self._tiers)]

    def count(self, position: int) -> int:
        """How often a function and its loops began, in code that counts."""
        table = self._table() if self._table is not None else None
        return 0 if table is None else table.count(position)

    def counts(self) -> Sequence[int]:
        """The same of each function; of none if nothing can call them any more."""
        table = self._table() if self._table is not None else None
        return () if table is None else table.counts()

    def compile_seconds(self, module: Module, tiers: Sequence[Tier]) -> list[float | None]:
        """How long making the code of each function of `module` in its tier of `tiers` (a snapshot) took: of functions
        that were compiled together, its part by size. None if it was not made in this process's sight, or there is
        none."""
        found: list[float | None] = [None] * len(self._tiers)
        first = module.num_imported_functions
        for tier, (functions, seconds) in self._made:
            bodies = [module.bodies[function - first] for function in functions]
            unit_bytes = sum(body.end - body.start for body in bodies)
            for function, body in zip(functions, bodies, strict=True):
                if tiers[function - first] == tier:
                    found[function - first] = seconds * (body.end - body.start) / unit_bytes
        return found
