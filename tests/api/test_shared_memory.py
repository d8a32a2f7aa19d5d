from __future__ import annotations

import gc
import threading
from typing import Any, get_args

import pytest

from wasmjit import ClosedError, Config, Engine, Limits, MemoryType, SharedMemory, WaitResult, WasmError
from wasmjit.runtime.shared_memory import IntegerType

PAGE = 65536


@pytest.fixture
def engine() -> Engine:
    return Engine(Config(shared_memory=True))


def test_they_need_their_option() -> None:
    with pytest.raises(WasmError, match="shared memory support is disabled for this engine"):
        SharedMemory(Engine(), MemoryType(Limits(1, 4), shared=True))


@pytest.fixture
def memory(engine: Engine) -> SharedMemory:
    return SharedMemory(engine, MemoryType(Limits(1, 4), shared=True))


def test_sizes_and_growth(memory: SharedMemory) -> None:
    assert (memory.size(), memory.data_len()) == (1, PAGE)
    assert memory.type() == MemoryType(Limits(1, 4), shared=True)
    assert memory.grow(2) == 1
    assert (memory.size(), memory.data_len()) == (3, 3 * PAGE)
    assert memory.grow(0) == 3
    for delta in (2, 1 << 32, 1 << 64, 1 << 70):
        with pytest.raises(WasmError, match=f"failed to grow memory by `{delta}`"):
            memory.grow(delta)
    with pytest.raises(WasmError, match="cannot grow by negative amount"):
        memory.grow(-1)
    with pytest.raises(TypeError, match="expected an int"):
        memory.grow(1.0)  # type: ignore[arg-type]
    assert memory.size() == 3


def test_it_never_moves(memory: SharedMemory) -> None:
    pointer, view = memory.data_ptr(), memory.view()
    pointer[7] = 9
    assert view[7] == 9 and len(view) == PAGE
    memory.grow(3)
    view[8] = 10
    assert memory.data_ptr()[8] == 10
    grown = memory.view()
    grown[4 * PAGE - 1] = 1
    assert len(grown) == 4 * PAGE and bytes(grown[6:10]) == b"\0\x09\x0a\0"


def test_views_outlive_it(memory: SharedMemory) -> None:
    view, pointer = memory.view(), memory.data_ptr()
    view[0] = 3
    memory.close()
    memory.close()
    gc.collect()
    assert view[0] == pointer[0] == 3
    uses: list[Any] = [memory.size, memory.data_len, memory.data_ptr, memory.view, memory.type, lambda: memory.grow(0)]
    for use in uses:
        with pytest.raises(ClosedError, match="sharedmemory is closed"):
            use()


