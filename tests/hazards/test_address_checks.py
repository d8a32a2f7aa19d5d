"""Checks between a number of wasm's and an address of the host's that no other test would miss: see the table in
docs/address-checks.md, and tools/mutate_checks.py, which takes each of them away."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Instance,
    Limits,
    Linker,
    LinkError,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    ValType,
    WasiConfig,
    WasmError,
    abi,
    thresholds,
    wat2wasm,
)
from wasmjit.compile import pipeline
from wasmjit.config import MIN_GUARD_BYTES
from wasmjit.errors import TRAPS, ValidationError
from wasmjit.runtime.native import ffi, lib
from wasmjit.runtime.native_store import NativeStore
from wasmjit.wasm import module as wasm
from wasmjit.wasm import validate
from wasmjit.wasm.decode import decode
from wasmjit.wasm.types import MAX_PARAMS, MAX_RESULTS

pytestmark = pytest.mark.usefixtures("interpreted")

TIERS = ("auto", "baseline", "optimized")
CHECKED = {"signals_based_traps": False}


def exports_of(text: str, tier: str = "optimized", **options: Any) -> tuple[Store, Any]:
    store = Store(Engine(Config(tier=tier, parallel_compilation=False, **options)))
    return store, Instance(store, Module(store.engine, text), []).exports(store)


def traps(call: Callable[..., object], *arguments: object) -> bool:
    """Whether it ends outside of a memory or table."""
    try:
        call(*arguments)
    except Trap as trap:
        assert trap.trap_code in (TrapCode.MEMORY_OUT_OF_BOUNDS, TrapCode.TABLE_OUT_OF_BOUNDS)
        return True
    return False


def in_process(program: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs Python text in a process of its own: what is tested crashes where it fails."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=timeout_seconds
    )


def test_segments_are_copied_into_a_memory_that_does_not_move_meanwhile() -> None:
    """Another thread grows a memory while an instantiation, without the GIL, copies its data segments there."""
    done = in_process(
        """
        import threading
        from wasmjit import *
        store = Store(Engine(Config(signals_based_traps=False, memory_reservation=0, tier="optimized")))
        data = " ".join(f'(data (global.get 0) "{"x" * 60000}")' for _ in range(30))
        module = Module(store.engine, f'(module (import "" "m" (memory 1)) (import "" "o" (global i32)) {data})')
        start = Global(store, GlobalType(ValType.i32(), False), 0)
        for _ in range(20):
            memory = Memory(store, MemoryType(Limits(1, None)))
            def grow():
                for _ in range(400):
                    memory.grow(store, 1)
            thread = threading.Thread(target=grow)
            thread.start()
            for _ in range(30):
                Instance(store, module, [memory, start])
            thread.join()
        print("done")
        """
    )
    assert done.stdout == "done\n", (done.returncode, done.stderr[-2000:])


@pytest.mark.parametrize("count", [0, 1, 5, 257, 513, 1025, 5000])
def test_what_the_mask_of_an_index_lets_through_is_the_tables(count: int) -> None:
    """A table of fixed size has its indices masked with the next power of two less one: storage goes up to there."""
    store = Store()
    table = Table(store, TableType(ValType.funcref(), Limits(count, count)), None)
    elements = int(lib.wj_table_elements(table._item.pointer))
    wanted_bytes = 8 << max(count - 1, 0).bit_length()
    if wanted_bytes > 8 * 512:  # a mapping of its own
        ranges = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
        end = elements
        while end < elements + wanted_bytes:
            end = next((int(high, 16) for low, high in ranges if int(low, 16) <= end < int(high, 16)), 0)
            assert end, "not mapped"
        return
    usable = ctypes.CDLL(None).malloc_usable_size
    usable.restype, usable.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    record_bytes = 16  # wj_allocation
    assert usable(elements - record_bytes) >= record_bytes + wanted_bytes


def test_the_interpreter_masks_every_index_of_a_table(root: Path) -> None:
    """What a processor does behind a mispredicted bounds check cannot be seen: this looks at the source."""
    text = (root / "runtime_c" / "interpret.c").read_text()
    accesses = re.findall(r"->elements\[(.*?)\](?: =|;)", text)
    assert len(accesses) == text.count("->elements[") == 3
    assert all(index == "masked(index, table->length)" for index in accesses), accesses


def test_unknown_instructions_in_dead_code_are_not_read_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """C is given no bodies with exceptions. Were it, the bytes of immediates in code that cannot be reached would be
    taken for instructions, here `end`, and the function would end with the block."""

    original = validate.validate

    def forgetting(module: wasm.Module, check: validate.BodyChecker | None = None) -> int:
        misses = original(module, check)
        module.interpretable = b"\1" * len(module.bodies)
        return misses

    monkeypatch.setattr(validate, "validate", forgetting)
    store = Store(Engine(Config(tier="auto")))
    tags = "(tag) " * 11 + "(tag $number_is_opcode_of_end)"
    module = Module(
        store.engine,
        f"""(module {tags} (global $done (export "g") (mut i32) (i32.const 0))
          (func (export "f") (block (br 0) (throw $number_is_opcode_of_end)) (global.set $done (i32.const 7))))""",
    )
    assert thresholds.INTERPRETS
    exports = Instance(store, module, []).exports(store)
    exports["f"](store)
    assert exports["g"].value(store) == 7


# ---- the interpreter ----


def test_a_null_reference_is_no_function_in_the_interpreter() -> None:
    """It is compared: the fault that reading its signature would be has no place in the program."""
    text = """(module (table 1 funcref) (func $helper (result i32) (i32.const 1))
      (func (export "f") (result i32) (i32.add (call $helper) (call_indirect (result i32) (i32.const 0)))))"""
    offsets = []
    for tier in ("optimized", "auto"):
        store, exports = exports_of(text, tier)
        with pytest.raises(Trap) as caught:
            exports["f"](store)
        assert caught.value.trap_code is TrapCode.INDIRECT_CALL_TO_NULL
        offsets.append(caught.value.frames[0].func_offset)
    assert offsets[0] == offsets[1]


@pytest.mark.parametrize("tier", TIERS)
def test_a_branch_table_has_a_default(tier: str) -> None:
    store, exports = exports_of(
        """(module (func (export "f") (param i32) (result i32)
          (block (block (block (block (br_table 0 1 2 3 (local.get 0)))
            (return (i32.const 10))) (return (i32.const 11))) (return (i32.const 12))) (i32.const 99)))""",
        tier,
    )
    for index in (0, 1, 2, 3, 4, 5, 6, 7, 1000, 1 << 31, (1 << 32) - 1):
        assert exports["f"](store, index) == (10 + index if index < 3 else 99)


def test_as_many_results_as_there_may_be_are_interpreted() -> None:
    """The translator has room for them, whatever comes before."""
    results = " ".join(["i32"] * MAX_RESULTS)
    constants = " ".join(f"(i32.const {n})" for n in range(MAX_RESULTS))
    sums = "(i32.add) " * (MAX_RESULTS - 1)
    done = in_process(
        f"""
        from wasmjit import *
        store = Store(Engine(Config(tier="auto")))
        module = Module(store.engine, '''(module (func $many (result {results}) {constants})
          (func (export "f") (result i32) (call $many) {sums}))''')
        for _ in range(20):
            print(Instance(store, module, []).exports(store)["f"](store))
        """
    )
    assert done.stdout.split() == [str(sum(range(MAX_RESULTS)))] * 20, (done.returncode, done.stderr[-500:])


# ---- compiled code ----


@pytest.mark.parametrize("tier", ["baseline", "optimized"])
def test_an_earlier_check_covers_what_it_reached(tier: str) -> None:
    """An access behind another one with the same address is not compared again, unless it ends further behind."""
    store, exports = exports_of(
        """(module (memory 1 1) (global $g (mut i32) (i32.const 0))
          (func (export "f") (param i32) (result i64)
            (global.set $g (i32.load (local.get 0))) (i64.load offset=1 (local.get 0))))""",
        tier,
        **CHECKED,
    )
    for address in range(65520, 65550):
        assert traps(exports["f"], store, address) == (address + 9 > 65536), address


@pytest.mark.parametrize("tier", ["baseline", "optimized"])
def test_a_check_on_one_way_is_none_behind_the_join(tier: str) -> None:
    store, exports = exports_of(
        """(module (memory 1 1) (global $g (mut i32) (i32.const 0))
          (func (export "f") (param i32 i32) (result i32)
            (if (local.get 1) (then (global.set $g (i32.load (local.get 0)))) (else (global.set $g (i32.const 1))))
            (i32.load (local.get 0))))""",
        tier,
        **CHECKED,
    )
    for address in (0, 65532, 65533, 65536, 1 << 20, (1 << 32) - 1):
        for way in (0, 1):
            assert traps(exports["f"], store, address, way) == (address + 4 > 65536), (address, way)


@pytest.mark.parametrize("tier", ["baseline", "optimized"])
def test_the_base_of_a_memory_that_moved_is_the_new_one(tier: str) -> None:
    store, exports = exports_of(
        """(module (memory (export "memory") 1 2000)
          (func (export "f") (param i32 i32) (result i32) (local i32)
            (i32.store (local.get 0) (local.get 1))
            (if (i32.eq (memory.grow (i32.const 400)) (i32.const -1)) (then (unreachable)))
            (local.set 2 (i32.load (local.get 0)))
            (i32.store (local.get 0) (i32.add (local.get 1) (i32.const 1)))
            (local.get 2)))""",
        tier,
        memory_reservation=0,
        **CHECKED,
    )
    memory = exports["memory"]
    bases = set()
    for number in (7, 8, 9):
        assert exports["f"](store, 100, number) == number
        assert memory.read_u32(store, 100) == number + 1
        bases.add(memory.get_buffer_ptr(store, 0)._owner.address)
    assert len(bases) > 1, "it has not moved"


INACCESSIBLE = """
from wasmjit import *

