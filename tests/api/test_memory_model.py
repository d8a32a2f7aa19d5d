"""Random accesses of a Memory do what the same accesses of a bytearray do, and raise where those would not fit."""

from __future__ import annotations

import array
import struct
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmjit import Config, Engine, Limits, Memory, MemoryType, Store

PAGE = 65536
KINDS = {"i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q"}
FLOATS = {"f32": "f", "f64": "d"}
ENGINES = {
    "guarded": Engine(Config(opt_level="none")),
    "moving": Engine(Config(opt_level="none", memory_reservation=0)),
}

bounds = st.one_of(
    st.none(), st.integers(-40, 40), st.integers(PAGE - 40, PAGE + 40), st.integers(), st.integers(-PAGE - 9, -PAGE + 9)
)
addresses = st.one_of(st.integers(-3, 40), st.integers(PAGE - 40, PAGE + 3), st.integers())
data = st.binary(max_size=60)
# Of any characters but halves of pairs. `st.text` would first sort all there are into classes, which takes seconds.
characters = st.integers(0, sys.maxunicode).filter(lambda code: not 0xD800 <= code < 0xE000).map(chr)
texts = st.lists(st.one_of(st.sampled_from("a\0\x7f\x80\u07ff\u0800\uffff\U00010000"), characters)).map("".join)
steps = st.integers(-5, 5).filter(bool)
kinds = st.sampled_from(sorted(KINDS))


def strided(content: bytes) -> memoryview:
    """The same bytes with gaps between them."""
    doubled = bytearray(2 * len(content))
    doubled[::2] = content
    return memoryview(doubled)[::2]


buffers = st.sampled_from([bytes, bytearray, memoryview, strided, lambda content: array.array("b", content), list])


class Pair:
    """A memory and its model."""

    def __init__(self, kind: str) -> None:
        self.store = Store(ENGINES[kind])
        self.memory = Memory(self.store, MemoryType(Limits(1, 2)))
        self.model = bytearray(self.memory.read(self.store))

    def check(self) -> None:
        assert self.memory.read(self.store) == self.model == self.memory.view(self.store)


