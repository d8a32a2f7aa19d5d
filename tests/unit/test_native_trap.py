"""Faults become traps: which ones are claimed, what the trap knows, stacks, threads, repetition."""

from __future__ import annotations

import ctypes
import gc
import mmap
import platform
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native_code import (
    ATTRIBUTES,
    GIB,
    MIB,
    RECURSION,
    TRAP_CODES,
    Code,
    Instance,
    TrapError,
    call_import,
    memory,
    memory_access,
    trap_chain,
)
from wasmjit import abi
from wasmjit.runtime.native import ffi, lib

PAGE = 65536
STACK_OVERFLOW, MEMORY_OUT_OF_BOUNDS, INDIRECT_CALL_TO_NULL = 0, 1, 4
IMPORTS_OFFSET = abi.VMCONTEXT["sizeof"]
NULL_REFERENCE_CALL = f"""
define i32 @call_ref(ptr %vm, ptr %ref) {ATTRIBUTES} {{
  %typep = getelementptr i8, ptr %ref, i64 {abi.FUNC_REF["type_id"]}
  %type = load volatile i32, ptr %typep
  ret i32 %type
}}
"""


@pytest.fixture(scope="module")
def chain() -> Code:
    return Code(trap_chain())


@pytest.fixture(scope="module")
def recursion() -> Code:
    return Code(RECURSION)


def names(code: Code, error: TrapError) -> list[str]:
    return [code.name_at(pc) for pc in error.pcs]


def catch(function: Callable[..., Any], *arguments: Any) -> TrapError:
    with pytest.raises(TrapError) as caught:
        function(*arguments)
    return caught.value


def test_trap_instruction_carries_its_code(chain: Code) -> None:
    with Instance() as instance:
        main = instance.function(chain.addresses["main"], "i", "i")
        assert main(0) == 2
        for code in TRAP_CODES:
            error = catch(main, code)
            assert (error.code, error.fault_address) == (code, 0)
            assert names(chain, error) == ["leaf", "middle", "main"]
        assert main(0) == 2


def test_pcs_lie_inside_the_call_instructions(chain: Code) -> None:
    """A return address may already belong to the next line (or function): pcs are moved back into the call."""
    with Instance() as instance:
        error = catch(instance.function(chain.addresses["main"], "i", "i"), TRAP_CODES[0])
        for pc, name in zip(error.pcs, ["leaf", "middle", "main"], strict=True):
            assert chain.addresses[name] <= pc < chain.end


@pytest.mark.parametrize(
    ("address", "offset"),
    [(PAGE, 0), (0xFFFF_FFFF, 0), (PAGE - 1, 1), (0xFFFF_FFFF, 0x7FFF_FFFF), (0, -1), (0, -2 * GIB), (0, 6 * GIB - 1)],
)
def test_guard_pages(address: int, offset: int) -> None:
    with Instance([memory(1)]) as instance:
        code = Code(memory_access(instance.layout.memories))
        load8 = instance.function(code.addresses["load8"], "iI", "i")
        store8 = instance.function(code.addresses["store8"], "iIi", "")
        store8(PAGE - 1, 0, 200)
        assert load8(PAGE - 1, 0) == 200
        for function, arguments in ((load8, (address, offset)), (store8, (address, offset, 1))):
            error = catch(function, *arguments)
            assert error.code == MEMORY_OUT_OF_BOUNDS
            assert error.fault_address == lib.wj_memory_base(instance.memories[0]) + address + offset
            assert len(error.pcs) == 1