def base_of(memory):
    return memory.get_buffer_ptr(store, 0)._owner.address

def is_inaccessible(start, stop):
    for line in open("/proc/self/maps"):
        (low, high), how = [int(n, 16) for n in line.split()[0].split("-")], line.split()[1]
        if low <= start < high and start < stop:
            if how != "---p":
                return False
            start = high
    return start >= stop
"""


def test_the_guard_is_as_wide_as_offsets_without_a_check() -> None:
    """4 GiB from the base on, and what the largest offset without a comparison reaches behind that, and before it."""
    program = f"""
from wasmjit.compile import memory as code
store = Store()
memory = Memory(store, MemoryType(Limits(1, None)))
base = base_of(memory)
print(is_inaccessible(base + 65536, base + (4 << 30) + code.MIN_GUARD_BYTES))
print(is_inaccessible(base - {MIN_GUARD_BYTES}, base))
full = Memory(store, MemoryType(Limits(65536, None)))
print(is_inaccessible(base_of(full) + (4 << 30), base_of(full) + (4 << 30) + code.MIN_GUARD_BYTES))
"""
    done = in_process(INACCESSIBLE + program)
    assert done.stdout.split() == ["True"] * 3, done.stdout + done.stderr


def test_small_guards_mean_explicit_checks() -> None:
    assert Config().memory_policy.guarded
    for options in {"memory_guard_size": MIN_GUARD_BYTES - 4096}, {"memory_reservation": (4 << 30) - 65536}:
        assert not Config(**options).memory_policy.guarded
        store, exports = exports_of(
            '(module (memory 1) (func (export "f") (param i32) (drop (i32.load offset=0x7ffffffc (local.get 0)))))',
            **options,
        )
        assert traps(exports["f"], store, (1 << 32) - 1)


def test_a_null_reference_is_compared_without_guard_pages() -> None:
    """Where signals are not ours, no trap may depend on a fault."""
    text = '(module (table 1 funcref) (func (export "f") (param i32) (call_indirect (local.get 0))))'
    number = next(trap.number for trap in TRAPS if trap.name == "INDIRECT_CALL_TO_NULL")
    ir = pipeline.render(decode(bytes(wat2wasm(text))), Config(**CHECKED), "ir")
    assert re.search(r"icmp eq ptr %\w+, null", ir) and f"ubsantrap(i8 {number})" in ir


def test_what_llvm_is_told_of_functions() -> None:
    """A load through a null reference is a fault, not whatever suits. Loops do not become calls of memset, whose faults
    no handler takes. Frames do not step over the guard page of the stack."""
    ir = pipeline.render(decode(bytes(wat2wasm("(module (func))"))), Config(), "ir")
    attributes = next(line for line in ir.splitlines() if line.startswith("attributes #0"))
    for attribute in ("null_pointer_is_valid", '"no-builtins"', '"probe-stack"="inline-asm"'):
        assert attribute in attributes


@pytest.mark.parametrize("tier", ["baseline", "optimized"])
def test_recursion_ends_in_a_trap(tier: str) -> None:
    """At the limit, not where the thread's stack ends: that may have no guard page."""
    store, exports = exports_of(
        """(module (global $depth (export "depth") (mut i32) (i32.const 0))
          (func $f (export "f") (param i32) (result i32)
            (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
            (i32.add (call $f (local.get 0)) (i32.const 1))))""",
        tier,
        max_wasm_stack=1 << 16,
    )
    with pytest.raises(Trap) as caught:
        exports["f"](store, 1)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW
    assert exports["depth"].value(store) < (1 << 16) / 16


