"""Every load and store, at the edges of addresses, offsets and memories, with something of the host's all around.

    python -m tests.fuzz.address_forms [--all | --instructions N] [--seed S] [--tier T] [--layout L ...] [--canary C]

Each function is one instruction with one offset; its address is a constant, a parameter, a sum, the low half of an i64,
or walks from iteration to iteration. What must happen follows from arithmetic on integers without bounds
(`Layout.has`); the wasmtime package runs a part of the cases beside it (`check_model`). Before anything runs, every gap
of the address space within 16 GiB of each memory is filled: with pages of a pattern (`mapped`: a read outside is a
result where a trap was due, a write shows up in the pattern, and neither crashes) or with nothing that can be accessed
(`none`: an access whose value is thrown away crashes, too). Prints each disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import mmap
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import wasmjit
from wasmjit import thresholds

GIB = 1 << 30
PAGE = 1 << 16
GUARD_BYTES = 2 * GIB  # what ends so far behind an address needs no comparison where there are guard pages
TIERS = ("auto", "baseline", "optimized")
CANARIES = ("mapped", "none")
REACH_BYTES = 16 * GIB

# ---- instructions ----

NUMBER = 0xA1B2C3D4E5F60718
VECTOR = 0x99AABBCCDDEEFF001122334455667788  # stored, or what lanes are loaded into


@dataclass(frozen=True)
class Instruction:
    """A load or store; `kind` is "load" or "store", `lane` the lane of those that have one."""

    name: str
    access_bytes: int
    lane: int | None = None

    @property
    def kind(self) -> str:
        """Which of the two."""
        return "store" if ".store" in self.name else "load"

    @property
    def type(self) -> str:
        """Of what is loaded or stored: i32, i64, f32, f64 or v128."""
        return self.name.partition(".")[0]

    def loaded(self, raw: bytes) -> int:
        """The bits that a load of these bytes gives, numbers as an unsigned i64."""
        bits = int.from_bytes(raw, "little")
        _, _, how = self.name.partition(".load")
        if self.type != "v128":
            width = {"i32": 32, "f32": 32, "i64": 64, "f64": 64}[self.type]
            return _extended(bits, 8 * len(raw), how.endswith("_s")) & ((1 << width) - 1)
        if self.lane is not None:
            shift = 8 * len(raw) * self.lane
            return VECTOR & ~(((1 << 8 * len(raw)) - 1) << shift) | bits << shift
        if "splat" in how:
            return int.from_bytes(raw * (16 // len(raw)), "little")
        if "x" in how:  # 8x8_s: so many bits, so many lanes
            narrow = int(how.partition("x")[0])
            lanes = [bits >> at & ((1 << narrow) - 1) for at in range(0, 64, narrow)]
            wide = [_extended(lane, narrow, how.endswith("_s")) & ((1 << 2 * narrow) - 1) for lane in lanes]
            return sum(lane << 2 * narrow * position for position, lane in enumerate(wide))
        return bits

    def stored(self) -> bytes:
        """The bytes that a store writes."""
        value = VECTOR >> 8 * self.access_bytes * (self.lane or 0) if self.type == "v128" else NUMBER
        return (value & ((1 << 8 * self.access_bytes) - 1)).to_bytes(self.access_bytes, "little")

    def text(self, memory: int, offset: int, address: str) -> str:
        """The instruction: of a load the bits, of a store nothing."""
        place = f"{self.name} {memory} offset={offset} align=1"
        place += "" if self.lane is None else f" {self.lane}"
        vector = f"(v128.const i64x2 {VECTOR & (1 << 64) - 1} {VECTOR >> 64})"
        if self.kind == "store":
            low = NUMBER & 0xFFFFFFFF
            value = {
                "i32": f"(i32.const {low})",
                "i64": f"(i64.const {NUMBER})",
                "f32": f"(f32.reinterpret_i32 (i32.const {low}))",
                "f64": f"(f64.reinterpret_i64 (i64.const {NUMBER}))",
                "v128": vector,
            }[self.type]
            return f"({place} {address} {value})"
        load = f"({place} {address}{'' if self.lane is None else ' ' + vector})"
        return {
            "i32": f"(i64.extend_i32_u {load})",
            "f32": f"(i64.extend_i32_u (i32.reinterpret_f32 {load}))",
            "f64": f"(i64.reinterpret_f64 {load})",
        }.get(self.type, load)


def _extended(bits: int, width: int, signed: bool) -> int:
    return bits - (1 << width) if signed and bits >> width - 1 else bits


def _instructions() -> Iterator[Instruction]:
    for type, width in (("i32", 4), ("i64", 8), ("f32", 4), ("f64", 8)):
        yield Instruction(f"{type}.load", width)
        yield Instruction(f"{type}.store", width)
        for narrow in (1, 2, 4):
            if type[0] == "i" and narrow < width:
                yield Instruction(f"{type}.load{8 * narrow}_s", narrow)
                yield Instruction(f"{type}.load{8 * narrow}_u", narrow)
                yield Instruction(f"{type}.store{8 * narrow}", narrow)
    yield Instruction("v128.load", 16)
    yield Instruction("v128.store", 16)
    for shape in ("8x8", "16x4", "32x2"):
        yield Instruction(f"v128.load{shape}_s", 8)
        yield Instruction(f"v128.load{shape}_u", 8)
    for width in (1, 2, 4, 8):
        yield Instruction(f"v128.load{8 * width}_splat", width)
        if width >= 4:
            yield Instruction(f"v128.load{8 * width}_zero", width)
        for lane in {0, 16 // width - 1}:
            yield Instruction(f"v128.load{8 * width}_lane", width, lane)
            yield Instruction(f"v128.store{8 * width}_lane", width, lane)


INSTRUCTIONS = tuple(_instructions())

# ---- memories ----


@dataclass(frozen=True)
class Layout:
    """A memory and how it is checked. `pages` are there when functions run: those that are not at first are grown."""

    name: str
    memory: str  # limits, as text has them
    pages: int
    grown: int = 0
    is_64: bool = False
    page_bytes: int = PAGE
    index: int = 0
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def size_bytes(self) -> int:
        """While functions run."""
        return self.pages * self.page_bytes

    @property
    def bits(self) -> int:
        """Of an address."""
        return 64 if self.is_64 else 32

    def has(self, start: int, count: int) -> bool:
        """Whether an access is inside: nothing wraps here."""
        return start + count <= self.size_bytes

    def text(self, functions: str) -> str:
        """A module with the memory and these functions."""
        prefix = "i64 " if self.is_64 else ""
        suffix = "" if self.page_bytes == PAGE else f" (pagesize {self.page_bytes})"
        address = "i64" if self.is_64 else "i32"
        others = "(memory 1 1)" * self.index
        return (
            f'(module {others} (memory (export "memory") {prefix}{self.memory}{suffix}) {functions}'
            f' (func (export "grow") (drop (memory.grow {self.index} ({address}.const {self.grown})))))'
        )


CHECKED = {"signals_based_traps": False}
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("guarded", "1 1", 1),
        Layout("guarded-grown", "1 3", 2, grown=1),
        Layout("guarded-empty", "0", 0),
        Layout("guarded-second", "1 1", 1, index=1),
        Layout("guarded-large", "32769 32769", 32769),
        Layout("guarded-full", "65536", 65536),
        Layout("checked", "1 1", 1, options=CHECKED),
        Layout("checked-grown", "1 2", 2, grown=1, options=CHECKED),
        Layout("checked-moving", "1 9", 2, grown=1, options={**CHECKED, "memory_reservation": 0}),
        Layout("checked-large", "32769 32769", 32769, options=CHECKED),
        Layout("checked-full", "65536", 65536, options=CHECKED),
        Layout("wide", "1 1", 1, is_64=True),
        Layout("wide-grown", "1 2", 2, grown=1, is_64=True),
        Layout("wide-checked", "1 1", 1, is_64=True, options=CHECKED),
        Layout("wide-checked-large", "65537 65537", 65537, is_64=True, options=CHECKED),
        Layout("bytes", "100 100", 100, page_bytes=1),
        Layout("bytes-page", "65536 65536", 65536, page_bytes=1),
        Layout("wide-bytes", "8191 8192", 8192, grown=1, page_bytes=1, is_64=True),
    )
}


def edges(layout: Layout, access_bytes: int, offset: int) -> list[int]:
    """Addresses worth a try."""
    size, n = layout.size_bytes, access_bytes
    wanted = {0, 1, size - n - offset, size - offset, size - n, size - 1, size, 1 << 31, (1 << 32) - n, (1 << 32) - 1}
    wanted |= {(1 << 31) - 1, (1 << 31) + 1, size - n - offset + 1, size - n - offset - 1, 65535}
    top = 1 << layout.bits
    wanted |= {top - offset, top - offset + 8, top - n, top - 1, top - n - offset}  # sums that wrap
    if layout.is_64:
        wanted |= {1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 32) + 8, (1 << 47), -(1 << 16)}
    return sorted({address % top for address in wanted})


def offsets(layout: Layout, access_bytes: int) -> list[int]:
    """Offsets worth a try."""
    size, n, half = layout.size_bytes, access_bytes, 1 << 31
    wanted = {0, 1, 8, size - n, size - n + 1, size, 65535, 65536, half - n - 1, half - n, half - n + 1, half - 1, half}
    wanted |= {half + 1, (1 << 32) - n, (1 << 32) - 1, 4096}
    if layout.is_64:
        wanted |= {1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - n, (1 << 64) - 1, (1 << 64) - n - size}
    return sorted({offset for offset in wanted if 0 <= offset < 1 << layout.bits})


def _pattern(start: int, count: int) -> bytes:
    return bytes([(at * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 56 for at in range(start, start + count)])


class Contents:
    """What a memory holds: a pattern around the places where something may happen, zeros elsewhere."""

    def __init__(self, size_bytes: int) -> None:
        self.windows: dict[int, bytes] = {}
        end = 0
        for center in sorted({0, 4096, 65536, 1 << 31, 1 << 32, size_bytes}):
            start, stop = max(end, center - 600), min(size_bytes, center + 600)
            if start < stop:
                self.windows[start] = _pattern(start, stop - start)
                end = stop

    def at(self, start: int, count: int) -> bytes:
        """Bytes that lie inside the memory."""
        found = bytearray(count)
        for window, contents in self.windows.items():
            first, last = max(start, window), min(start + count, window + len(contents))
            if first < last:
                found[first - start : last - start] = contents[first - window : last - window]
        return bytes(found)


# ---- functions ----

FORMS = ("parameter", "sum", "wrapped", "loop")
LARGE_FORMS = ("parameter", "loop")  # of those with large offsets in a sample


@dataclass(frozen=True)
class Function:
    """An exported function; `address` is that of the form "constant"."""

    name: str
    instruction: Instruction
    offset: int
    form: str
    address: int = 0

    def text(self, layout: Layout) -> str:
        """It as text."""
        access, address = self.instruction, "i64" if layout.is_64 else "i32"
        result = "" if access.kind == "store" else f"(result {'v128' if access.type == 'v128' else 'i64'})"
        place = {
            "constant": f"({address}.const {self.address})",
            "parameter": "(local.get 0)",
            "sum": f"({address}.add (local.get 0) (local.get 1))",
            "wrapped": "(i32.wrap_i64 (local.get 0))",
            "loop": "(local.get 0)",
        }[self.form]
        params = {"constant": "", "sum": f"{address} {address}", "wrapped": "i64", "loop": f"{address} {address} i32"}
        body = access.text(layout.index, self.offset, place)
        if self.form == "loop":
            sum_type = "v128" if access.type == "v128" else "i64"
            zero = "(v128.const i64x2 0 0)" if access.type == "v128" else "(i64.const 0)"
            if access.kind == "load":
                body = f"(local.set $sum ({sum_type}.xor (local.get $sum) {body}))"
            body = (
                f"(local $sum {sum_type}) (local.set $sum {zero}) (loop $again {body}"
                f" (local.set 0 ({address}.add (local.get 0) (local.get 1)))"
                " (br_if $again (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))"
            )
            body += " (local.get $sum)" if access.kind == "load" else ""
        return f'(func (export "{self.name}") (param {params.get(self.form, address)}) {result} {body})'


@dataclass(frozen=True)
class Case:
    """A call of a function, and the addresses that it accesses, one after the other."""

    function: Function
    arguments: tuple[int, ...]
    addresses: tuple[int, ...]


def _steps(layout: Layout, access: Instruction, offset: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Loops that end at `last`: (first address, step, count), where those before are inside, if that can be."""
    top = 1 << layout.bits
    for step in (access.access_bytes, top - 1, 1 << layout.bits - 1):
        count = 5 if step != 1 << layout.bits - 1 else 3
        yield (last - step * (count - 1)) % top, step, count