def test_threads_grow_it_together(engine: Engine) -> None:
    memory = SharedMemory(engine, MemoryType(Limits(0, 400), shared=True))
    previous: list[int] = []
    threads = [threading.Thread(target=lambda: previous.extend(memory.grow(1) for _ in range(100))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(previous) == list(range(400)) and memory.size() == 400


def test_other_page_sizes_and_address_types(engine: Engine) -> None:
    small = SharedMemory(engine, MemoryType(Limits(3, 9), shared=True, page_size_log2=0))
    assert (small.data_len(), small.grow(6), small.size()) == (3, 3, 9)
    assert SharedMemory(engine, MemoryType(Limits(1, 2), is_64=True, shared=True)).type().is_64
    assert SharedMemory(engine, MemoryType(Limits(0, 0), shared=True)).data_len() == 0


def test_errors(engine: Engine) -> None:
    with pytest.raises(WasmError, match="must have the `shared` flag"):
        SharedMemory(engine, MemoryType(Limits(1, 2)))
    with pytest.raises(WasmError, match="cannot reserve a shared memory"):
        SharedMemory(engine, MemoryType(Limits(1, 1 << 47), is_64=True, shared=True))
    with pytest.raises(TypeError, match="expected an Engine"):
        SharedMemory(3, MemoryType(Limits(1, 2), shared=True))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a MemoryType"):
        SharedMemory(engine, Limits(1, 2))  # type: ignore[arg-type]
    closed = Engine()
    closed.close()
    with pytest.raises(ClosedError):
        SharedMemory(closed, MemoryType(Limits(1, 2), shared=True))


# ---- atomic accesses ----


@pytest.mark.parametrize("type", get_args(IntegerType))
def test_numbers_of_each_type(memory: SharedMemory, type: IntegerType) -> None:
    bits = int(type[1:])
    low = -(1 << (bits - 1)) if type[0] == "i" else 0
    high, size = low + (1 << bits) - 1, bits // 8
    view = memory.view()
    view[: 3 * size] = b"\xa5" * (3 * size)
    memory.store(size, high, type)
    assert memory.load(size, type) == high
    assert (memory.add(size, 1, type), memory.load(size, type)) == (high, low)
    assert (memory.add(size, -1, type), memory.load(size, type)) == (low, high)
    assert (memory.compare_exchange(size, low, 5, type), memory.load(size, type)) == (high, high)
    assert (memory.compare_exchange(size, high, 5, type), memory.load(size, type)) == (high, 5)
    memory.store(size, (1 << bits) - 1, type)  # read as unsigned
    memory.store(size, -(1 << (bits - 1)), type)  # and as signed
    around = view[:size].tobytes() + view[2 * size : 3 * size].tobytes()
    assert view[size : 2 * size] == (1 << (bits - 1)).to_bytes(size, "little") and set(around) == {0xA5}
    for value in (1 << bits, -(1 << (bits - 1)) - 1, 1 << 70):
        for call in (memory.store, memory.add):
            with pytest.raises(OverflowError, match=f"does not fit {type}"):
                call(0, value, type)
    for address in (PAGE, PAGE - size + 1, -size, 1 << 63, 1 << 64):
        with pytest.raises(IndexError, match="index out of range"):
            memory.load(address, type)
    if size > 1:
        with pytest.raises(ValueError, match=f"address 1 is no multiple of {size}"):
            memory.store(1, 0, type)
    memory.grow(1)
    assert memory.load(PAGE, type) == 0


def test_arguments_of_atomic_accesses(memory: SharedMemory) -> None:
    wrong: Any = 1.0
    for call in (
        lambda: memory.load(wrong),
        lambda: memory.add(0, wrong),
        lambda: memory.compare_exchange(0, 0, wrong),
        lambda: memory.atomic_notify(0, wrong),
        lambda: memory.atomic_wait32(0, wrong),
        lambda: memory.atomic_wait32(0, 0, "1"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()
    for type in ("f32", "i128", ""):
        with pytest.raises(ValueError, match="expected a type"):
            memory.load(0, type)  # type: ignore[arg-type]
    with pytest.raises(OverflowError, match="does not fit u32"):
        memory.atomic_notify(0, -1)
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="must not be negative"):
            memory.atomic_wait32(0, 0, timeout)
    for address, error in ((PAGE, IndexError), (-4, IndexError), (2, ValueError)):
        for wait in (lambda at: memory.atomic_wait32(at, 0, 0), lambda at: memory.atomic_wait64(at, 0, 0)):
            with pytest.raises(error):
                wait(address)
        with pytest.raises(error):
            memory.atomic_notify(address)
    with pytest.raises(ValueError, match="no multiple of 8"):
        memory.atomic_wait64(4, 0, 0)
    memory.close()
    for closed in (lambda: memory.load(0), lambda: memory.atomic_notify(0), lambda: memory.atomic_wait32(0, 0)):
        with pytest.raises(ClosedError):
            closed()


def test_what_waiting_returns(memory: SharedMemory) -> None:
    memory.store(8, -1, "i64")
    assert memory.atomic_wait32(8, 0) is memory.atomic_wait64(8, 1 << 32) is WaitResult.MISMATCH
    assert memory.atomic_wait32(8, 0xFFFFFFFF, 0) is memory.atomic_wait64(8, -1, 0.001) is WaitResult.TIMED_OUT
    assert memory.atomic_notify(8) == 0
