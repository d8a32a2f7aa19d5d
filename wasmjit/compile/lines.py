"""Lines of LLVM's text: what they are, and those of values that LLVM knows nothing about (`exact`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .patterns import late

# An operand of a phi: a constant vector, a constant expression (of a NaN), or one word.
INCOMING = late(r"\[ (<[^>]*>|\w+ \([^)]*\)|[^ ,]+),")
LANE_BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64}
# Of an `asm`: no access of ours can tell, but it cannot be left out.
_EFFECT = "memory(inaccessiblemem: readwrite)"
_MOST_OPERANDS = 4  # that fit registers together
_VECTOR = late(r"<(\d+) x (\w+)>$")


def operation(line: str) -> str:
    """The opcode of a line."""
    words = line.split("= ", 1)[1] if line[2] == "%" else line[2:]
    first, _, rest = words.partition(" ")
    return rest.partition(" ")[0] if first in ("tail", "musttail", "notail") else first


def size_bytes(llvm: str) -> int:
    """The size of a type that is stored."""
    vector = _VECTOR.match(llvm)
    if vector is not None:
        return int(vector[1]) * LANE_BITS.get(vector[2], 0) // 8
    return LANE_BITS.get(llvm, 0) // 8


def hidden_load(name: str, load: str, llvm: str, pointer: str, marks: str, mark: re.Match[str] | None) -> str:
    """A load of a float or vector whose value LLVM does not know, so that it cannot be a memory operand.

    Vectors come as LLVM joined or split them. They are loaded by what fits a register, and put together again.
    """
    vector = _VECTOR.match(llvm)
    if vector is None:
        return f"  {stem(name)}.m = {load}{llvm}, {pointer}{marks}\n" + opaque(name, llvm, f"{stem(name)}.m", mark)
    num_lanes, lane = int(vector[1]), vector[2]
    bits = LANE_BITS[lane]
    lines = []
    first, joined = 0, ""
    while first < num_lanes:
        size = next(size for size in (512, 256, 128, 64, 32, 16, 8) if size <= (num_lanes - first) * bits)
        count = size // bits
        part = f"{stem(name)}.m{first}"
        kind = f"<{count} x {lane}>"
        lines.append(f"  {part}p = getelementptr i8, {pointer}, i64 {first * bits // 8}")
        if size >= 128:
            lines += (f"  {part}l = {load}{kind}, ptr {part}p{marks}", opaque(part, kind, f"{part}l", mark))
        else:  # the low end of a register
            whole = f"<{128 // bits} x {lane}>"
            lines += (
                f"  {part}l = {load}i{size}, ptr {part}p{marks}",
                f"  {part}i = insertelement <{128 // size} x i{size}> zeroinitializer, i{size} {part}l, i64 0",
                opaque(f"{part}o", f"<{128 // size} x i{size}>", f"{part}i", mark),
                f"  {part}b = bitcast <{128 // size} x i{size}> {part}o to {whole}",
                f"  {part} = shufflevector {whole} {part}b, {whole} poison, {_indices(range(count))}",
            )
        wide = f"{part}w"
        lanes = [index - first if 0 <= index - first < count else -1 for index in range(num_lanes)]
        lines.append(f"  {wide} = shufflevector {kind} {part}, {kind} poison, {_indices(lanes)}")
        if joined:
            lanes = [index if index < first else num_lanes + index for index in range(num_lanes)]
            lines.append(f"  {part}j = shufflevector {llvm} {joined}, {llvm} {wide}, {_indices(lanes)}")
        joined = f"{part}j" if joined else wide
        first += count
    # The last line has another name.
    lines[-1] = lines[-1].replace(f"  {joined} = ", f"  {name} = ", 1)
    return "\n".join(lines)


def stem(name: str) -> str:
    """What names of what a value is made of begin with. Nothing can be added to a number."""
    return f"%unnamed.{name[1:]}" if name[1:].isdigit() else name


def opaque(result: str, kind: str, value: str, mark: re.Match[str] | None) -> str:
    """The same value of a vector register, of which LLVM does not know where it comes from."""
    site = f", !dbg {mark[1]}" if mark else ""
    return f'  {result} = call {kind} asm "", "=v,0"({kind} {value}) nounwind willreturn memory(none){site}'


def use_of_lanes(name: str, llvm: str, register_bits: int) -> str:
    """Something that needs all lanes of a vector, does nothing, and cannot be left out."""
    vector = _VECTOR.match(llvm)
    assert vector is not None
    num_lanes, lane = int(vector[1]), vector[2]
    each = register_bits // LANE_BITS[lane]
    lines, parts = [], []
    for first in range(0, num_lanes, each):
        # As much as fits a register; the least that there is has 128 bits.
        count = max(min(each, 1 << (num_lanes - first - 1).bit_length()), 128 // LANE_BITS[lane])
        lanes = [index if index < num_lanes else -1 for index in range(first, first + count)]
        part = f"{stem(name)}.u{first}"
        parts.append(f"<{count} x {lane}> {part}")
        lines.append(f"  {part} = shufflevector {llvm} {name}, {llvm} poison, {_indices(lanes)}")
    for first in range(0, len(parts), _MOST_OPERANDS):
        some = parts[first : first + _MOST_OPERANDS]
        constraints = ",".join("v" * len(some))
        lines.append(f'  call void asm sideeffect "", "{constraints}"({", ".join(some)}) nounwind willreturn {_EFFECT}')
    return "\n".join(lines)


def _indices(lanes: Iterable[int]) -> str:
    """The mask of a shufflevector; below 0 is anything."""
    texts = [f"i32 {lane}" if lane >= 0 else "i32 poison" for lane in lanes]
    return f"<{len(texts)} x i32> <{', '.join(texts)}>"