def cases_of(layout: Layout, function: Function) -> Iterator[Case]:
    """What to call it with."""
    access, top = function.instruction, 1 << layout.bits
    if function.form == "constant":
        yield Case(function, (), (function.address,))
        return
    for address in edges(layout, access.access_bytes, function.offset):
        if function.form == "parameter":
            yield Case(function, (address,), (address,))
        elif function.form == "sum":
            other = random.Random(address).getrandbits(layout.bits)
            yield Case(function, ((address - other) % top, other), (address,))
        elif function.form == "wrapped":
            yield Case(function, (address | random.Random(address).getrandbits(32) << 32,), (address,))
        else:
            for first, step, count in _steps(layout, access, function.offset, address):
                walked = tuple((first + step * number) % top for number in range(count))
                yield Case(function, (first, step, count), walked)


def functions_of(layout: Layout, pairs: Sequence[tuple[Instruction, int]]) -> list[Function]:
    """The functions for pairs of instruction and offset, with every form and constant."""
    found: list[Function] = []
    for instruction, offset in pairs:
        found += _functions(layout, len(found), instruction, offset, FORMS, 1 << 32)
    return found


def _functions(
    layout: Layout, first: int, instruction: Instruction, offset: int, forms: Sequence[str], most_constants: int
) -> list[Function]:
    """Those for one pair, numbered from `first` on, with some of the forms and constants."""
    kinds = [(form, 0) for form in forms if form != "wrapped" or not layout.is_64]
    constants = edges(layout, instruction.access_bytes, offset)
    if most_constants < len(constants):
        constants = random.Random(f"{instruction} {offset}").sample(constants, most_constants)
    kinds += [("constant", address) for address in constants]
    return [Function(f"f{first + n}", instruction, offset, form, address) for n, (form, address) in enumerate(kinds)]


