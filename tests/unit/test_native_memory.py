"""Memories, tables, store allocations and the builtins that generated code calls on them."""

from __future__ import annotations

import errno
import mmap
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native_code import (
    GIB,
    MIB,
    Code,
    Instance,
    TrapError,
    builtin_signature,
    call_builtin,
    call_import,
    memory,
    memory_access,
    table,
)
from wasmjit import abi
from wasmjit.runtime.native import ffi, lib

PAGE = 65536
REFUSED = (1 << 64) - 1
HUGE = (1 << 64) - 1
MEMORY_OUT_OF_BOUNDS = 1
TABLE_OUT_OF_BOUNDS = 3


@pytest.fixture(scope="module")
def builtins() -> Code:
    """One wasm function per builtin, which passes its arguments on."""
    return Code("".join(call_builtin(builtin) for builtin in abi.BUILTINS))


def bind(code: Code, instance: Instance) -> dict[str, Callable[..., Any]]:
    """The builtins of an instance as Python callables."""
    return {
        builtin.name: instance.function(code.addresses[builtin.name], *builtin_signature(builtin))
        for builtin in abi.BUILTINS
    }


def contents(record: Any, start: int, size_bytes: int) -> bytes:
    buffer = ffi.new("uint8_t[]", size_bytes)
    assert lib.wj_memory_read(record, start, buffer, size_bytes) == 0
    return bytes(ffi.buffer(buffer, size_bytes))


def elements(record: Any) -> list[int]:
    return list(ffi.unpack(ffi.cast("uint64_t *", lib.wj_table_elements(record)), lib.wj_table_length(record)))


GUARDED = {"reservation": 4 * GIB, "guard": 2 * GIB}
MOVING = {"reservation": 0, "guard": 0}


@pytest.mark.parametrize("policy", [GUARDED, MOVING, {"reservation": 0, "guard": 65536}])
def test_memory_grows_zeroed_and_keeps_its_contents(policy: dict[str, int]) -> None:
    with Instance([memory(1, 200, **policy)]) as instance:
        (record,) = instance.memories
        base = lib.wj_memory_base(record)
        assert contents(record, 0, PAGE) == bytes(PAGE)
        assert lib.wj_memory_write(record, PAGE - 4, b"last", 4) == 0
        assert lib.wj_memory_grow(record, 0) == 1
        assert lib.wj_memory_grow(record, 1) == 1
        assert lib.wj_memory_grow(record, 98) == 2
        assert lib.wj_memory_size_bytes(record) == 100 * PAGE
        assert contents(record, PAGE - 4, 8) == b"last\0\0\0\0"
        assert contents(record, 2 * PAGE, 98 * PAGE) == bytes(98 * PAGE)
        assert lib.wj_memory_write(record, 100 * PAGE - 1, b"x", 1) == 0
        assert lib.wj_memory_grow(record, 101) == REFUSED, "past the maximum"
        assert lib.wj_memory_grow(record, REFUSED) == REFUSED
        assert lib.wj_memory_grow(record, 1 << 48) == REFUSED
        assert lib.wj_memory_grow(record, 100) == 100
        assert lib.wj_memory_size_bytes(record) == 200 * PAGE
        assert contents(record, 100 * PAGE - 1, 2) == b"x\0"
        if policy["reservation"]:
            assert lib.wj_memory_base(record) == base, "a reserved memory never moves"


def test_memory_bounds_of_read_and_write() -> None:
    with Instance([memory(1)]) as instance:
        (record,) = instance.memories
        byte = ffi.new("uint8_t[]", 8)
        for start, size in ((PAGE, 1), (PAGE - 1, 2), (HUGE, 1), (HUGE, HUGE), (1, HUGE), (PAGE + 1, 0)):
            assert lib.wj_memory_write(record, start, byte, size) == 1
            assert lib.wj_memory_read(record, start, byte, size) == 1
        assert lib.wj_memory_write(record, PAGE, byte, 0) == 0
        assert lib.wj_memory_read(record, PAGE - 8, byte, 8) == 0


