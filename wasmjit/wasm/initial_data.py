"""Active data segments as one: what a memory holds when an instance begins.

Tools that leave out runs of zeros make tens of thousands of segments. Where the outcome is known before, one segment
takes the place of all active ones, and its contents can be mapped instead of copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .const_expr import constant
from .module import ACTIVE, PASSIVE, DataSegment, Module

if TYPE_CHECKING:
    from dataclasses import replace
else:
    from ..records import replace

# What start and size of a merged segment are multiples of: the smallest pages of any host.
PAGE_BYTES = 4096
# Less is not mapped from the file it is in: copying takes less than a descriptor for as long as the module lives.
MIN_MAPPED_BYTES = 32 << 10
# One that would be mostly holes is not worth it.
_MOST_HOLES_BYTES = 1 << 20
_MOST_SPAN_PER_BYTE = 4
# In place of a segment that is dropped when an instance begins. Passive and empty, it behaves the same.
DROPPED = DataSegment(PASSIVE, 0, (), 0, 0, 0)


def merge(module: Module) -> Module:
    """A copy with all active segments in one, if possible, else `module`; it need not have the bodies' bytes any more.

    Then `merged_data` is the position of the one active segment, whose constant start and whose size are multiples of
    PAGE_BYTES, and whose bytes come first in `wasm`. The others are passive, or DROPPED.
    """
    merged = _initial_contents(module)
    if merged is None:
        return module
    start, contents = merged
    size_bytes = len(contents)
    data: list[DataSegment] = []
    bearer = next(position for position, segment in enumerate(module.data) if segment.mode == ACTIVE)
    for segment in module.data:
        if segment.mode == ACTIVE:
            data.append(DROPPED)
        else:
            data.append(move(segment, module.wasm, contents))
    first = module.data[bearer]
    ((opcode, _),) = first.start
    data[bearer] = replace(first, start=((opcode, start),), data_start=0, data_end=size_bytes)
    return replace(module, wasm=bytes(contents), data=data, merged_data=bearer)


def move(segment: DataSegment, wasm: bytes | memoryview, contents: bytearray) -> DataSegment:
    """Appends the bytes of a segment to others; the segment there."""
    at = len(contents)
    contents += wasm[segment.data_start : segment.data_end]
    return replace(segment, data_start=at, data_end=len(contents))


def _initial_contents(module: Module) -> tuple[int, bytearray] | None:
    """Start and contents of whole pages; None if they depend on imports, or on whether all segments fit."""
    memory = module.num_imported_memories
    active = [segment for segment in module.data if segment.mode == ACTIVE]
    if not active or len(module.memories) == memory:
        return None
    type = module.memories[memory]
    memory_bytes = type.limits.min << type.page_size_log2
    placed: list[tuple[int, DataSegment]] = []
    for segment in active:
        start = constant(segment.start)
        if segment.memory != memory or start is None or start + segment.data_end - segment.data_start > memory_bytes:
            return None
        if segment.data_end > segment.data_start:
            placed.append((start, segment))
    if not placed:
        return None
    first = min(start for start, _ in placed) // PAGE_BYTES * PAGE_BYTES
    last = max(start + segment.data_end - segment.data_start for start, segment in placed)
    span_bytes = -(-last // PAGE_BYTES) * PAGE_BYTES - first
    size_bytes = sum(segment.data_end - segment.data_start for _, segment in placed)
    if first + span_bytes > memory_bytes or span_bytes > _MOST_HOLES_BYTES + _MOST_SPAN_PER_BYTE * size_bytes:
        return None
    contents = bytearray(span_bytes)
    wasm = memoryview(module.wasm)
    for start, segment in placed:  # in order: later ones overwrite
        at = start - first
        contents[at : at + segment.data_end - segment.data_start] = wasm[segment.data_start : segment.data_end]
    return first, contents