def test_a_large_frame_counts_in_the_stack_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with 70 KiB of locals, where 64 are allowed."""
    monkeypatch.setattr(thresholds, "INTERPRETS", False)  # else it is left to the interpreter
    sets = "".join(f"(local.set {n} (i64.load offset={8 * n} (local.get 0)))" for n in range(1, 9000))
    uses = "".join(f"(i64.store offset={8 * n} (local.get 0) (local.get {n}))" for n in range(1, 9000))
    store, exports = exports_of(
        f'(module (memory 4) (func (export "f") (param i32) (local {"i64 " * 9000}) {sets} {uses}))',
        "baseline",
        max_wasm_stack=1 << 16,
        signals_based_traps=False,
    )
    with pytest.raises(Trap) as caught:
        exports["f"](store, 0)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW


@pytest.mark.parametrize("name", ["large", "calls", "deep"])
def test_slots_end_where_the_interpreter_stack_does(name: str) -> None:
    """Of a function that is called from outside, by another one, and of many that are small."""
    done = in_process(
        f"""
        from wasmjit import *
        store = Store(Engine(Config(tier="auto", max_wasm_stack=1 << 13)))
        many = "i64 " * 49000
        exports = Instance(store, Module(store.engine, f'''(module
          (func $large (export "large") (result i64) (local {{many}}) (local.get 48999))
          (func (export "calls") (result i64) (call $large))
          (func $deep (export "deep") (result i64) (i64.add (call $deep) (i64.const 1))))'''), []).exports(store)
        for _ in range(3):
            try:
                exports["{name}"](store)
            except Trap as trap:
                print(trap.trap_code.name)
        """
    )
    assert done.stdout.split() == ["STACK_OVERFLOW"] * 3, (done.stdout, done.returncode, done.stderr[-500:])


def test_the_buffer_of_tail_arguments_has_room_for_all(root: Path) -> None:
    """A thousand vectors, and what an adapter has to know."""
    assert abi.TAIL_ARGUMENTS_BYTES >= 16 * MAX_PARAMS + 2 * abi.SLOT_BYTES
    assert abi.render_header() == (root / "runtime_c" / "wj_abi.h").read_text()


@pytest.mark.parametrize("tier", ["baseline", "optimized"])
def test_the_results_area_fits_the_largest_call(tier: str) -> None:
    few, many = 3, 60
    functions = "".join(
        f"(func $f{count} (param i32) (result {'i64 ' * count}) "
        + " ".join(f"(i64.add (i64.const {n}) (i64.extend_i32_u (local.get 0)))" for n in range(count))
        + ")"
        for count in (few, many)
    )
    store, exports = exports_of(
        f"""(module {functions} (func (export "f") (param i32) (result i64)
          (call $f{few} (local.get 0)) {"i64.add " * (few - 1)}
          (call $f{many} (local.get 0)) {"i64.add " * (many - 1)} i64.add))""",
        tier,
    )
    assert exports["f"](store, 5) == sum(range(few)) + sum(range(many)) + 5 * (few + many)


# ---- memories and tables of the C runtime ----


def test_no_memory_moves_while_a_signal_handler_runs() -> None:
    """It runs in the middle of wasm code, which may hold the base in a register, or of a copy in pieces."""
    done = in_process(
        """
        import os, signal, threading
        from wasmjit import *
        store = Store(Engine(Config(signals_based_traps=False, memory_reservation=0, tier="optimized")))
        exports = Instance(store, Module(store.engine, '''(module (memory (export "memory") 1)
          (func (export "f") (param i32) (local i32)
            (local.set 1 (i32.const 1)) (i32.store (i32.const 4) (i32.const 1)) (loop
            (local.set 1 (i32.xor (local.get 1) (i32.shl (local.get 1) (i32.const 13))))
            (local.set 1 (i32.xor (local.get 1) (i32.shr_u (local.get 1) (i32.const 17))))
            (local.set 1 (i32.xor (local.get 1) (i32.shl (local.get 1) (i32.const 5))))
            (i32.store (i32.const 0) (local.get 1))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))'''), []).exports(store)
        memory = exports["memory"]
        def signal_soon():
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        def handler(*_):
            if memory.read(store, 4, 5) == b"\\0":  # on a slow machine it has not begun
                return signal_soon()
            try:
                memory.grow(store, 1000)
                print("moved")
            except WasmError:
                print("refused", running)
        signal.signal(signal.SIGINT, handler)
        exports["f"](store, 1)
        memory.write(store, bytes(1), 4)
        signal_soon()
        running = True
        exports["f"](store, 200_000_000)
        running = False
        """
    )
    assert done.stdout == "refused True\n", (done.stdout, done.returncode, done.stderr[-500:])


def test_a_guarded_memory_without_its_reservation_is_refused() -> None:
    done = in_process(
        """
        import resource
        from wasmjit import *
        store = Store()
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 30), used + (6 << 30)))
        try:
            Memory(store, MemoryType(Limits(1, None)))
        except WasmError as error:
            print(error)
        """
    )
    assert done.stdout.startswith("cannot allocate a memory"), done.stdout + done.stderr


def test_a_mapping_is_reused_for_its_own_layout() -> None:
    program = """