def test_memory_without_pages() -> None:
    for policy in (GUARDED, MOVING):
        with Instance([memory(0, 1, **policy), memory(0, 0, **policy)]) as instance:
            first, second = instance.memories
            assert lib.wj_memory_size_bytes(first) == 0
            assert lib.wj_memory_write(first, 0, b"", 0) == 0
            assert lib.wj_memory_write(first, 0, b"x", 1) == 1
            assert lib.wj_memory_grow(second, 1) == REFUSED
            assert lib.wj_memory_grow(first, 1) == 0
            assert lib.wj_memory_write(first, PAGE - 1, b"x", 1) == 0


def test_memory_of_single_bytes() -> None:
    """Custom page sizes: a page may be one byte."""
    with Instance() as instance:
        error = ffi.new("int *")
        record = lib.wj_memory_new(instance.store, 3, 70000, 0, 0, 0, error)
        assert lib.wj_memory_size_bytes(record) == 3
        assert lib.wj_memory_write(record, 3, b"x", 1) == 1
        assert lib.wj_memory_write(record, 0, b"abc", 3) == 0
        assert lib.wj_memory_grow(record, 65000) == 3
        assert contents(record, 0, 5) == b"abc\0\0"
        assert lib.wj_memory_grow(record, 5000) == REFUSED


def test_memory_that_cannot_be_made() -> None:
    with Instance() as instance:
        error = ffi.new("int *")
        for arguments, expected in (
            ((2, 1, 16, 0, 0), errno.EINVAL),
            ((1, 1, 40, 0, 0), errno.EINVAL),
            ((1 << 50, 1 << 50, 16, 0, 0), errno.ENOMEM),
            ((1, HUGE, 16, 1 << 60, 0), errno.ENOMEM),
            ((1, HUGE, 16, 1 << 40, 1 << 63), errno.ENOMEM),
        ):
            assert lib.wj_memory_new(instance.store, *arguments, error) == ffi.NULL
            assert error[0] == expected
    assert lib.wj_can_reserve(0) == 1
    assert lib.wj_can_reserve(8 * GIB) == 1
    assert lib.wj_can_reserve(1 << 60) == 0


def test_reservation_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limited address space the caller learns it and can fall back to explicit checks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with Instance() as instance:
        error = ffi.new("int *")
        try:
            resource.setrlimit(resource.RLIMIT_AS, (GIB, hard))
            assert lib.wj_can_reserve(8 * GIB) == 0  # also empties the pool of freed memories
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + GIB, hard))
            assert lib.wj_memory_new(instance.store, 1, 100, 16, 4 * GIB, 2 * GIB, error) == ffi.NULL
            assert error[0] == errno.ENOMEM
            assert lib.wj_memory_new(instance.store, 1, 100, 16, 0, 0, error) != ffi.NULL
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_store_limits_hold_for_each_memory_and_table() -> None:
    with Instance([memory(1, 100)], [table(5, 1000)]) as instance:
        lib.wj_store_set_limits(instance.store, 3 * PAGE, 10, HUGE)
        (record,), (elements_record,) = instance.memories, instance.tables
        assert lib.wj_memory_grow(record, 3) == REFUSED
        assert lib.wj_memory_grow(record, 2) == 1
        assert lib.wj_table_grow(elements_record, 6, 0) == REFUSED
        assert lib.wj_table_grow(elements_record, 5, 0) == 5
        error = ffi.new("int *")
        assert lib.wj_memory_new(instance.store, 4, 100, 16, 0, 0, error) == ffi.NULL
        assert error[0] == errno.EDQUOT
        assert lib.wj_table_new(instance.store, 11, 100, 0, error) == ffi.NULL
        assert error[0] == errno.EDQUOT


def test_moving_memory_does_not_grow_under_code_of_another_thread() -> None:
    code = Code(call_import("relay", 0, "", "I", abi.VMCONTEXT["sizeof"]))
    with Instance([memory(1, 10, **MOVING), memory(1, 10)]) as instance:
        moving, fixed = instance.memories
        grown: list[int] = []

        def host() -> int:
            thread = threading.Thread(
                target=lambda: grown.extend((lib.wj_memory_grow(moving, 1), lib.wj_memory_grow(fixed, 1)))
            )
            thread.start()
            thread.join()
            return int(lib.wj_memory_grow(moving, 2))

        instance.host(host, "", "I", slot=0)
        assert instance.function(code.addresses["relay"], "", "I")() == 1
        assert grown == [REFUSED, 1]