def all_pairs(layout: Layout) -> list[tuple[Instruction, int]]:
    """Each instruction with each of its offsets."""
    return [(access, offset) for access in INSTRUCTIONS for offset in offsets(layout, access.access_bytes)]


# ---- running ----


class Program:
    """The functions of a layout in a tier, and what they must do."""

    def __init__(self, layout: Layout, tier: str, functions: Sequence[Function]) -> None:
        self.layout, self.tier, self.functions = layout, tier, functions
        config = wasmjit.Config(
            tier=tier, parallel_compilation=False, wasm_custom_page_sizes=True, cache=False, **layout.options
        )
        self.store = wasmjit.Store(wasmjit.Engine(config))
        text = layout.text("\n".join(function.text(layout) for function in functions))
        self.module = wasmjit.Module(self.store.engine, text)
        self.exports: Any = wasmjit.Instance(self.store, self.module, []).exports(self.store)
        self.exports["grow"](self.store)
        self.memory: Any = self.exports["memory"]
        self.contents = Contents(layout.size_bytes)
        for start, contents in self.contents.windows.items():
            self.memory.write(self.store, contents, start)

    def base(self) -> int:
        """The address of the memory."""
        view = self.memory.get_buffer_ptr(self.store, 0)
        return int(view._owner.address)

    def run(self) -> list[str]:
        """Runs everything; what was wrong."""
        wrong = [
            f"{self.tier} {self.layout.name}: {case.function.text(self.layout)} {case.arguments}: {reason}"
            for function in self.functions
            for case in cases_of(self.layout, function)
            if (reason := self.check(case)) is not None
        ]
        for start, contents in self.contents.windows.items():
            if bytes(self.memory.read(self.store, start, start + len(contents))) != contents:
                wrong.append(f"{self.tier} {self.layout.name}: the contents at {start:#x} have changed")
        return wrong

    def check(self, case: Case) -> str | None:
        """Runs one case; what was wrong with it."""
        access, offset = case.function.instruction, case.function.offset
        places = [address + offset for address in case.addresses]
        inside = [place for place in places if self.layout.has(place, access.access_bytes)]
        fits = len(inside) == len(places)
        try:
            found: Any = self.exports[case.function.name](self.store, *case.arguments)
            trapped = False
        except wasmjit.Trap as trap:
            if trap.trap_code is not wasmjit.TrapCode.MEMORY_OUT_OF_BOUNDS:
                return f"another trap: {trap.trap_code}"
            trapped = True
        reason = None
        if trapped == fits:
            reason = "trapped" if trapped else "did not trap"
        elif fits and access.kind == "load":
            reason = self._compare_loaded(access, places, found)
        if access.kind == "store":
            reason = self._compare_stored(access, inside, must=not trapped) or reason
        return reason

    def _compare_loaded(self, access: Instruction, places: Sequence[int], found: Any) -> str | None:
        wanted = 0
        for place in places:
            wanted ^= access.loaded(self.contents.at(place, access.access_bytes))
        bits = int.from_bytes(found, "little") if isinstance(found, bytes) else found & (1 << 64) - 1
        return None if bits == wanted else f"gave {bits:#x}, not {wanted:#x}"

    def _compare_stored(self, access: Instruction, inside: Sequence[int], must: bool) -> str | None:
        """Looks at what was written, and puts back what was there. In a loop that trapped, what came before the trap
        may be there or not."""
        reason = None
        for place in inside:
            start, stop = max(0, place - 16), min(self.layout.size_bytes, place + access.access_bytes + 16)
            before = self.contents.at(start, stop - start)
            found = bytes(self.memory.read(self.store, start, stop))
            may = bytearray(before)
            for other in inside:
                for at, byte in enumerate(access.stored(), other):
                    if start <= at < stop:
                        may[at - start] = byte
            same = found == bytes(may) if must else all(f in pair for f, *pair in zip(found, before, may, strict=True))
            reason = reason if same else f"left {found.hex()} at {start:#x}, not {may.hex()}"
        for place in inside:
            self.memory.write(self.store, self.contents.at(place, access.access_bytes), place)
        return reason