for guard_gib in (2, 3, 2):
    store = Store(Engine(Config(memory_guard_size=guard_gib << 30)))
    base = base_of(Memory(store, MemoryType(Limits(1, None))))
    print(is_inaccessible(base + 65536, base + (4 + guard_gib << 30)))
    store.close()
"""
    done = in_process(INACCESSIBLE + program)
    assert done.stdout.split() == ["True"] * 3, done.stdout + done.stderr


def test_growth_ends_with_the_reservation() -> None:
    """What comes behind it is the host's."""
    done = in_process(
        """
        import mmap
        from wasmjit import *
        options = dict(signals_based_traps=False, memory_reservation=1 << 20, memory_may_move=False)
        store = Store(Engine(Config(**options)))
        neighbours = [mmap.mmap(-1, 1 << 20) for _ in range(8)]
        memory = Memory(store, MemoryType(Limits(1, None)))
        print(memory.grow(store, 15))
        try:
            print(memory.grow(store, 1))
        except WasmError:
            print("refused")
        """
    )
    assert done.stdout.split() == ["1", "refused"], done.stdout + done.stderr


def test_pages_that_do_not_fit_64_bits_are_refused() -> None:
    store, error = NativeStore(1 << 16), ffi.new("int *")
    for pages in (1 << 48, (1 << 48) + 1, (1 << 64) - 1, 1 << 63):
        assert lib.wj_memory_new(store.pointer, pages, (1 << 64) - 1, 16, 0, 0, error) == ffi.NULL
        memory = lib.wj_memory_new(store.pointer, 1, (1 << 64) - 1, 16, 1 << 20, 0, error)
        assert lib.wj_memory_grow(memory, pages - 1) == (1 << 64) - 1
        assert lib.wj_memory_size_bytes(memory) == 65536