def test_memories_give_their_address_space_back() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (64 * GIB, hard))
    try:
        for _ in range(50):
            with Instance([memory(1), memory(20, **MOVING)], [table(1, 1 << 30)]) as instance:
                assert lib.wj_memory_grow(instance.memories[1], 30) == 20
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_large_memory_prefers_huge_pages() -> None:
    with Instance([memory(1)]) as instance:
        (record,) = instance.memories
        assert lib.wj_memory_grow(record, 1023) == 1
        assert lib.wj_memory_base(record) % (2 * MIB) == 0
        flags = mapping_flags(lib.wj_memory_base(record))
        assert "hg" in flags or not huge_pages_supported()


def huge_pages_supported() -> bool:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled"):
            return True
    except OSError:
        return False


def mapping_flags(address: int) -> list[str]:
    """The VmFlags of the mapping that holds an address."""
    inside = False
    with open("/proc/self/smaps") as smaps:
        for line in smaps:
            head = line.split(" ", 1)[0]
            if "-" in head and not head.endswith(":"):
                start, end = (int(part, 16) for part in head.split("-"))
                inside = start <= address < end
            elif inside and line.startswith("VmFlags:"):
                return line.split()[1:]
    return []


# ---- tables ----


@pytest.mark.parametrize("maximum", [100, 5000, HUGE])
def test_table_grows_in_place(maximum: int) -> None:
    with Instance(tables=[table(3, maximum, init=7)]) as instance:
        (record,) = instance.tables
        start = lib.wj_table_elements(record)
        assert elements(record) == [7, 7, 7]
        assert lib.wj_table_grow(record, 0, 9) == 3
        assert lib.wj_table_grow(record, 2, 9) == 3
        assert lib.wj_table_grow(record, 95, 0) == 5
        assert elements(record) == [7] * 3 + [9] * 2 + [0] * 95
        if maximum > 100:
            assert lib.wj_table_grow(record, 4900, 1) == 100
            assert elements(record)[99:] == [0] + [1] * 4900
        assert lib.wj_table_elements(record) == start
        assert lib.wj_table_grow(record, maximum, 0) == REFUSED
        assert lib.wj_table_grow(record, HUGE, 0) == REFUSED
        assert lib.wj_table_grow(record, 10_000_001, 0) == REFUSED


def test_table_access_and_bounds() -> None:
    with Instance(tables=[table(3, 3), table(0, 0)]) as instance:
        record, empty = instance.tables
        value = ffi.new("uint64_t *")
        assert lib.wj_table_set(record, 2, HUGE) == 0
        assert lib.wj_table_get(record, 2, value) == 0 and value[0] == HUGE
        assert lib.wj_table_set(record, 3, 1) == 1 and lib.wj_table_get(record, HUGE, value) == 1
        assert lib.wj_table_write(record, 1, [4, 5], 2) == 0
        assert lib.wj_table_write(record, 2, [8, 9], 2) == 1
        assert lib.wj_table_write(record, HUGE, [8, 9], 2) == 1
        assert elements(record) == [0, 4, 5]
        assert lib.wj_table_get(empty, 0, value) == 1
        assert lib.wj_table_grow(empty, 1, 0) == REFUSED


def test_table_that_cannot_be_made() -> None:
    with Instance() as instance:
        error = ffi.new("int *")
        assert lib.wj_table_new(instance.store, 2, 1, 0, error) == ffi.NULL and error[0] == errno.EINVAL
        assert lib.wj_table_new(instance.store, 1 << 40, HUGE, 0, error) == ffi.NULL and error[0] == errno.ENOMEM


# ---- store allocations ----