def test_bus_error_in_a_memory_is_out_of_bounds(tmp_path: Path) -> None:
    """SIGBUS comes for pages behind the end of a mapped file."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    empty = tmp_path / "empty"
    with Instance([memory(1)]) as instance, empty.open("w+b") as file:
        base = lib.wj_memory_base(instance.memories[0])
        map_fixed = 0x10
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        assert libc.mmap(base, PAGE, protection, mmap.MAP_SHARED | map_fixed, file.fileno(), 0) == base
        code = Code(memory_access(instance.layout.memories))
        error = catch(instance.function(code.addresses["load8"], "iI", "i"), 0, 0)
        assert (error.code, error.fault_address) == (MEMORY_OUT_OF_BOUNDS, base)
        # What was mapped behind the runtime's back must go before the pool keeps the memory for the next one.
        anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | map_fixed
        assert libc.mmap(base, PAGE, protection, anonymous, -1, 0) == base


def test_every_memory_of_the_store_counts() -> None:
    with Instance([memory(1), memory(1), memory(1, 1, 0, PAGE)]) as instance:
        code = Code(memory_access(instance.layout.memories))
        load8 = instance.function(code.addresses["load8"], "iI", "i")
        first = lib.wj_memory_base(instance.memories[0])
        for other in instance.memories:
            error = catch(load8, 0, lib.wj_memory_base(other) + PAGE - first)
            assert error.code == MEMORY_OUT_OF_BOUNDS


def test_null_function_reference() -> None:
    code = Code(NULL_REFERENCE_CALL)
    with Instance() as instance:
        call_ref = instance.function(code.addresses["call_ref"], "r", "i")
        error = catch(call_ref, 0)
        assert (error.code, error.fault_address) == (INDIRECT_CALL_TO_NULL, abi.FUNC_REF["type_id"])
        func_ref = instance.func_ref(code.addresses["call_ref"], type_id=77)
        assert call_ref(int(ffi.cast("uintptr_t", func_ref))) == 77


def test_stack_limit_check(recursion: Code) -> None:
    with Instance(max_wasm_stack_bytes=512 * 1024) as instance:
        checked = instance.function(recursion.addresses["checked"], "i", "i")
        assert checked(1000) == 1000
        error = catch(checked, 10_000_000)
        assert error.code == STACK_OVERFLOW
        assert names(recursion, error) == ["checked"] * 128
        assert checked(1000) == 1000


def test_stack_limit_follows_the_configuration(recursion: Code) -> None:
    with Instance(max_wasm_stack_bytes=64 * 1024) as small, Instance(max_wasm_stack_bytes=2 * MIB) as large:
        depth = 20_000
        assert large.function(recursion.addresses["checked"], "i", "i")(depth) == depth
        assert catch(small.function(recursion.addresses["checked"], "i", "i"), depth).code == STACK_OVERFLOW


def in_thread(function: Callable[[], Any], stack_bytes: int = 0) -> Any:
    """Runs in a new thread (with that stack size) and returns the result or raises its exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    before = threading.stack_size(stack_bytes)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def test_small_thread_stack_bounds_wasm(recursion: Code) -> None:
    """The limit is the thread's stack where that is smaller than what the store allows."""
    with Instance(max_wasm_stack_bytes=64 * MIB) as instance:
        checked = instance.function(recursion.addresses["checked"], "i", "i")

        def run() -> None:
            assert checked(100) == 100
            assert catch(checked, 10_000_000).code == STACK_OVERFLOW
            assert checked(100) == 100

        for stack_bytes in (256 * 1024, 8 * MIB):
            in_thread(run, stack_bytes)


def test_overflow_that_reaches_the_guard_pages(recursion: Code) -> None:
    """A frame that no check stopped: the fault in the stack's guard area is a trap too, handled on our own stack."""
    with Instance(max_wasm_stack_bytes=64 * MIB) as instance:
        unchecked = instance.function(recursion.addresses["unchecked"], "i", "i")

        def run() -> None:
            for _ in range(3):
                error = catch(unchecked, 10_000_000)
                assert error.code == STACK_OVERFLOW
                assert set(names(recursion, error)) == {"unchecked"}
            assert unchecked(10) == 10

        in_thread(run, 512 * 1024)
        in_thread(run, 512 * 1024)


def test_main_thread_overflow_reaches_the_rlimit(recursion: Code) -> None:
    with Instance(max_wasm_stack_bytes=1 << 40) as instance:
        checked = instance.function(recursion.addresses["checked"], "i", "i")
        unchecked = instance.function(recursion.addresses["unchecked"], "i", "i")
        for function in (checked, unchecked):
            assert catch(function, 100_000_000).code == STACK_OVERFLOW
        assert checked(10) == 10


def test_nested_entries_have_their_own_limit_and_restore_the_outer(recursion: Code) -> None:
    relay_code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance(max_wasm_stack_bytes=256 * 1024) as instance:
        checked = instance.function(recursion.addresses["checked"], "i", "i")
        relay = instance.function(relay_code.addresses["relay"], "i", "i")
        limit = ffi.cast("uint64_t *", instance.store)
        seen: list[int] = []

        def host(level: int) -> int:
            seen.append(limit[0])
            if level:
                relay(level - 1)
            assert limit[0] == seen[-1 - level]
            assert catch(checked, 10_000_000).code == STACK_OVERFLOW
            return 0

        instance.host(host, "i", "i", slot=0)
        seen_outer = limit[0]
        relay(3)
        assert limit[0] == seen_outer
        assert len(seen) == 4 and seen == sorted(seen, reverse=True)


def test_backtrace_spans_nested_entries(chain: Code) -> None:
    relay_code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        main = instance.function(chain.addresses["main"], "i", "i")
        relay = instance.function(relay_code.addresses["relay"], "i", "i")
        instance.host(lambda level: relay(level - 1) if level else main(9), "i", "i", slot=0)
        error = catch(relay, 2)
        inner = [chain.name_at(pc) for pc in error.pcs[:3]]
        assert inner == ["leaf", "middle", "main"]
        assert [relay_code.name_at(pc) for pc in error.pcs[3:]] == ["relay"] * 3
        assert all(relay_code.start <= pc < relay_code.end for pc in error.pcs[3:])


def test_trap_in_the_inner_entry_leaves_the_outer_running(chain: Code) -> None:
    relay_code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        main = instance.function(chain.addresses["main"], "i", "i")
        relay = instance.function(relay_code.addresses["relay"], "i", "i")

        def host(code: int) -> int:
            error = catch(main, code)
            return error.code + 1000

        instance.host(host, "i", "i", slot=0)
        assert [relay(code) for code in TRAP_CODES] == [code + 1000 for code in TRAP_CODES]


