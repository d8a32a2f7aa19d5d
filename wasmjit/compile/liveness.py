"""Which stores to locals are dead: the value is never read on any path. Those values must be anchored (function.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# A search that visits more blocks than this counts as dead: an anchor too many costs little, a lost trap is a bug,
# and the bound keeps hostile functions from costing quadratic time.
_MAX_VISITED = 64


class PendingStore(NamedTuple):
    """A store to a local that nothing in its block reads; only branches may lead to a reader.

    The branches are the block's `successors[first:last]`: those that leave between the store and the next one to the
    same local, or the block's end (`last` None).
    """

    local: int
    line: int
    value: str
    first: int
    last: int | None


class Block:
    """A stretch of a function between joins; branches that leave it do not split it."""

    __slots__ = ("pending", "reads", "successors", "writes")

    def __init__(self) -> None:
        self.reads: set[int] = set()  # locals read before they are written
        self.writes: dict[int, int] = {}  # local -> number of branches that left before it was first written
        self.successors: list[Block] = []  # in the order in which the branches leave
        self.pending: list[PendingStore] | None = None


def is_read(start: Block, store: PendingStore) -> bool:
    """Whether a path from `start` along the store's branches reads the local before writing it."""
    local = store.local
    waiting = start.successors[store.first : store.last]
    for block in waiting:
        if local in block.reads:
            return True
    visited: set[int] = set()
    while waiting:
        block = waiting.pop()
        if id(block) in visited:
            continue
        if local in block.reads:
            return True
        visited.add(id(block))
        if len(visited) > _MAX_VISITED:
            return False
        # Of a switch's many targets no more than could be visited, the last ones: those are looked at first.
        last = block.writes.get(local, len(block.successors))
        waiting.extend(block.successors[max(0, last - _MAX_VISITED) : last])
    return False


def dead_stores(blocks: list[Block]) -> Iterator[PendingStore]:
    """The pending stores that nothing reads."""
    for block in blocks:
        for store in block.pending or ():
            if not is_read(block, store):
                yield store
