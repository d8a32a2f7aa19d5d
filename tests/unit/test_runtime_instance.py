"""Images of initial contents, the pool of freed memories, and segments run by C."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native_code import GIB, Instance
from wasmjit import Config, Engine, Module, Store, Trap
from wasmjit import Instance as WasmInstance
from wasmjit.runtime.native import ffi, lib

PAGE = 65536
HOST_PAGE = mmap.PAGESIZE


def new_memory(store: Any, pages: int, image: Any = ffi.NULL, guard_bytes: int = 2 * GIB) -> Any:
    error = ffi.new("int *")
    made = lib.wj_memory_new_from_image(store, pages, 100, 16, 4 * GIB, guard_bytes, image, error)
    assert made != ffi.NULL, error[0]
    return made


def read(memory: Any, start: int, count: int) -> bytes:
    buffer = bytearray(count)
    assert lib.wj_memory_read(memory, start, ffi.from_buffer(buffer), count) == 0
    return bytes(buffer)


def new_image(contents: bytes, kind: str, tmp_path: Path) -> Any:
    """An image of a page that is for the second page of a memory."""
    contents = contents.ljust(PAGE, b"\0")
    if kind == "memfd":
        return lib.wj_image_new(PAGE, PAGE, contents)
    path = tmp_path / "contents"
    path.write_bytes(b"not this" * (HOST_PAGE // 8) + contents)
    with path.open("rb") as file:
        return lib.wj_image_of_file(file.fileno(), HOST_PAGE, PAGE, PAGE)


each_kind = pytest.mark.parametrize("kind", ["memfd", "file"])


def test_images_count_in_host_pages(tmp_path: Path) -> None:
    contents = bytes(2 * PAGE)
    (tmp_path / "contents").write_bytes(contents)
    with (tmp_path / "contents").open("rb") as file:
        for start, size in ((1, PAGE), (0, PAGE + 1)):
            assert lib.wj_image_new(start, size, contents) == ffi.NULL
            assert lib.wj_image_of_file(file.fileno(), 0, start, size) == ffi.NULL
        assert lib.wj_image_of_file(file.fileno(), 8, PAGE, PAGE) == ffi.NULL
    assert lib.wj_image_of_file(file_that_is_closed(), 0, PAGE, PAGE) == ffi.NULL
    lib.wj_image_free(ffi.NULL)


def file_that_is_closed() -> int:
    """A descriptor that stands for no file."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


@each_kind
def test_a_memory_shows_its_image_and_writes_to_itself(kind: str, tmp_path: Path) -> None:
    image = new_image(bytes(10) + b"hello", kind, tmp_path)
    with Instance() as owner:
        first, second = new_memory(owner.store, 3, image), new_memory(owner.store, 3, image)
        assert read(first, PAGE + 8, 9) == b"\0\0hello\0\0"
        assert lib.wj_memory_write(first, PAGE + 10, b"jelly", 5) == 0
        assert read(second, PAGE + 10, 5) == b"hello"
        assert read(first, 0, PAGE) == read(first, 2 * PAGE, PAGE) == bytes(PAGE)
        lib.wj_image_free(image)  # memories do not need it
        assert (read(first, PAGE + 10, 5), read(second, PAGE + 10, 5)) == (b"jelly", b"hello")
    with Instance() as owner:
        assert read(new_memory(owner.store, 3), 0, 3 * PAGE) == bytes(3 * PAGE)


@each_kind
def test_a_used_memory_shows_its_image_again(kind: str, tmp_path: Path) -> None:
    image = new_image(b"hello", kind, tmp_path)
    for _ in range(3):
        with Instance() as owner:
            memory = new_memory(owner.store, 3, image)
            assert read(memory, PAGE, 6) == b"hello\0"
            assert lib.wj_memory_write(memory, PAGE, b"jelly", 5) == 0
    lib.wj_image_free(image)


@each_kind
def test_an_image_that_does_not_fit_is_not_mapped(kind: str, tmp_path: Path) -> None:
    image = new_image(b"x", kind, tmp_path)
    with Instance() as owner:
        memory = new_memory(owner.store, 1, image)
        assert lib.wj_memory_size_bytes(memory) == PAGE
        assert lib.wj_memory_grow(memory, 1) == 1
        assert read(memory, PAGE, 1) == b"\0"
    lib.wj_image_free(image)


@pytest.mark.parametrize("pages", [(5, 1), (1, 5), (3, 3), (0, 2)])
def test_freed_memories_come_back_empty(pages: tuple[int, int]) -> None:
    for _ in range(3):
        for count in pages:
            with Instance() as owner:
                memory = new_memory(owner.store, count)
                assert read(memory, 0, count * PAGE) == bytes(count * PAGE)
                assert lib.wj_memory_grow(memory, 2) == count
                assert read(memory, count * PAGE, 2 * PAGE) == bytes(2 * PAGE)
                dirt = b"\xff" * ((count + 2) * PAGE)
                assert lib.wj_memory_write(memory, 0, dirt, len(dirt)) == 0


def accessible_bytes(start: int) -> int:
    """How much from `start` on can be read, by the kernel's map of the process."""
    end = start
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            if first <= end < last and line.split()[1].startswith("rw"):
                end = last
    return end - start


