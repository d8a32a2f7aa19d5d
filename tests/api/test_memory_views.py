"""What views of a memory promise: they share its bytes, never dangle, and end with `Store.close` or stop it."""

from __future__ import annotations

import array
import ctypes
import gc
import re
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wasmjit import (
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Limits,
    Memory,
    MemoryType,
    Module,
    Store,
    WasmError,
)

PAGE = 65536
RELEASED = "operation forbidden on released memoryview object"
IN_USE = "store cannot be closed: a view of 65536 bytes of its memory at 0x[0-9a-f]+ is in use"
POLICIES: list[dict[str, Any]] = [{}, {"signals_based_traps": False}, {"memory_reservation": 0}]


def new(engine: Engine | None = None) -> tuple[Store, Memory]:
    store = Store(engine)
    return store, Memory(store, MemoryType(Limits(1, None)))


@pytest.fixture(params=POLICIES, ids=lambda options: next(iter(options), "guarded"))
def pair(request: pytest.FixtureRequest) -> tuple[Store, Memory]:
    return new(Engine(Config(opt_level="none", **request.param)))


def test_close_releases_views(pair: tuple[Store, Memory]) -> None:
    store, memory = pair
    views = [memory.view(store) for _ in range(3)]
    views[1].release()
    store.close()
    for view in views:
        for use in (lambda v: v[0], lambda v: v.__setitem__(0, 1), bytes, lambda v: v[1:], memoryview, len):
            with pytest.raises(ValueError, match=RELEASED):
                use(view)


def test_views_of_a_part(pair: tuple[Store, Memory]) -> None:
    store, memory = pair
    for start, stop in [(5, 9), (0, None), (-4, None), (-4, -2), (9, 5), (None, 3), (PAGE, None), (-(10**30), 10**30)]:
        whole = memory.view(store)
        with memory.view(store, start, stop) as view:
            assert view.nbytes == len(whole[start:stop])
            if view.nbytes:
                view[0] += 1
                assert view == whole[start:stop]
    words = memory.view(store, start=8, stop=16).cast("I")
    words[1] = 77
    assert memory.read_u32(store, 12) == 77
    words.release()
    part = memory.view(store, 4)
    store.close()
    with pytest.raises(ValueError, match=RELEASED):
        part[0]


def released_after_slicing(view: memoryview[int]) -> memoryview[int]:
    part = view[:4]
    view.release()
    return part


def test_a_view_in_use_stops_close_and_nothing_is_closed(pair: tuple[Store, Memory]) -> None:
    numpy = pytest.importorskip("numpy")
    store, memory = pair
    plain, used, part = memory.view(store), memory.view(store), memory.view(store, 8, 16)
    users = {
        "numpy": lambda: numpy.frombuffer(used, dtype="<u4"),
        "numpy of a slice": lambda: numpy.frombuffer(used[4:8], dtype="<u4"),
        "numpy asarray": lambda: numpy.asarray(used)[::4],
        "a slice": lambda: used[4:8],
        "a slice of a released view": lambda: released_after_slicing(memory.view(store)),
        "ctypes": lambda: (ctypes.c_ubyte * 4).from_buffer(used),
        "of the exporter": lambda: numpy.frombuffer(used.obj, dtype="<u4"),
    }
    for name, make in users.items():
        user = make()
        with pytest.raises(BufferError, match=IN_USE):
            store.close()
        plain[0], part[0] = 5, 6
        assert memory.read(store, 0, 9) == b"\5" + bytes(7) + b"\6", name
        assert user[0] is not None
        del user
    store.close()
    for view in (plain, used, part):
        with pytest.raises(ValueError, match=RELEASED):
            view[0]


def test_the_with_statement_says_it_too() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(BufferError, match=IN_USE), Store() as store:
        words = numpy.frombuffer(Memory(store, MemoryType(Limits(1))).view(store), dtype="<u4")
    words[1] = 3
    del words
    store.close()
    with pytest.raises(ClosedError):
        store.data()


def test_the_address_of_a_released_view_stays_mapped(pair: tuple[Store, Memory]) -> None:
    """Some libraries (torch) keep the memoryview and use its address without holding the buffer."""
    store, memory = pair
    memory.write(store, b"x")
    view = memory.view(store)
    address = ctypes.addressof(ctypes.c_ubyte.from_buffer(view))
    store.close()
    del store, memory, pair
    gc.collect()
    others = [new() for _ in range(20)]  # would take a mapping that was given back
    assert ctypes.c_ubyte.from_address(address).value == ord("x")
    del view, others