def test_traps_a_thousand_times(chain: Code, recursion: Code) -> None:
    with Instance([memory(1)]) as instance:
        access = Code(memory_access(instance.layout.memories))
        main = instance.function(chain.addresses["main"], "i", "i")
        load8 = instance.function(access.addresses["load8"], "iI", "i")
        checked = instance.function(recursion.addresses["checked"], "i", "i")
        for _ in range(1000):
            assert catch_code(main, 9) == 9
            assert catch_code(load8, PAGE, 0) == MEMORY_OUT_OF_BOUNDS
        for _ in range(50):
            assert catch_code(checked, 10_000_000) == STACK_OVERFLOW
        assert main(0) == 2


def catch_code(function: Callable[..., Any], *arguments: Any) -> int:
    try:
        function(*arguments)
    except TrapError as error:
        return error.code
    return -1


def test_four_threads_trap_at_once(chain: Code, recursion: Code) -> None:
    failures: list[str] = []

    def run(number: int) -> None:
        with Instance([memory(1)]) as instance:
            access = Code(memory_access(instance.layout.memories))
            main = instance.function(chain.addresses["main"], "i", "i")
            load8 = instance.function(access.addresses["load8"], "iI", "i")
            checked = instance.function(recursion.addresses["checked"], "i", "i")
            for i in range(1000):
                got = (catch_code(main, TRAP_CODES[i % 8]), catch_code(load8, PAGE + i, number), main(0))
                if got != (TRAP_CODES[i % 8], MEMORY_OUT_OF_BOUNDS, 2):
                    failures.append(f"thread {number}, round {i}: {got}")
            if catch_code(checked, 10_000_000) != STACK_OVERFLOW:
                failures.append(f"thread {number}: no stack overflow")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_code_is_registered_and_forgotten_while_others_trap(chain: Code) -> None:
    """The registry is read by the handler of one thread while another one changes it."""
    stop = threading.Event()
    changes = 0

    def churn() -> None:
        nonlocal changes
        start = 1 << 60
        while not stop.is_set():
            changes += 1
            for i in range(20):
                assert lib.wj_code_register(start + 256 * i, start + 256 * i + 100) == 0
            for i in range(20):
                lib.wj_code_unregister(start + 256 * i)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with Instance() as instance:
            main = instance.function(chain.addresses["main"], "i", "i")
            for _ in range(1000):
                assert catch_code(main, 9) == 9
    finally:
        stop.set()
        thread.join()
    assert changes > 0


def test_code_registry_refuses_overlap_and_empty_ranges() -> None:
    start = 1 << 59
    assert lib.wj_code_register(start, start) != 0
    assert lib.wj_code_register(start, start + 100) == 0
    for low, high in ((0, 1), (99, 200), (-1, 1), (10, 20), (-5, 500)):
        assert lib.wj_code_register(start + low, start + high) != 0
    assert lib.wj_code_register(start + 100, start + 200) == 0
    lib.wj_code_unregister(start)
    lib.wj_code_unregister(start)
    lib.wj_code_unregister(start + 100)


def test_wild_frame_pointer_does_not_crash_the_backtrace(chain: Code) -> None:
    """Generated code without frame pointers (or a damaged stack) must not crash the handler."""
    instructions = {
        "x86_64": "movq %rsi, %rbp\\0Aud1l 9(%eax), %eax",
        "aarch64": "mov x29, x1\\0Abrk #0x5509",
    }[platform.machine()]
    text = f"""
    define void @wild(ptr %vm, i64 %fp) nounwind naked {{
      call void asm sideeffect "{instructions}", ""()
      unreachable
    }}
    """
    code = Code(text)
    with Instance() as instance:
        wild = instance.function(code.addresses["wild"], "I", "")
        for fp in (0, 1, 8, 4096, 0x7FFF_FFFF_FFF8, -8, 1 << 63, int(ffi.cast("uintptr_t", instance.context))):
            error = catch(wild, fp)
            assert (error.code, len(error.pcs)) == (9, 1)


def test_traps_do_not_leak(chain: Code) -> None:
    with Instance() as instance:
        main = instance.function(chain.addresses["main"], "i", "i")

        def growth(rounds: int) -> int:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(rounds):
                catch_code(main, 9)
            return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

        growth(2000)
        gc.collect()
        assert growth(20_000) < 2_000_000


def test_threads_give_their_signal_stacks_back(chain: Code) -> None:
    def mappings() -> int:
        with open("/proc/self/maps") as maps:
            return sum(1 for _ in maps)

    with Instance() as instance:
        main = instance.function(chain.addresses["main"], "i", "i")
        for _ in range(5):
            in_thread(lambda: catch_code(main, 9))
        before = mappings()
        for _ in range(60):
            assert in_thread(lambda: catch_code(main, 9)) == 9
        assert mappings() < before + 20
