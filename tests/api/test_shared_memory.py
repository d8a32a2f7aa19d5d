from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from wasmjit import ClosedError, Config, Engine, Limits, MemoryType, SharedMemory, WasmError

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