def test_closing_while_code_runs_leaves_views_alone() -> None:
    store, memory = new()
    view = memory.view(store)
    errors: list[BaseException] = []

    def close() -> None:
        try:
            store.close()
        except WasmError as error:
            errors.append(error)

    module = Module(store.engine, '(module (import "" "f" (func)) (func (export "run") (call 0)))')
    Instance(store, module, [Func(store, FuncType([], []), close)]).exports(store)["run"](store)
    assert [str(error) for error in errors] == ["store cannot be closed while its code is running"]
    view[0] = 1
    assert memory.read(store, 0, 1) == b"\1"
    store.close()


def test_pointers_of_the_compatible_api_do_not_stop_close(pair: tuple[Store, Memory]) -> None:
    store, memory = pair
    buffer, pointer = memory.get_buffer_ptr(store), memory.data_ptr(store)
    outer = memoryview(buffer).cast("B")
    store.close()
    del store, memory
    gc.collect()
    pointer[3] = 9
    assert buffer[3] == outer[3] == 9


def test_a_collected_store_stays_alive_through_its_views(pair: tuple[Store, Memory]) -> None:
    numpy = pytest.importorskip("numpy")
    store, memory = pair
    view, words = memory.view(store)[:100], numpy.frombuffer(memory.view(store), dtype="<u4")
    memory.write(store, b"here")
    del store, memory, pair
    gc.collect()
    others = [new() for _ in range(20)]  # would take a mapping that was given back
    assert bytes(view[:4]) == b"here" and words[0] == int.from_bytes(b"here", "little")
    view[0] = 1
    assert words[0] & 0xFF == 1
    del others


def test_a_view_used_by_a_finalizer_in_a_cycle_with_its_store() -> None:
    """The garbage collector finalizes objects of a cycle in any order, the store perhaps before those that use it."""
    seen: list[int] = []

    class Late:
        def __init__(self) -> None:
            self.store, self.memory = new()
            self.view, self.buffer = self.memory.view(self.store), self.memory.get_buffer_ptr(self.store)
            self.native = self.store._record.native
            self.other: Any = None

        def __del__(self) -> None:
            seen.append(self.view[0] + self.buffer[0])

    for _ in range(20):
        first, second = Late(), Late()
        first.other, second.other = second, first
        first.memory.write(first.store, b"\1")
        first.function = Func(first.store, FuncType([], []), lambda f=first: None)  # type: ignore[attr-defined]
        del first, second
    gc.collect()
    assert sorted(seen) == [0] * 20 + [2] * 20


def test_a_handle_made_after_close() -> None:
    """An export's handle is made when it is asked for: the C memory may be gone by then."""
    store = Store(Engine(Config(opt_level="none")))
    exports = Instance(store, Module(store.engine, '(module (memory (export "m") 1))'), []).exports(store)
    store.close()
    memory = exports["m"]
    uses: list[Any] = [
        lambda: memory.read(store),
        lambda: memory[0],
        lambda: memory.view(store),
        lambda: memory.grow(store, 1),
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="store is closed"):
            use()


def test_views_stay_valid_over_growth_by_code_and_host() -> None:
    numpy = pytest.importorskip("numpy")
    store = Store(Engine(Config(opt_level="none")))
    text = """(module (memory (export "m") 1) (func (export "grow") (param i32) (drop (memory.grow (local.get 0))))
    (func (export "put") (param i32 i32) (i32.store (local.get 0) (local.get 1))))"""
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    memory = exports["m"]
    words = numpy.frombuffer(memory.view(store), dtype="<u4")
    exports["grow"](store, 500)
    memory.grow(store, 500)
    exports["put"](store, 4, 77)
    assert words[1] == 77
    words[2] = 78
    assert memory.read_u32(store, 8) == 78
    assert len(memory.view(store)) == 1001 * PAGE and words.size == PAGE // 4


def test_views_with_struct_and_array(pair: tuple[Store, Memory]) -> None:
    store, memory = pair
    struct.pack_into("<If", memory.view(store), 12, 5, 0.5)
    assert struct.unpack_from("<If", memory.view(store), 12) == (5, 0.5)
    assert memory.read_u32(store, 12) == 5 and memory.read_f32(store, 16) == 0.5
    view = memory.view(store)
    assert (view.format, view.itemsize, view.ndim, view.c_contiguous, view.readonly) == ("B", 1, 1, True, False)
    view[0:6] = array.array("H", [1, 2, 3]).tobytes()
    assert memory.read_array(store, 0, 3, "u16").tolist() == [1, 2, 3]


def test_closing_from_another_thread_while_a_view_is_read() -> None:
    for _ in range(20):
        store, memory = new()
        view = memory.view(store)
        closer = threading.Thread(target=store.close)
        closer.start()
        with pytest.raises(ValueError, match=RELEASED):
            while True:
                view[5] = view[4]
        closer.join()