def test_a_table_larger_than_its_storage_is_refused() -> None:
    store, error = NativeStore(1 << 16), ffi.new("int *")
    for count in (10_000_001, 1 << 29, 1 << 61, (1 << 64) - 1):
        assert lib.wj_table_new(store.pointer, count, (1 << 64) - 1, 0, error) == ffi.NULL


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "evaluated"])
def test_segments_stay_inside(constant: bool) -> None:
    """Active ones, by the quick way and by that for starts that take evaluation."""
    place = "(i32.const {})" if constant else "(i32.add (i32.const {}) (i32.const 0))"
    for start in (0, 1, 2, 3, 65535, 65536, 1 << 31, (1 << 32) - 1):
        at = place.format(start)
        elements = f"(module (table 4 4 funcref) (func $f) (elem (offset {at}) func $f $f))"
        data = f'(module (memory 1 1) (data (offset {at}) "xy"))'
        store = Store()
        assert traps(Instance, store, Module(store.engine, elements), []) == (start + 2 > 4)
        assert traps(Instance, store, Module(store.engine, data), []) == (start + 2 > 65536)


# ---- the boundary ----


def test_signatures_have_at_most_a_thousand_values() -> None:
    for letter in (b"i", b"V"):
        assert lib.wj_signature_hold(letter * 1000, letter * 1000) != ffi.NULL
        assert lib.wj_signature_hold(letter * 1001, b"") == ffi.NULL
        assert lib.wj_signature_hold(b"", letter * 1001) == ffi.NULL