@pytest.fixture(scope="module", params=ENGINES)
def pair(request: pytest.FixtureRequest) -> Pair:
    pair = Pair(request.param)
    content = bytes(n * 37 & 0xFF for n in range(PAGE))
    pair.memory.write(pair.store, content)
    pair.model[:] = content
    return pair


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the class of what it raises."""
    try:
        return call()
    except (IndexError, ValueError, OverflowError) as error:
        return type(error)


@given(start=bounds, stop=bounds, step=steps)
@settings(max_examples=150, deadline=None)
def test_reads(pair: Pair, start: int | None, stop: int | None, step: int) -> None:
    memory, store, model = pair.memory, pair.store, pair.model
    assert memory.read(store, start, stop) == memory[start:stop] == model[start:stop]
    assert memory.view(store, start, stop) == model[start:stop]
    assert memory[start:stop:step] == model[start:stop:step]
    if start is not None:
        assert outcome(lambda: memory[start]) == outcome(lambda: model[start])


@given(start=bounds, content=data, make=buffers)
@settings(max_examples=100, deadline=None)
def test_write(pair: Pair, start: int | None, content: bytes, make: Callable[[bytes], Any]) -> None:
    begin = slice(start, None).indices(PAGE)[0]
    fits = begin < PAGE and begin + len(content) <= PAGE
    assert outcome(lambda: pair.memory.write(pair.store, make(content), start)) == (
        len(content) if fits else IndexError
    )
    if fits:
        pair.model[begin : begin + len(content)] = content
    pair.check()


@given(start=bounds, stop=bounds, step=steps, content=data, make=buffers, exact=st.booleans())
@settings(max_examples=100, deadline=None)
def test_assignments(
    pair: Pair,
    start: int | None,
    stop: int | None,
    step: int,
    content: bytes,
    make: Callable[[bytes], Any],
    exact: bool,
) -> None:
    length = len(range(*slice(start, stop, step).indices(PAGE)))
    if exact:
        content = (content * (length // (len(content) or 1) + 1))[:length]
    error = outcome(lambda: pair.memory.__setitem__(slice(start, stop, step), make(content)))
    assert error is (None if len(content) == length else ValueError)
    if error is None:
        pair.model[start:stop:step] = content
    if start is not None:
        assert outcome(lambda: pair.memory.__setitem__(start, 7)) == outcome(lambda: pair.model.__setitem__(start, 7))
    pair.check()


@given(kind=kinds, value=st.one_of(st.integers(-(1 << 65), 1 << 65), st.integers(-300, 300)), start=addresses)
@settings(max_examples=200, deadline=None)
def test_integers(pair: Pair, kind: str, value: int, start: int) -> None:
    memory, store = pair.memory, pair.store
    letter, size = KINDS[kind], struct.calcsize(KINDS[kind])
    fits_type = -(1 << 8 * size - 1) <= value < 1 << 8 * size
    fits_memory = 0 <= start <= PAGE - size
    expected = None if fits_type and fits_memory else IndexError if fits_type else OverflowError
    assert outcome(lambda: getattr(memory, f"write_{kind}")(store, value, start)) is expected
    if expected is None:
        pair.model[start : start + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    found = outcome(lambda: getattr(memory, f"read_{kind}")(store, start))
    assert found == (struct.unpack_from("<" + letter, pair.model, start)[0] if fits_memory else IndexError)
    pair.check()


@given(kind=st.sampled_from(sorted(FLOATS)), value=st.floats(), start=addresses)
@settings(max_examples=100, deadline=None)
def test_floats(pair: Pair, kind: str, value: float, start: int) -> None:
    memory, store = pair.memory, pair.store
    packed = outcome(lambda: struct.pack("<" + FLOATS[kind], value))
    size = struct.calcsize(FLOATS[kind])
    fits_memory = 0 <= start <= PAGE - size
    expected = packed if packed is OverflowError else None if fits_memory else IndexError
    assert outcome(lambda: getattr(memory, f"write_{kind}")(store, value, start)) is expected
    if expected is None:
        pair.model[start : start + size] = packed
        found = getattr(memory, f"read_{kind}")(store, start)
        assert found == struct.unpack("<" + FLOATS[kind], packed)[0] or value != value
    pair.check()


@given(text=texts, start=addresses)
@settings(max_examples=100, deadline=None)
def test_text(pair: Pair, text: str, start: int) -> None:
    encoded = text.encode()
    fits = 0 <= start <= PAGE - len(encoded)
    for write, read in (("write_str", "read_str"), ("write_utf8", "read_utf8")):
        written = outcome(lambda write=write: getattr(pair.memory, write)(pair.store, text, start))
        assert written == (len(encoded) if fits else IndexError)
        found = outcome(lambda read=read: getattr(pair.memory, read)(pair.store, start, len(encoded)))
        assert found == (text if fits else IndexError)
    if fits:
        pair.model[start : start + len(encoded)] = encoded
    pair.check()


@given(kind=kinds, values=st.lists(st.integers(-(1 << 33), 1 << 33), max_size=9), start=addresses)
@settings(max_examples=150, deadline=None)
def test_arrays(pair: Pair, kind: str, values: list[int], start: int) -> None:
    memory, store = pair.memory, pair.store
    made = outcome(lambda: array.array(KINDS[kind], values))
    if made is OverflowError:
        assert outcome(lambda: memory.write_array(store, values, start, kind)) is OverflowError
        return
    size = len(values) * made.itemsize
    fits = 0 <= start <= PAGE - size
    wide = array.array("q", values)
    for given_values, type in ((values, kind), (made, kind), (made, None), (wide, kind), (iter(values), kind)):
        written = outcome(lambda v=given_values, t=type: memory.write_array(store, v, start, t))
        assert written == (size if fits else IndexError)
        assert outcome(lambda: memory.read_array(store, start, len(values), kind)) == (made if fits else IndexError)
    if fits:
        pair.model[start : start + size] = made.tobytes()
    pair.check()


def test_numpy_arrays(pair: Pair) -> None:
    numpy = pytest.importorskip("numpy")
    memory, store = pair.memory, pair.store
    matrix = numpy.arange(12, dtype="<u4").reshape(3, 4)
    memory.write(store, matrix, 100)
    pair.model[100:148] = matrix.tobytes()
    assert memory.write_array(store, matrix[:, ::2], 200) == 24
    pair.model[200:224] = matrix[:, ::2].tobytes()
    memory[300:324] = matrix.T[1:3]
    pair.model[300:324] = matrix.T[1:3].tobytes()
    memory[400:496:2] = matrix.T
    pair.model[400:496:2] = matrix.T.tobytes()
    assert memory.write_array(store, matrix, 500, numpy.float64) == 96
    pair.model[500:596] = matrix.astype("<f8").tobytes()
    pair.check()
    found = memory.read_array(store, 100, 12, numpy.uint32)
    assert isinstance(found, numpy.ndarray) and (found == numpy.arange(12)).all() and found.dtype == numpy.uint32
    assert memory.read_array(store, 500, 12, "f64").tolist() == list(range(12))
    record = numpy.dtype([("Object", "<u2"), ("b", "<f4")])
    assert memory.read_array(store, 100, 3, record)["Object"].tolist() == [0, 0, 3]
    assert memory.write_array(store, numpy.zeros(2, record), 100) == 12
    pair.model[100:112] = bytes(12)
    assert memory.read_array(store, 100, 3, numpy.dtype((numpy.uint8, 4))).shape == (3, 4)
    for index in (numpy.int64(104), numpy.uint8(104)):
        assert memory.read_u32(store, index) == int.from_bytes(pair.model[104:108], "little") and memory[index] == 0
    memory.write_u16(store, numpy.uint16(515), 7)
    memory.write_f32(store, numpy.float32(0.5), 9)
    pair.model[7:13] = struct.pack("<Hf", 515, 0.5)
    pair.check()


def test_what_is_no_data(pair: Pair) -> None:
    numpy = pytest.importorskip("numpy")
    memory, store = pair.memory, pair.store
    objects = numpy.array([object()] * 8)
    nested = numpy.zeros(4, numpy.dtype([("a", "u1"), ("b", "O")]))
    uses: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (TypeError, "no Python objects", lambda: memory.read_array(store, 0, 1, numpy.dtype(object))),
        (TypeError, "no Python objects", lambda: memory.read_array(store, 0, 1, nested.dtype)),
        (TypeError, "no Python objects", lambda: memory.write_array(store, [1], 0, object)),
        (TypeError, "cannot write Python objects", lambda: memory.write(store, objects)),
        (TypeError, "cannot write Python objects", lambda: memory.write_array(store, objects, 0)),
        (TypeError, "cannot write Python objects", lambda: memory.write_array(store, nested, 0)),
        (TypeError, "cannot write Python objects", lambda: memory.__setitem__(slice(0, 64), objects)),
        (ValueError, "big-endian", lambda: memory.write_array(store, numpy.arange(3, dtype=">u4"), 0)),
        (ValueError, "no element type 'int'", lambda: memory.read_array(store, 0, 1, "int")),  # type: ignore[arg-type]
        (ValueError, "no element type 'i4'", lambda: memory.write_array(store, [1], 0, "i4")),
        (TypeError, "expected an array, or a type", lambda: memory.write_array(store, [1, 2], 0)),
        (TypeError, "expected an int for the count", lambda: memory.read_array(store, 0, "1", "u8")),  # type: ignore[arg-type]
        (TypeError, ".", lambda: memory.write_array(store, [1, "2"], 0, "u8")),  # type: ignore[list-item]
        (TypeError, ".", lambda: memory.write(store, "text")),
        (TypeError, ".", lambda: memory.write(store, 5)),  # type: ignore[arg-type]
        (TypeError, ".", lambda: memory.write(store, None)),  # type: ignore[arg-type]
        (TypeError, "slice indices must be", lambda: memory.read(store, 1.5)),  # type: ignore[arg-type]
        (TypeError, ".", lambda: memory["0"]),  # type: ignore[index]
        (TypeError, "cannot be deleted", lambda: memory.__delitem__(0)),  # type: ignore[attr-defined]
        (TypeError, ".", lambda: memory.__setitem__(0, b"1")),
        (ValueError, "cannot write 3 bytes to a slice of 2", lambda: memory.__setitem__(slice(0, 2), b"123")),
        (IndexError, "index out of range", lambda: memory.read_array(store, 0, 1 << 62, "u64")),
        (IndexError, "index out of range", lambda: memory.read_array(store, 0, 1 << 70, "u8")),
        (IndexError, "index out of range", lambda: memory.read_array(store, 0, -1, numpy.uint8)),
        (IndexError, "index out of range", lambda: memory.read_str(store, 0, 1 << 62)),
    ]
    for error, message, use in uses:
        with pytest.raises(error, match=message):
            use()
    pair.check()


def test_arguments_by_name_and_in_wrong_numbers(pair: Pair) -> None:
    memory, store = pair.memory, pair.store
    assert memory.read(store=store, start=3, stop=5) == memory.read(store, stop=5, start=3) == pair.model[3:5]
    assert memory.write(store, start=3, value=bytes(pair.model[3:5])) == 2
    assert memory.read_u8(start=3, store=store) == pair.model[3]
    assert memory.size(store=store) == 1
    wrong: list[tuple[str, Callable[[], Any]]] = [
        (r"read\(\) missing required argument 'store'", lambda: memory.read()),  # type: ignore[call-arg]
        (r"write\(\) missing required argument 'value'", lambda: memory.write(store)),  # type: ignore[call-arg]
        (r"read\(\) takes at most 3 arguments \(4 given\)", lambda: memory.read(store, 1, 2, 3)),  # type: ignore[call-arg]
        (r"unexpected keyword argument 'end'", lambda: memory.read(store, end=3)),  # type: ignore[call-arg]
        (r"multiple values for argument 'start'", lambda: memory.read(store, 1, start=3)),  # type: ignore[misc]
        (r"write_u8\(\) missing required argument 'start'", lambda: memory.write_u8(store, 1)),  # type: ignore[call-arg]
    ]
    for message, use in wrong:
        with pytest.raises(TypeError, match=message):
            use()


def test_overlapping_copies(pair: Pair) -> None:
    for start, stop, to in ((0, 30, 5), (5, 35, 0)):
        with pair.memory.view(pair.store, start, stop) as part:
            pair.memory.write(pair.store, part, to)
        pair.model[to : to + stop - start] = bytes(pair.model[start:stop])
        pair.check()


def test_a_memory_that_was_never_made() -> None:
    memory = Memory.__new__(Memory)
    uses: list[Callable[[], Any]] = [
        lambda: memory[0],
        lambda: memory.read(Store()),
        lambda: memory.__setitem__(0, 1),
        lambda: memory.view(Store()),
        lambda: memory._owner,
    ]
    for use in uses:
        with pytest.raises(AttributeError, match="memory was not initialised"):
            use()
