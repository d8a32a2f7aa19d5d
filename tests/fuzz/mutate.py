"""A deterministic mutator of binary modules: the same seed modules, count and seed give the same mutants.

Half of the mutations keep the section (and body) sizes right, so that the damage gets past the outermost checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.wasm_bytes import CODE, HEADER, section, unsigned

INTERESTING_BYTES = (0x00, 0x01, 0x02, 0x0B, 0x3F, 0x40, 0x41, 0x60, 0x6F, 0x70, 0x7B, 0x7C, 0x7F, 0x80, 0xFC, 0xFF)
INTERESTING_NUMBERS = (0, 1, 2, 3, 127, 128, 255, 1000, 50_001, 65_536, 65_537, 2**31 - 1, 2**31, 2**32 - 1, 2**32)

Sections = list[tuple[int, bytes]]


def read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    """(value, next position) of a LEB128 in a module that is known to be well formed."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def split_sections(wasm: bytes) -> Sections:
    """(id, contents) of each section of a well-formed module."""
    sections: Sections = []
    at = len(HEADER)
    while at < len(wasm):
        size, start = read_unsigned(wasm, at + 1)
        sections.append((wasm[at], wasm[start : start + size]))
        at = start + size
    return sections


def join_sections(sections: Sections) -> bytes:
    """A module of these sections, with the right sizes."""
    return HEADER + b"".join([section(number, contents) for number, contents in sections])


def damage(data: bytes, rng: random.Random) -> bytes:
    """One small change of a run of bytes."""
    out = bytearray(data)
    at = rng.randrange(len(out) + 1)
    kind = rng.randrange(9)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(out):
        out[at] = rng.randrange(256)
    elif kind == 2 and at < len(out):
        out[at] = rng.choice(INTERESTING_BYTES)
    elif kind == 3 and at < len(out):
        out[at] = (out[at] + rng.choice((-2, -1, 1, 2))) & 0xFF
    elif kind == 4:
        out[at:at] = bytes(rng.choice(INTERESTING_BYTES) for _ in range(rng.randint(1, 3)))
    elif kind == 5:
        del out[at : at + rng.randint(1, 4)]
    elif kind == 6:
        out[at:at] = out[at : at + rng.randint(1, 8)]
    elif kind == 7 and len(out) > 1:
        other = rng.randrange(len(out))
        length = rng.randint(1, 6)
        out[at : at + length] = out[other : other + length]
    else:
        tamper_leb128(out, at, rng)
    return bytes(out)


def tamper_leb128(out: bytearray, at: int, rng: random.Random) -> None:
    """Replaces what may be a LEB128 at `at`: a longer spelling, a spelling that is too long, another number."""
    end = at
    while end < len(out) and out[end] >= 0x80 and end - at < 9:
        end += 1
    value = 0
    for byte in reversed(out[at : end + 1]):
        value = value << 7 | byte & 0x7F
    kind = rng.randrange(4)
    if kind == 0:
        out[at : end + 1] = unsigned(value, width=rng.randint(2, 6))
    elif kind == 1:
        out[at : end + 1] = unsigned(value, width=rng.randint(9, 11))
    elif kind == 2:
        out[at : end + 1] = unsigned(rng.choice(INTERESTING_NUMBERS))
    else:
        out[at : end + 1] = bytes([0x80] * rng.randint(3, 5) + [rng.choice((0x07, 0x08, 0x0F, 0x10, 0x70, 0x78, 0x7F))])


def damage_raw(wasm: bytes, rng: random.Random) -> bytes:
    return damage(wasm, rng)


def truncate(wasm: bytes, rng: random.Random) -> bytes:
    return wasm[: rng.randrange(len(wasm) + 1)]


def damage_section(wasm: bytes, rng: random.Random) -> bytes:
    """Damage inside one section, whose size is put right."""
    sections = split_sections(wasm)
    if not sections:
        return damage(wasm, rng)
    position = rng.randrange(len(sections))
    number, contents = sections[position]
    sections[position] = (number, damage(contents, rng))
    return join_sections(sections)


def damage_body(wasm: bytes, rng: random.Random) -> bytes:
    """Damage inside one function body; the sizes of the body and of the code section are put right."""
    sections = split_sections(wasm)
    position = next((i for i, (number, _) in enumerate(sections) if number == CODE), None)
    if position is None:
        return damage_section(wasm, rng)
    contents = sections[position][1]
    count, at = read_unsigned(contents, 0)
    bodies = []
    for _ in range(count):
        size, start = read_unsigned(contents, at)
        bodies.append(contents[start : start + size])
        at = start + size
    if bodies:
        chosen = rng.randrange(len(bodies))
        bodies[chosen] = damage(bodies[chosen], rng)
    code = unsigned(count) + b"".join([unsigned(len(body)) + body for body in bodies])
    sections[position] = (CODE, code)
    return join_sections(sections)


def move_sections(wasm: bytes, rng: random.Random) -> bytes:
    """Drops, repeats, swaps or renumbers whole sections."""
    sections = split_sections(wasm)
    if not sections:
        return damage(wasm, rng)
    position = rng.randrange(len(sections))
    kind = rng.randrange(5)
    if kind == 0:
        del sections[position]
    elif kind == 1:
        sections.insert(rng.randrange(len(sections) + 1), sections[position])
    elif kind == 2:
        other = rng.randrange(len(sections))
        sections[position], sections[other] = sections[other], sections[position]
    elif kind == 3:
        sections[position] = (rng.randrange(16), sections[position][1])
    else:
        sections.insert(rng.randrange(len(sections) + 1), (rng.randrange(15), b"\0"))
    return join_sections(sections)


OPERATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    damage_raw,
    damage_section,
    damage_section,
    damage_body,
    damage_body,
    damage_body,
    move_sections,
    truncate,
)


def mutate(wasm: bytes, rng: random.Random) -> bytes:
    """A mutant of a well-formed module."""
    return rng.choice(OPERATIONS)(wasm, rng)


def transplant(wasm: bytes, donor: bytes, rng: random.Random) -> bytes:
    """A section of `donor` in place of the one of the same kind in `wasm`."""
    sections, donors = split_sections(wasm), split_sections(donor)
    shared = [(i, other) for i, (number, _) in enumerate(sections) for other in donors if other[0] == number]
    if not shared:
        return mutate(wasm, rng)
    position, replacement = rng.choice(shared)
    sections[position] = replacement
    return join_sections(sections)


def mutants(seeds: list[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` mutants of the seed modules."""
    rng = random.Random(seed)
    for _ in range(count):
        wasm = rng.choice(seeds)
        yield transplant(wasm, rng.choice(seeds), rng) if rng.random() < 0.1 else mutate(wasm, rng)