@pytest.mark.parametrize("count", [0, 1, 2, 4, 1000])
def test_a_host_function_gives_as_many_results_as_it_has(count: int) -> None:
    store = Store()
    function = Func(store, FuncType([], [ValType.i32()] * 3), lambda: [1] * count)
    with pytest.raises(WasmError, match="wrong number of results"):
        function(store)


def test_a_list_of_results_may_shrink_while_it_is_converted() -> None:
    done = in_process(
        """
        from wasmjit import *
        store = Store()
        class Number:
            def __index__(self):
                results.clear()
                junk[:] = [[] for _ in range(1000)]
                return 7
        junk = []
        results = [Number(), 1, *range(1000, 1062)]
        function = Func(store, FuncType([], [ValType.i64()] * 64), lambda: results)
        try:
            function(store)
        except TypeError as error:
            print("refused")
        """
    )
    assert done.stdout == "refused\n", (done.returncode, done.stderr[-500:])


def test_a_fault_outside_of_all_memories_is_no_trap() -> None:
    """Were it one, a guest could look for what the host has by trial, and a bug of ours would pass for a trap."""
    done = in_process(
        """
        import ctypes
        from wasmjit import *
        store = Store(Engine(Config(tier="optimized")))
        instance = Instance(store, Module(store.engine, '''(module (memory 1)
          (func (export "f") (result i32) (i32.load (i32.const 0))))'''), [])
        function = instance.exports(store)["f"]
        assert function(store) == 0
        record = instance._instance
        base = ctypes.c_uint64.from_address(record.address + record.loaded.layout.memories + 8)
        base.value = 0x5000_0000_0000  # nothing is there
        print("set", flush=True)
        try:
            function(store)
        except Trap:
            print("a trap")
        """
    )
    assert done.stdout == "set\n" and done.returncode < 0, (done.returncode, done.stdout, done.stderr[-500:])