def test_a_reused_mapping_is_accessible_as_far_as_the_memory_goes() -> None:
    for count in (7, 1, 4, 0, 3):
        with Instance() as owner:
            memory = new_memory(owner.store, count)
            assert accessible_bytes(lib.wj_memory_base(memory)) == count * PAGE


def mapped_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * mmap.PAGESIZE


def test_the_pool_is_bounded() -> None:
    before = mapped_bytes()
    with Instance() as owner:
        for _ in range(100):
            new_memory(owner.store, 1)
        assert mapped_bytes() - before > 600 * GIB
    assert mapped_bytes() - before <= 17 * 9 * GIB


def test_threads_share_the_pool() -> None:
    failures: list[str] = []

    def work(mark: bytes) -> None:
        for _ in range(150):
            with Instance() as owner:
                memories = [new_memory(owner.store, 2) for _ in range(3)]
                for memory in memories:
                    if read(memory, 0, 2 * PAGE) != bytes(2 * PAGE):
                        failures.append("not empty")
                    lib.wj_memory_write(memory, 1000, mark * 100, 100)
                if any(read(memory, 1000, 100) != mark * 100 for memory in memories):
                    failures.append("shared")

    threads = [threading.Thread(target=work, args=(bytes([65 + i]),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_forked_child_has_its_own_memories() -> None:
    with Instance() as owner:
        lib.wj_memory_write(new_memory(owner.store, 1), 0, b"parent", 6)
    child = os.fork()
    if child == 0:
        with Instance() as owner:
            memory = new_memory(owner.store, 1)
            good = read(memory, 0, 6) == bytes(6)
            lib.wj_memory_write(memory, 0, b"child", 5)
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    with Instance() as owner:
        assert read(new_memory(owner.store, 1), 0, 6) == bytes(6)


# ---- segments: constant offsets run in C, others are evaluated in Python; both do the same ----

SEGMENTS = """(module (global $zero (import "" "zero") i32) (import "" "host" (func $host (result i32)))
  (memory (export "m") 1) (table $t (export "t") 10 funcref) (table $e (export "e") 2 externref)
  (elem (table $t) ({offset} {two}) func $host $one $two) (elem (table $t) ({offset} {five}) funcref (ref.null func))
  (elem $p func $two $host) (elem declare func $one)
  (data ({offset} {two}) "abc") (data $d "passive") (data ({offset} {four}) "over")
  (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
  (func (export "init") (table.init $t $p (i32.const 7) (i32.const 0) (i32.const 2))
    (memory.init $d (i32.const 100) (i32.const 0) (i32.const 7)) (data.drop $d) (elem.drop $p))
  (func (export "active") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1))))"""


@pytest.mark.parametrize("constant", [True, False])
def test_segments(constant: bool) -> None:
    import wasmjit

    numbers = {"offset": "i32.const", "two": 2, "four": 4, "five": 5}
    if not constant:
        sums = {name: f"(global.get $zero) (i32.const {value})" for name, value in list(numbers.items())[1:]}
        numbers = {"offset": "i32.add", **sums}
    engine = Engine(Config(opt_level="none"))
    module = Module(engine, SEGMENTS.format(**numbers))
    assert (module._load().plan.elements is not None) == constant
    i32 = wasmjit.ValType.i32()
    for _ in range(3):
        with Store(engine) as store:
            zero = wasmjit.Global(store, wasmjit.GlobalType(i32, False), 0)
            host = wasmjit.Func(store, wasmjit.FuncType([], [i32]), lambda: 7)
            exports = WasmInstance(store, module, [zero, host]).exports(store)
            table = exports["t"]

            def call_all(table: Any = table, store: Store = store) -> list[int | None]:
                found = [table.get(store, index) for index in range(10)]
                return [None if function == None else function(store) for function in found]  # noqa: E711  # a null is a Val

            assert call_all() == [None, None, 7, 1, 2, None, None, None, None, None]
            assert exports["m"].read(store, 0, 10) == b"\0\0abover\0\0"
            exports["init"](store)
            assert call_all()[7:] == [2, 7, None]
            assert exports["m"].read(store, 100, 107) == b"passive"
            for name in ("init", "active"):  # all are dropped now
                with pytest.raises(Trap, match="out of bounds"):
                    exports[name](store)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("(elem (i32.const 3) func $f)", "out of bounds table access"),
        ("(elem (i32.const -1) func)", "out of bounds table access"),
        ('(data (i32.const 65535) "ab")', "out of bounds memory access"),
        ('(data (i32.const -1) "")', "out of bounds memory access"),
    ],
)
def test_segments_before_one_that_does_not_fit_stay(segment: str, message: str) -> None:
    import wasmjit

    engine = Engine(Config(opt_level="none"))
    with Store(engine) as store:
        memory = wasmjit.Memory(store, wasmjit.MemoryType(wasmjit.Limits(1, 1)))
        table = wasmjit.Table(store, wasmjit.TableType(wasmjit.ValType.funcref(), wasmjit.Limits(3, 3)), None)
        text = f"""(module (import "" "" (memory 1)) (import "" "" (table 3 funcref))
          (elem (i32.const 1) func $f) {segment} (data (i32.const 5) "later") (func $f))"""
        with pytest.raises(Trap, match=message):
            WasmInstance(store, Module(engine, text), [memory, table])
        assert table.get(store, 1)(store) is None
        assert memory.read(store, 5, 10) == (b"later" if "table" in message and "data" in segment else bytes(5))
