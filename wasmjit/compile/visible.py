"""References that the collector has to see where it may run, and LLVM might keep nothing but addresses made from them.

The collector takes addresses within objects for references. LLVM may keep one far behind an array's end in place of the
array: that of an element less a multiple of an index. So each access to an element uses the array's reference in an
empty `asm`, and whatever lies between it and an earlier one has the reference somewhere. Where nothing is collected,
these lines are not written: a function without calls, and a loop without them, which then can be vectorised. What such
a loop needs LLVM may compute before it, and further out: so what does not change in the loop is used in front of it.
"""

from __future__ import annotations

import bisect

from ..wasm.lowering import Frame
from .garbage_collection import ObjectEmitter
from .patterns import late

_LOCAL_LOAD = late(r"  (%[\w.]+) = load ptr, ptr (%l\d+)")


def end_loop(lowering: ObjectEmitter, frame: Frame) -> None:
    """At the end of a loop: notes it if nothing is collected there."""
    if not lowering.shown:
        return
    first, end = frame.header, len(lowering.lines)
    at = bisect.bisect_left(lowering.collections, first)
    if at < len(lowering.collections) and lowering.collections[at] <= end:
        return
    while lowering.quiet_loops and lowering.quiet_loops[-1][0] > first:  # those within
        lowering.quiet_loops.pop()
    lowering.quiet_loops.append((first, end))


def finish(lowering: ObjectEmitter) -> None:
    """At the end of the function: writes the lines that are needed."""
    if not lowering.shown or not lowering.collections:
        return
    starts = [first for first, _ in lowering.quiet_loops]
    in_front: dict[int, set[str]] = {}
    for line, reference in lowering.shown:
        at = bisect.bisect_right(starts, line) - 1
        if at < 0 or line >= lowering.quiet_loops[at][1]:
            lowering.lines[line] = _use(reference)
        else:
            in_front.setdefault(at, set()).add(reference)
    for at, references in in_front.items():
        first, end = lowering.quiet_loops[at]
        _show_in_front(lowering, first, end, references)


def _use(reference: str) -> str:
    return f'  call void asm sideeffect "", "r"(ptr {reference})'


def _show_in_front(lowering: ObjectEmitter, first: int, end: int, references: set[str]) -> None:
    """Uses those of the references that a loop does not change in front of it: parameters, and locals read in it."""
    lines = lowering.lines
    text = "\n".join(lines[first:end])
    locals_read = dict(_LOCAL_LOAD.findall(text))
    used = []
    for reference in sorted(references):
        local = locals_read.get(reference)
        if local is not None and f", ptr {local}\n" not in _stores(text):
            name = lowering.fresh()
            used.append(f"  {name} = load ptr, ptr {local}\n{_use(name)}")
        elif f"  {reference} = " not in text:
            used.append(_use(reference))
    if used:
        before = first - 2  # the branch to the loop, its label, and its phis
        lines[before] = "\n".join((*used, lines[before]))


def _stores(text: str) -> str:
    return "\n".join([line for line in text.split("\n") if line.startswith("  store ")]) + "\n"