# ---- linking and validation ----


def test_imports_are_what_they_are_declared_to_be() -> None:
    store = Store()
    i32, i64, funcref, externref = ValType.i32(), ValType.i64(), ValType.funcref(), ValType.externref()
    given = {
        "(table 1 funcref)": Table(store, TableType(externref, Limits(1)), None),
        "(table 1 externref)": Table(store, TableType(funcref, Limits(1)), None),
        "(table i64 1 funcref)": Table(store, TableType(funcref, Limits(1)), None),
        "(table 2 funcref)": Table(store, TableType(funcref, Limits(1)), None),
        "(table 1 1 funcref)": Table(store, TableType(funcref, Limits(1, 2)), None),
        "(memory 2)": Memory(store, MemoryType(Limits(1))),
        "(memory i64 1)": Memory(store, MemoryType(Limits(1))),
        "(global i64)": Global(store, GlobalType(i32, False), 1),
        "(global (mut i32))": Global(store, GlobalType(i32, False), 1),
        "(global externref)": Global(store, GlobalType(i64, False), 1),
        "(func (param i64))": Func(store, FuncType([i32], []), print),
        "(func (param i32) (result i32))": Func(store, FuncType([i32], []), print),
    }
    for wanted, item in given.items():
        module = Module(store.engine, f'(module (import "" "" {wanted}))')
        with pytest.raises(LinkError):
            Instance(store, module, [item])


INVALID = {
    "offset out of range": "(drop (i32.load offset=4294967296 (i32.const 0)))",
    "unknown memory 1": "(drop (i32.load 1 (i32.const 0)))",
    "unknown memory 2": "(drop (memory.size 2))",
    "unknown memory 3": "(memory.fill 3 (i32.const 0) (i32.const 0) (i32.const 0))",
    "unknown table 2": "(drop (table.get 2 (i32.const 0)))",
    "unknown table 3": "(drop (table.size 3))",
    "unknown data segment": "(data.drop 1)",
    "unknown elem segment": "(elem.drop 1)",
    "unknown function": "(call 9)",
    "unknown global": "(drop (global.get 1))",
    "unknown local": "(drop (local.get 1))",
    "unknown label": "(br 2)",
    "unknown type": "(call_indirect (type 9) (i32.const 0))",
    "tables have different element types": "(table.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 0))",
    "type mismatch: expected externref, found i64": "(table.set 1 (i32.const 0) (i64.const 0x41414141))",
    "type mismatch: expected funcref": "(table.set 0 (i32.const 0) (table.get 1 (i32.const 0)))",
    "type mismatch: expected i32, found i64": "(drop (i32.load (i64.const 0)))",
}


@pytest.mark.parametrize("message", INVALID)
def test_indices_that_lead_nowhere_are_invalid(message: str) -> None:
    """What code generators and the interpreter take for granted."""
    text = f"""(module (memory 1) (table 1 funcref) (table 1 externref) (global i32 (i32.const 0))
      (elem func 0) (data "x") (func (param i32) {INVALID[message]}))"""
    with pytest.raises(ValidationError, match=message):
        Module(Engine(), text)


def test_memories_that_addresses_do_not_reach_are_invalid() -> None:
    for limits in ("65537", "1 65537", "4294967295"):
        with pytest.raises(ValidationError, match="memory size must be at most"):
            Module(Engine(), f"(module (memory {limits}))")


# ---- Python and WASI ----