def test_a_memory_that_moves_under_readers_and_writers() -> None:
    """Growth runs without the GIL: a copy of another thread may not touch what is unmapped meanwhile."""
    store, memory = new(Engine(Config(opt_level="none", memory_reservation=0)))
    memory.write(store, b"x" * PAGE)
    stop, failures = threading.Event(), []

    def use() -> None:
        strided = memoryview(bytes(2 * PAGE))[::2]
        while not stop.is_set():
            if memory.read(store, 1, PAGE - 1) != b"x" * (PAGE - 2) or memory[0] != ord("x"):
                failures.append("other bytes")
            if memory.read_utf8(store, 0, 100) != "x" * 100 or memory.view(store)[7] != ord("x"):
                failures.append("other text")
            memory.write(store, strided[: PAGE // 2], PAGE)
            memory[PAGE : 2 * PAGE : 2] = bytes(PAGE // 2)

    memory.grow(store, 1)
    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and memory.size(store) < 200:
        memory.grow(store, 1)
    stop.set()
    for user in users:
        user.join()
    assert not failures and memory.size(store) == 200


def test_views_at_the_end_of_the_process(root: Path) -> None:
    """At interpreter exit objects go in no particular order."""
    program = """
    import wasmjit, atexit
    from wasmjit import Limits, Memory, MemoryType, Store
    stores = [Store() for _ in range(3)]
    memories = [Memory(store, MemoryType(Limits(1))) for store in stores]
    views = [memory.view(store) for store, memory in zip(stores, memories)]
    slices = [view[4:] for view in views]
    array = memories[0].get_buffer_ptr(stores[0])
    class Late:
        view = views[0]
        def __del__(self): self.view[0] = 1
    late = Late(); late.me = late
    del slices[1]
    stores[1].close()
    del stores[2]
    print("done")
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "done\n", "")


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_nothing_leaks_in_a_hundred_thousand_calls(pair: tuple[Store, Memory]) -> None:
    store, memory = pair
    record, data, text = store._record, bytearray(b"some data" * 20), "żółć"
    numbers = array.array("I", [1, 2, 3])

    def use() -> None:
        memory.read(store, 1000, 5000)
        memory.write(store, data, 5)
        memory.write(store, memoryview(data)[::3], start=5)
        memory[9:20] = data[:11]
        memory[9], memory[3:7:2], memory[-1]
        memory.read_u64(store, 8), memory.read_f64(store, start=8)
        memory.write_i64(store, -(1 << 63), 8)
        memory.write_f32(store, 0.1, 8)
        memory.read_str(store, 0, memory.write_str(store, text, 0))
        memory.read_array(store, 8, 20, "i16")
        memory.write_array(store, numbers, 8)
        memory.write_array(store, [1, 2, 3], 8, "u8")
        memory.view(store)[5:9][0]
        for wrong in (
            lambda: memory.read_u8(store, -1),
            lambda: memory.write(store, data, PAGE),
            lambda: memory.write_u8(store, 256, 0),
            lambda: memory.write_array(store, [1, "2"], 8, "u8"),
            lambda: memory.read(store, "1"),  # type: ignore[arg-type]
            lambda: memory.size(3),  # type: ignore[arg-type]
            lambda: memory.read(store, nothing=3),  # type: ignore[call-arg]
        ):
            try:
                wrong()
            except (IndexError, OverflowError, TypeError):
                continue
            raise AssertionError("no error")

    objects = (store, memory, record, data, text, numbers, store._record.native, None, Memory, type(memory).__base__)
    for _ in range(500):
        use()
    gc.collect()
    counts = [sys.getrefcount(item) for item in objects]
    before = resident_bytes()
    for _ in range(5000):  # of twenty calls
        use()
    gc.collect()
    after = [sys.getrefcount(item) for item in objects]
    assert [abs(new - old) < 10 for new, old in zip(after, counts, strict=True)] == [True] * len(objects)
    assert resident_bytes() - before < 2_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_handles_and_views_of_many_stores_leak_nothing() -> None:
    engine = Engine(Config(opt_level="none"))

    def use() -> None:
        store, memory = new(engine)
        memory.view(store)[0] = 1
        kept = memory.view(store)
        memory.__init__(store, MemoryType(Limits(1)))  # type: ignore[misc]
        pointer = memory.data_ptr(store)
        store.close()
        assert pointer[0] == 0
        del kept

    for _ in range(300):
        use()
    gc.collect()
    before = resident_bytes()
    for _ in range(3000):
        use()
    gc.collect()
    assert resident_bytes() - before < 4_000_000