# ---- the canary ----

_FIXED_NOREPLACE, _NORESERVE = 0x100000, 0x4000
_PATTERN = struct.pack("<Q", 0x59524E41435F5957) * 8
_PIECE_BYTES = 1 << 24
# Of what a process can map on x86-64, where what Linux lists last, [vsyscall], is beyond.
END_OF_USER_SPACE = (1 << 47) - (1 << 12)


class Canary:
    """Fills the gaps of the address space around memories, with `mode`."""

    def __init__(self, mode: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._mode = mode
        self.filled: list[tuple[int, int]] = []
        self._file = os.memfd_create("canary")
        os.ftruncate(self._file, _PIECE_BYTES)
        self._wanted = _PATTERN * (_PIECE_BYTES // len(_PATTERN))
        self._bytes = mmap.mmap(self._file, _PIECE_BYTES)
        self._bytes[:] = self._wanted

    def fill(self, bases: Sequence[int]) -> None:
        """All gaps in reach of these addresses: again where a thread mapped something since they were listed."""
        while not all(self._fill_gap(low, high) for low, high in gaps(bases)):
            pass

    def _fill_gap(self, low: int, high: int) -> bool:
        """Whether it was one yet."""
        mapped = self._mode == "mapped"
        protection = mmap.PROT_READ | mmap.PROT_WRITE if mapped else 0
        flags = _FIXED_NOREPLACE | (mmap.MAP_SHARED if mapped else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
        piece_bytes = _PIECE_BYTES if mapped else high - low
        for start in range(low, high, piece_bytes):
            size_bytes = min(high - start, piece_bytes)
            made = self._libc.mmap(start, size_bytes, protection, flags, self._file if mapped else -1, 0)
            if made != start:
                if ctypes.get_errno() == errno.EEXIST:
                    return False
                raise OSError(ctypes.get_errno(), f"cannot map {start:#x}")
            begin = self.filled.pop()[0] if self.filled and self.filled[-1][1] == start else start
            self.filled.append((begin, start + size_bytes))
        return True

    def is_intact(self) -> bool:
        """Whether nobody wrote there."""
        # Not by `==`, which compares bytes of buffers one by one, or of a copy.
        found = (ctypes.c_char * _PIECE_BYTES).from_buffer(self._bytes)
        return not self._libc.memcmp(found, self._wanted, ctypes.c_size_t(_PIECE_BYTES))


def gaps(bases: Sequence[int]) -> list[tuple[int, int]]:
    """Gaps of the address space in reach, but for what the stack grows into."""
    end, stack = 0, 0
    free = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            low, high = (int(number, 16) for number in line.split()[0].split("-"))
            if line.rstrip().endswith("[stack]"):
                stack = low
            if line.rstrip().endswith("[vsyscall]"):
                low = END_OF_USER_SPACE
            if low > end:
                free.append((max(end, 1 << 20), low))
            end = max(end, high)
    found = []
    for low, high in free:
        if high == stack:
            high -= 1 << 28
        for base in bases:
            first, last = max(low, base - REACH_BYTES), min(high, base + (1 << 32) + REACH_BYTES)
            if first < last:
                found.append((first, last))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def run(
    tier: str, layouts: Sequence[Layout], canary_mode: str, choose: Callable[[Layout], list[Function]]
) -> tuple[int, list[str]]:
    """Runs a tier in this process; how many functions, and what was wrong. What is outside of memories is changed
    for good: in a process of its own."""
    if tier == "auto":  # interpreted, however long it takes until the canary is there
        thresholds.OPTIMISER_PATIENCE_SECONDS = 3600.0
        thresholds.INTERPRETER_BUDGET = 1 << 30
    programs = [Program(layout, tier, choose(layout)) for layout in layouts]
    canary = Canary(canary_mode)
    canary.fill([program.base() for program in programs])
    wrong: list[str] = []
    for program in programs:
        wrong += program.run()
        if not canary.is_intact():
            return 0, [*wrong, f"{tier} {program.layout.name}: wrote outside of all memories"]
    return sum(len(program.functions) for program in programs), wrong


def check_model(layouts: Sequence[Layout], choose: Callable[[Layout], list[Function]]) -> list[str]:
    """Where the wasmtime package does something else than what is expected here."""
    import wasmtime

    wrong = []
    for layout in layouts:
        if layout.page_bytes != PAGE:  # not in all versions of the package
            continue
        functions = choose(layout)
        engine = wasmtime.Engine()
        store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, layout.text("\n".join(function.text(layout) for function in functions)))
        exports = wasmtime.Instance(store, module, []).exports(store)
        exports["grow"](store)
        contents = Contents(layout.size_bytes)
        for start, window in contents.windows.items():
            exports["memory"].write(store, window, start)
        for function in functions:
            access = function.instruction
            if access.type == "v128" and access.kind == "load":  # the package has no v128
                continue
            for case in cases_of(layout, function):
                places = [address + function.offset for address in case.addresses]
                fits = all(layout.has(place, access.access_bytes) for place in places)
                wide = "i64" if layout.is_64 or function.form == "wrapped" else "i32"
                arguments = [
                    _signed(value, wide if position < 2 else "i32") for position, value in enumerate(case.arguments)
                ]
                try:
                    found = exports[function.name](store, *arguments)
                    trapped = False
                except wasmtime.Trap:
                    trapped = True
                wanted = 0
                if fits and access.kind == "load":
                    for place in places:
                        wanted ^= access.loaded(contents.at(place, access.access_bytes))
                elif access.kind == "store":
                    for place in places:  # of one that traps AArch64 may have stored what lies inside
                        inside = min(access.access_bytes, layout.size_bytes - place)
                        if inside > 0:
                            exports["memory"].write(store, contents.at(place, inside), place)
                same = trapped != fits and (trapped or access.kind == "store" or found & (1 << 64) - 1 == wanted)
                if not same:
                    wrong.append(f"wasmtime {layout.name}: {function.text(layout)} {case.arguments}")
    return wrong


def _signed(value: int, type: str) -> int:
    bits = 64 if type == "i64" else 32
    return value - (1 << bits) if value >> bits - 1 else value


def sample(layout: Layout, count: int, seed: int) -> list[Function]:
    """Functions for `count` instructions, loads and stores, of numbers and of vectors, by turns: each with an offset
    that guard pages take, where there are some, and with a larger one."""
    generator = random.Random(f"{layout.name} {seed}")
    groups = [
        [access for access in INSTRUCTIONS if (access.type == "v128") == is_vector and access.kind == kind]
        for is_vector in (False, True)
        for kind in ("load", "store")
    ]
    for group in groups:
        generator.shuffle(group)
    functions: list[Function] = []
    for number in range(count):
        group = groups[number % len(groups)]
        instruction = group[number // len(groups) % len(group)]
        found = offsets(layout, instruction.access_bytes)
        small = [offset for offset in found if offset + instruction.access_bytes <= GUARD_BYTES]
        large = [offset for offset in found if offset not in small]
        functions += _functions(layout, len(functions), instruction, generator.choice(small), FORMS, 2)
        functions += _functions(layout, len(functions), instruction, generator.choice(large), LARGE_FORMS, 2)
    return functions


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="every instruction with every offset and constant address")
    parser.add_argument("--instructions", type=int, default=45, help="instructions for each layout")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tier", choices=TIERS, nargs="+", default=TIERS)
    parser.add_argument("--layout", choices=list(LAYOUTS), nargs="+", default=list(LAYOUTS))
    parser.add_argument("--canary", choices=CANARIES, nargs="+", default=CANARIES)
    parser.add_argument("--in-process", action="store_true", help="for one tier and one canary")
    options = parser.parse_args()
    layouts = [LAYOUTS[name] for name in options.layout]

    def choose(layout: Layout) -> list[Function]:
        if options.all:
            return functions_of(layout, all_pairs(layout))
        return sample(layout, options.instructions, options.seed)

    if options.in_process:
        count, wrong = run(options.tier[0], layouts, options.canary[0], choose)
        print("\n".join(wrong[:50]) or f"{count} functions: all as expected")
        return min(len(wrong), 1)
    status = 0
    for tier in options.tier:
        for canary in options.canary:
            # One layout at a time with --all: the modules are large.
            for names in [[name] for name in options.layout] if options.all else [options.layout]:
                amount = (
                    ["--all"]
                    if options.all
                    else ["--instructions", str(options.instructions), "--seed", str(options.seed)]
                )
                command = [sys.executable, "-m", "tests.fuzz.address_forms", *amount, "--in-process"]
                command += ["--tier", tier, "--canary", canary, "--layout", *names]
                print(tier, canary, *names, flush=True)
                ended = os.spawnv(os.P_WAIT, sys.executable, command)
                if ended != 0:
                    print(f"exit status {ended}")
                    status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