def test_store_allocations_are_zeroed_and_aligned() -> None:
    with Instance() as instance:
        for size in (0, 1, 15, 100, 5 * MIB):
            pointer = lib.wj_store_alloc(instance.store, size)
            assert int(ffi.cast("uintptr_t", pointer)) % 16 == 0
            assert bytes(ffi.buffer(pointer, size)) == bytes(size)
        assert lib.wj_store_alloc(instance.store, 1 << 60) == ffi.NULL


def test_instance_context_has_its_head_set() -> None:
    with Instance([memory(1)]) as instance:
        words = ffi.cast("uint64_t *", instance.context)
        assert ffi.cast("uint32_t *", instance.context)[0] == abi.VMCONTEXT_MAGIC
        assert words[abi.VMCONTEXT["store"] // 8] == int(ffi.cast("uintptr_t", instance.store))
        assert words[abi.VMCONTEXT["builtins"] // 8] == lib.wj_builtins()
        assert words[instance.layout.memories // 8 + 1] == lib.wj_memory_base(instance.memories[0])
        too_small = lib.wj_instance_new(instance.store, instance.context, 16, 0, 0, 0, 0)
        assert too_small == ffi.NULL


# ---- builtins ----


def test_memory_builtins(builtins: Code) -> None:
    data = [b"0123456789", b""]
    with Instance([memory(1, 3), memory(1, 1)], data=data) as instance:
        call = bind(builtins, instance)
        first, second = instance.memories
        call["memory_init"](0, 0, 100, 2, 5)
        assert contents(first, 99, 7) == b"\x0023456\0"
        call["memory_copy"](0, 0, 102, 100, 5)
        assert contents(first, 100, 7) == b"2323456"
        call["memory_copy"](0, 0, 100, 102, 5)
        assert contents(first, 100, 7) == b"2345656"
        call["memory_copy"](1, 0, PAGE - 3, 100, 3)
        assert contents(second, PAGE - 3, 3) == b"234"
        call["memory_fill"](0, PAGE - 2, 0x1FF, 2)
        assert contents(first, PAGE - 3, 3) == b"\0\xff\xff"
        assert call["memory_grow"](0, 2) == 1
        assert call["memory_grow"](0, 1) == -1
        assert call["memory_grow"](1, 1) == -1
        call["memory_fill"](0, 3 * PAGE - 1, 7, 1)
        call["data_drop"](0)
        call["memory_init"](0, 0, 0, 0, 0)
        with pytest.raises(TrapError) as caught:
            call["memory_init"](0, 0, 0, 0, 1)
        assert caught.value.code == MEMORY_OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("memory_copy", (0, 0, 0, PAGE, 1)),
        ("memory_copy", (0, 0, PAGE, 0, 1)),
        ("memory_copy", (0, 0, PAGE - 1, 0, 2)),
        ("memory_copy", (0, 1, 0, 0, PAGE + 1)),
        ("memory_copy", (0, 0, HUGE, 0, 2)),
        ("memory_copy", (0, 0, 0, HUGE, 2)),
        ("memory_copy", (0, 0, 5, 5, HUGE)),
        ("memory_copy", (0, 0, PAGE + 1, 0, 0)),
        ("memory_fill", (0, PAGE, 1, 1)),
        ("memory_fill", (0, 0, 1, PAGE + 1)),
        ("memory_fill", (0, HUGE, 1, 1)),
        ("memory_fill", (0, 2, 1, HUGE)),
        ("memory_fill", (0, PAGE + 1, 1, 0)),
        ("memory_init", (0, 0, 0, 9, 2)),
        ("memory_init", (0, 0, PAGE - 1, 0, 2)),
        ("memory_init", (0, 0, 0, HUGE, 2)),
        ("memory_init", (0, 0, HUGE, 0, 2)),
        ("memory_init", (0, 0, 1, 1, HUGE)),
        ("memory_init", (0, 0, 0, 11, 0)),
        ("memory_init", (0, 1, 0, 0, 1)),
    ],
)
def test_memory_builtins_trap_and_write_nothing(builtins: Code, name: str, arguments: tuple[int, ...]) -> None:
    with Instance([memory(1), memory(1)], data=[b"0123456789", b""]) as instance:
        call = bind(builtins, instance)
        for record in instance.memories:
            assert lib.wj_memory_write(record, 0, b"x" * PAGE, PAGE) == 0
        with pytest.raises(TrapError) as caught:
            call[name](*arguments)
        assert caught.value.code == MEMORY_OUT_OF_BOUNDS
        assert [builtins.name_at(pc) for pc in caught.value.pcs] == [name]
        for record in instance.memories:
            assert contents(record, 0, PAGE) == b"x" * PAGE


def test_table_builtins(builtins: Code) -> None:
    with Instance(tables=[table(5, 1000), table(5, 5)], elements=[[11, 12, 13], []]) as instance:
        call = bind(builtins, instance)
        first, second = instance.tables
        call["table_init"](0, 0, 1, 0, 3)
        assert elements(first) == [0, 11, 12, 13, 0]
        call["table_copy"](0, 0, 2, 1, 3)
        assert elements(first) == [0, 11, 11, 12, 13]
        call["table_copy"](0, 0, 0, 1, 4)
        assert elements(first) == [11, 11, 12, 13, 13]
        call["table_copy"](1, 0, 3, 2, 2)
        assert elements(second) == [0, 0, 0, 12, 13]
        call["table_fill"](1, 3, 99, 2)
        assert elements(second) == [0, 0, 0, 99, 99]
        assert call["table_grow"](0, 5, 900) == 5
        assert elements(first)[4:] == [13] + [5] * 900
        assert call["table_grow"](0, 5, 900) == -1
        assert call["table_grow"](1, 5, 1) == -1
        assert call["table_grow"](1, 5, 0) == 5
        call["elem_drop"](0)
        call["table_init"](0, 0, 0, 0, 0)
        with pytest.raises(TrapError) as caught:
            call["table_init"](0, 0, 0, 0, 1)
        assert caught.value.code == TABLE_OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("table_copy", (0, 0, 0, 5, 1)),
        ("table_copy", (0, 0, 4, 0, 2)),
        ("table_copy", (0, 0, HUGE, 0, 2)),
        ("table_copy", (0, 0, 0, HUGE, 2)),
        ("table_copy", (0, 0, 1, 1, HUGE)),
        ("table_copy", (0, 0, 0, 0, 1 << 61)),
        ("table_copy", (0, 0, 6, 0, 0)),
        ("table_fill", (0, 4, 9, 2)),
        ("table_fill", (0, HUGE, 9, 2)),
        ("table_fill", (0, 1, 9, HUGE)),
        ("table_fill", (0, 6, 9, 0)),
        ("table_init", (0, 0, 0, 2, 2)),
        ("table_init", (0, 0, 4, 0, 2)),
        ("table_init", (0, 0, HUGE, 0, 2)),
        ("table_init", (0, 0, 0, HUGE, 2)),
        ("table_init", (0, 0, 0, 4, 0)),
    ],
)
def test_table_builtins_trap_and_write_nothing(builtins: Code, name: str, arguments: tuple[int, ...]) -> None:
    with Instance(tables=[table(5, 5, init=77)], elements=[[11, 12, 13]]) as instance:
        with pytest.raises(TrapError) as caught:
            bind(builtins, instance)[name](*arguments)
        assert caught.value.code == TABLE_OUT_OF_BOUNDS
        assert elements(instance.tables[0]) == [77] * 5


def test_growth_from_wasm_is_visible_to_wasm(builtins: Code) -> None:
    offset = Instance([memory(1)]).layout.memories
    access = Code(memory_access(offset))
    with Instance([memory(1, 2)]) as instance:
        call = bind(builtins, instance)
        store8 = instance.function(access.addresses["store8"], "iIi", "")
        load8 = instance.function(access.addresses["load8"], "iI", "i")
        with pytest.raises(TrapError):
            store8(PAGE, 0, 5)
        assert call["memory_grow"](0, 1) == 1
        store8(PAGE, 0, 5)
        assert load8(PAGE, 0) == 5
        assert mmap.PAGESIZE <= PAGE
