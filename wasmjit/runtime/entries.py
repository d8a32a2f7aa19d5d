"""Function tables of modules whose code is replaced: calls are redirected by storing an address.

In memory: jumps and stubs; on pages of their own what the interpreter and the resolver are found by
(`abi.FUNCTION_TABLE_HEADER`) and the function table, with counters, which the interpreter and baseline code count up.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import abi
from ..target import host_machine
from .code import LoadedCode, executable_copy
from .interpreter import Interpreter
from .native import lib

# jmp *table_entry(%rip); int3; int3
_X86_64_JUMP = struct.Struct("<HiH")
# mov $position, %eax; jmp common; int3...
_X86_64_STUB = struct.Struct("<BIBi6s")
# adrp x16, entry; ldr x16, [x16, entry]; br x16; udf. x16 is the platform's register for veneers.
_AARCH64_JUMP = struct.Struct("<IIII")
# movz w16, low; movk w16, high, lsl 16; b common; udf
_AARCH64_STUB = struct.Struct("<IIII")
_AARCH64_PAGE_BYTES = 4096
# What all stubs go through: a jump to the address behind it.
_COMMON = {
    "x86_64": struct.Struct("<HiHQ"),  # jmp *2(%rip)
    "aarch64": struct.Struct("<IIQ"),  # ldr x17, .+8; br x17
}
_HEADER_BYTES = abi.FUNCTION_TABLE_HEADER["sizeof"]
_WORD_BYTES = abi.POINTER_BYTES
Resolver = Callable[[int], int]
Reporter = Callable[[int, int], int]


class Entries:
    """A function table in place of `LoadedCode.functions`, and a jump through it for each of some functions.

    `positions` are words of the table: of functions that func-refs are made of, and of their register entries;
    `addresses` are their jumps by word, 0 for other functions.
    Without `code` the first call of each of the `count` functions asks the `resolver` for the address of its code; so
    does the first jump to the register entry of those at the positions `register_entries`.
    """

    def __init__(
        self,
        count: int,
        positions: Iterable[int],
        code: LoadedCode | None = None,
        resolver: Resolver | None = None,
        register_entries: Sequence[int] = (),
    ) -> None:
        machine = host_machine()
        ordered = list(positions)
        jump, stride = {
            "x86_64": (_x86_64_jump, _X86_64_JUMP.size),
            "aarch64": (_aarch64_jump, _AARCH64_JUMP.size),
        }[machine]
        stub, stub_bytes = {
            "x86_64": (_x86_64_stub, _X86_64_STUB.size),
            "aarch64": (_aarch64_stub, _AARCH64_STUB.size),
        }[machine]
        common = b"" if resolver is None else _common(machine, lib.wj_codeless_stub_address())
        stubs_at = len(common)
        # What each stands for: a function, or its register entry.
        stubs = [] if resolver is None else [*range(count), *[n | abi.REGISTER_ENTRY_STUB for n in register_entries]]
        jumps_at = stubs_at + len(stubs) * stub_bytes
        code_bytes = max(jumps_at + len(ordered) * stride, 1)
        table_offset = -(-code_bytes // mmap.PAGESIZE) * mmap.PAGESIZE + _HEADER_BYTES
        pieces = bytearray(common)
        pieces += b"".join(stub(stubs_at + number * stub_bytes, what) for number, what in enumerate(stubs))
        for position in ordered:
            pieces += jump(len(pieces), table_offset + _WORD_BYTES * position)
        counters_at = abi.function_word(abi.COUNTERS, count, 0)
        table_bytes = _WORD_BYTES * (counters_at + count)
        data_bytes = -(-(_HEADER_BYTES + table_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        start, mapping = executable_copy(pieces or b"\0", data_bytes=data_bytes)
        assert isinstance(mapping, mmap.mmap)
        self.table_address = start + table_offset
        self._mapping = mapping
        self._resolver = resolver  # the table refers to it
        jumps = range(start + jumps_at, start + jumps_at + stride * len(ordered), stride)
        self.addresses = array("Q", bytes(_WORD_BYTES * counters_at))
        for position, address in zip(ordered, jumps, strict=True):
            self.addresses[position] = address
        # Each store is one of 8 aligned bytes: running threads find the old address or the new one.
        words = memoryview(mapping)[table_offset : table_offset + table_bytes].cast("Q")
        self._header = memoryview(mapping)[table_offset - _HEADER_BYTES : table_offset].cast("Q")
        self._table = words[:counters_at]
        self._counts = words[counters_at:]
        self.stubs = (start + stubs_at, stub_bytes)
        self._interpreter: Interpreter | None = None
        self._reporter: Reporter | None = None
        self._set_header("function_count", count)
        if resolver is not None:
            self._set_header("resolver", id(resolver))
            of_stubs = [abi.function_word(abi.CODES, count, position) for position in range(count)]
            of_stubs += [abi.function_word(abi.REGISTER_ENTRIES, count, position) for position in register_entries]
            for number, word in enumerate(of_stubs):
                self._table[word] = start + stubs_at + number * stub_bytes
        if code is not None:
            self._table[:] = memoryview(code.functions)

    def interpret(self, interpreter: Interpreter, reporter: Reporter) -> None:
        """Has functions without code interpreted; the `reporter` is called with position and loop offset."""
        self._interpreter, self._reporter = interpreter, reporter  # the header refers to them
        self._set_header("reporter", id(reporter))
        self._set_header("interpreter", interpreter.address)

    def _set_header(self, field: str, address: int) -> None:
        self._header[abi.FUNCTION_TABLE_HEADER[field] // _WORD_BYTES] = address

    def count(self, position: int) -> int:
        """How often a function and its loops began, in code that counts."""
        return self._counts[position]

    def redirect(self, words: Mapping[int, int]) -> None:
        """Has later calls go to other addresses, of code that has to stay loaded from now on, by word of the table.

        A function has a register entry in all tiers or in none, and any pairing of both entries will do.
        """
        table = self._table
        for word, address in words.items():
            table[word] = address

    def tell(self, position: int) -> None:
        """There is code for an activation of a function to go on in: it is to ask soon."""
        if self._interpreter is not None:
            self._interpreter.tell(position)

    def address(self, position: int) -> int:
        """Where calls of a function go."""
        return self._table[position]

    def counts(self) -> Sequence[int]:
        """How often each function and its loops began in code that counts (compile/metering.py)."""
        return self._counts.tolist()


def _common(machine: str, address: int) -> bytes:
    if machine == "x86_64":
        return _COMMON[machine].pack(0x25FF, 2, 0xCCCC, address)
    return _COMMON[machine].pack(0x5800_0051, 0xD61F_0220, address)


def _x86_64_stub(at: int, position: int) -> bytes:
    return _X86_64_STUB.pack(0xB8, position, 0xE9, -(at + 10), b"\xcc" * 6)


def _aarch64_stub(at: int, position: int) -> bytes:
    low, high = position & 0xFFFF, position >> 16
    branch = 0x1400_0000 | -(at + 8) // 4 & 0x03FF_FFFF
    return _AARCH64_STUB.pack(0x5280_0010 | low << 5, 0x72A0_0010 | high << 5, branch, 0)


def _x86_64_jump(at: int, entry: int) -> bytes:
    return _X86_64_JUMP.pack(0x25FF, entry - (at + 6), 0xCCCC)


def _aarch64_jump(at: int, entry: int) -> bytes:
    pages = entry // _AARCH64_PAGE_BYTES - at // _AARCH64_PAGE_BYTES
    adrp = 0x9000_0010 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    ldr = 0xF940_0210 | entry % _AARCH64_PAGE_BYTES // 8 << 10
    return _AARCH64_JUMP.pack(adrp, ldr, 0xD61F_0200, 0)