def test_python_accesses_at_the_edges() -> None:
    store = Store()
    memory = Memory(store, MemoryType(Limits(1, 1)))
    size = 65536
    refused: list[tuple[Any, ...]] = [
        (memory.__getitem__, size),
        (memory.__getitem__, -size - 1),
        (memory.__setitem__, size, 0),
        (memory.write, store, b"12345678", size - 7),
        (memory.write, store, b"1", size),
        (memory.write, store, b"1" * (size + 1), 0),
        (memory.write, store, memoryview(b"a_b_c_d_")[::2], size - 3),
        (memory.write_array, store, [1, 2], size - 7, "u32"),
        (memory.write_utf8, store, "four", size - 3),
        (memory.write_utf8, store, "é", size - 1),
        (memory.read_utf8, store, size - 3, 4),
        (memory.read_utf8, store, 0, (1 << 64) - 1),
        (memory.read_utf8, store, -1, 1),
        (memory.read_array, store, size - 7, 2, "u32"),
        (memory.read_array, store, 0, 1 << 62, "u32"),
        (memory.read_array, store, 0, (1 << 61) + 1, "u64"),
        (memory.read_array, store, 0, -1, "u8"),
        (memory.get_buffer_ptr, store, size + 1),
        (memory.get_buffer_ptr, store, 2, size - 1),
        (memory.get_buffer_ptr, store, 1, -1),
        (memory.get_buffer_ptr, store, -1, 0),
    ]
    numbers = {"i8": 1, "u8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "f32": 4, "i64": 8, "u64": 8, "f64": 8}
    for name, width in numbers.items():
        value = 0.0 if name[0] == "f" else 0
        for start in (size - width + 1, size, -1, -width, 1 << 32, 1 << 63, (1 << 64) - 1, 1 << 70):
            refused.append((getattr(memory, f"read_{name}"), store, start))
            refused.append((getattr(memory, f"write_{name}"), store, value, start))
        getattr(memory, f"write_{name}")(store, value, size - width)
        assert getattr(memory, f"read_{name}")(store, size - width) == 0
    memory.write(store, b"x" * 32, size - 32)
    for access, *arguments in refused:
        with pytest.raises(IndexError):
            pytest.fail(f"{access.__name__}{arguments[1:]} gave {access(*arguments)!r}")
    for key in (slice(0, 10), slice(size - 4, size), slice(size - 4, size + 100), slice(0, 20, 2)):
        with pytest.raises(ValueError):
            memory[key] = b"x" * 20
    assert memory.read(store, size - 4, size + 100) == b"xxxx"
    assert memory[size - 4 : size + 100] == b"xxxx" and memory[size : size + 100] == b""
    assert bytes(memory.view(store, size - 4, 1 << 70)) == b"xxxx"


def test_an_array_of_another_size_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever made it: it is the array's own length that counts."""
    numpy = pytest.importorskip("numpy")
    store = Store()
    memory = Memory(store, MemoryType(Limits(1, 1)))
    empty = numpy.empty
    monkeypatch.setattr(numpy, "empty", lambda count, dtype: empty(count - 1, dtype))
    with pytest.raises(TypeError, match="another size"):
        memory.read_array(store, 0, 100, numpy.dtype("u4"))


@pytest.mark.parametrize("options", [{}, {"memory_reservation": 0}], ids=["stays", "moves"])
def test_wasi_sees_a_memory_that_grew(options: dict[str, Any]) -> None:
    """A program asks for random numbers at the old end of its memory, and at the new one."""
    engine = Engine(Config(tier="optimized", **CHECKED, **options))
    store, linker = Store(engine), Linker(engine)
    store.set_wasi(WasiConfig())
    linker.define_wasi()
    text = """(module
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (memory (export "memory") 1 9)
      (func (export "f") (param i32) (result i32) (call $random (local.get 0) (i32.const 16)))
      (func (export "grow") (drop (memory.grow (i32.const 1)))))"""
    exports: Any = linker.instantiate(store, Module(engine, text)).exports(store)
    fault = 21
    assert exports["f"](store, 65520) == 0 and exports["f"](store, 65521) == fault
    exports["grow"](store)
    assert exports["f"](store, 65536) == 0 and exports["f"](store, 131072 - 15) == fault
    assert exports["memory"].read(store, 65536, 65552) != bytes(16)
