"""Which stores to locals are dead: the value is never read on any path. Those values must be anchored (anchors.py).

And which locals are live: some path reads them before it writes them. Those have to be handed over (hand_over.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

# A search that visits more blocks than this counts as dead: an anchor too many costs little, a lost trap is a bug,
# and the bound keeps hostile functions from costing quadratic time.
_MAX_VISITED = 64
# The same for all searches of a function together.
_MAX_EDGES = 1_000_000

# What blocks share at their end, and nobody changes: the set of each local, and (-1) the one without any.
_FEW: dict[int, set[int]] = {}
_NO_WRITES: dict[int, int] = {}


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

    __slots__ = ("number", "pending", "reads", "successors", "writes")

    def __init__(self) -> None:
        self.reads: set[int] = set()  # locals read before they are written
        self.writes: dict[int, int] = {}  # local -> number of branches that left before it was first written
        self.successors: list[Block] = []  # in the order in which the branches leave
        self.pending: list[PendingStore] | None = None
        self.number = 0  # in the order in which they begin

    def shrink(self) -> None:
        """At its end: most blocks read one local or none, and set none. There are as many as a quarter of the bytes."""
        if len(self.reads) <= 1:
            local = next(iter(self.reads), -1)
            self.reads = _FEW.setdefault(local, self.reads)
        if not self.writes:
            self.writes = _NO_WRITES


def is_read(start: Block, store: PendingStore, most_edges: int, loop: range | None = None) -> tuple[bool, int]:
    """Whether a path from `start` along the store's branches reads the local before writing it.

    With `loop`, whether one does that stays in blocks of these numbers. Also how many edges were looked at. Where there
    are more than `most_edges`, "no" may be wrong.
    """
    local = store.local
    last = len(start.successors) if store.last is None else store.last
    waiting = start.successors[max(store.first, last - most_edges) : last]
    edges = len(waiting)
    for block in waiting:
        if local in block.reads and (loop is None or block.number in loop):
            return True, edges
    visited: set[int] = set()
    while waiting:
        block = waiting.pop()
        if id(block) in visited or (loop is not None and block.number not in loop):
            continue
        if local in block.reads:
            return True, edges
        visited.add(id(block))
        if len(visited) > _MAX_VISITED or edges > most_edges:
            break
        # Of a switch's many targets no more than could be visited, the last ones: those are looked at first.
        last = block.writes.get(local, len(block.successors))
        following = block.successors[max(0, last - _MAX_VISITED) : last]
        edges += len(following)
        waiting.extend(following)
    return False, edges


def dead_stores(blocks: list[Block], loops: Mapping[int, range] | None = None) -> Iterator[PendingStore]:
    """The pending stores that nothing reads; in `loops`, that nothing in the loop reads.

    What is used behind a loop only, LLVM computes behind it, or in one of several iterations that it unrolls. `loops`
    has, by the number of a block, those of the loop that the block is in.
    """
    most_edges = _MAX_EDGES
    for block in blocks:
        for store in block.pending or ():
            found, edges = is_read(block, store, most_edges, loops.get(block.number) if loops else None)
            most_edges = max(0, most_edges - edges)
            if not found:
                yield store


def live_locals(blocks: list[Block]) -> dict[Block, int]:
    """The locals that are live where each block begins, as a set of bits by index. Exact, unlike `dead_stores`."""
    live = {block: _bits(block.reads) for block in blocks}
    leaving = {block: [(target, ~written) for target, written in _leaving(block)] for block in blocks}
    changed = True
    while changed:  # what is known flows backwards: a round per level of nested loops, and one that finds nothing
        changed = False
        for block in reversed(blocks):
            before = after = live[block]
            for target, kept in leaving[block]:
                after |= live.get(target, 0) & kept
            if after != before:
                live[block] = after
                changed = True
    return live


def _leaving(block: Block) -> Iterator[tuple[Block, int]]:
    """Where the block's branches lead, each with the locals that were written before it left."""
    first_writes: dict[int, int] = {}
    for local, num_left in block.writes.items():
        first_writes[num_left] = first_writes.get(num_left, 0) | 1 << local
    written = first_writes.get(0, 0)
    for number, target in enumerate(block.successors, 1):
        yield target, written
        written |= first_writes.get(number, 0)


def _bits(locals_read: set[int]) -> int:
    bits = 0
    for local in locals_read:
        bits |= 1 << local
    return bits
