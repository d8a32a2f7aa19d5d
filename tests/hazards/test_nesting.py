"""Five levels of Python and wasm, in turns: what ends the innermost one passes through all, and the Store goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wasmjit import Config, Engine, FuncType, Linker, Module, Store, Trap, TrapCode, ValType

LEVELS = 5
I32 = ValType.i32()

# down_1 ... down_5 each call the host, with an argument and a local that have to be there afterwards. `deep` has a
# frame of its own between the host functions of a level.
WAT = f"""(module $nest
  (import "host" "down" (func $host (param i32 f64) (result i32)))
  (memory (export "memory") 1)
  (func $deep (param i32 f64) (result i32)
    (i32.add (call $host (local.get 0) (local.get 1)) (i32.load (i32.const 8))))
  {
    "".join(
        f'''(func $down_{level} (export "down_{level}") (param i32 f64) (result i32) (local i32)
    (local.set 2 (i32.mul (local.get 0) (i32.const 10)))
    (i32.add (call $deep (local.get 0) (f64.add (local.get 1) (f64.const 0.5))) (local.get 2)))'''
        for level in range(1, LEVELS + 1)
    )
}
  (func $unreachable (export "unreachable") (param i32 f64) (result i32) unreachable)
  (func $divide (export "divide") (param i32 f64) (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
  (func $outside (export "outside") (param i32 f64) (result i32) (i32.load (i32.const -4)))
  (func $overflow (export "overflow") (param i32 f64) (result i32)
    (i32.add (call $overflow (local.get 0) (local.get 1)) (i32.const 1)))
  (func $endless (export "endless") (param i32 f64) (result i32) (loop (br 0)) (i32.const 0))
  (func (export "poke") (param i32) (i32.store (i32.const 8) (local.get 0))))"""

Enter = Callable[[Store, Any, int, float], int]
ENTRIES: dict[str, Enter] = {
    "func": lambda store, function, n, x: function(store, n, x),
    "typed": lambda store, function, n, x: function.typed(store)(n, x),
    "typed_gil_kept": lambda store, function, n, x: function.typed(store, nogil=False)(n, x),
    "unchecked": lambda store, function, n, x: function.call_unchecked(store, [n, 0])[0],
}
HOSTS = ("plain", "caller", "unchecked")


class Mine(Exception):
    """What nothing else raises."""


class Base(BaseException):
    """What `except Exception` does not catch."""


class Nest:
    """A store in which level n of Python calls level n of wasm, that calls level n + 1 of Python; `bottom` is last."""

    def __init__(self, module: Module, entry: str, host: str) -> None:
        engine = module.engine
        self.store = Store(engine)
        self.enter = ENTRIES[entry]
        self.bottom: Callable[[], int] = lambda: 0
        self.catch_at: int | None = None
        self.caught: list[BaseException] = []
        linker = Linker(engine)
        kind = FuncType([I32, ValType.f64()], [I32])
        if host == "plain":
            linker.define_func("host", "down", kind, lambda n, x: self.host(n))
        elif host == "caller":
            linker.define_func("host", "down", kind, self.host_with_caller, access_caller=True)
        else:
            linker.func_new_unchecked("host", "down", kind, lambda slots: [self.host(slots[0])])
        self.exports = linker.instantiate(self.store, module).exports(self.store)

    def host_with_caller(self, caller: Any, n: int, x: float) -> int:
        assert caller["memory"].data_len(caller) == 65536
        result = self.host(n)
        assert caller["memory"].data_len(caller) == 65536, "the Caller is still valid after nested calls"
        return result

    def host(self, level: int) -> int:
        return self.bottom() if level == LEVELS else self.down(level + 1)

    def down(self, level: int) -> int:
        try:
            return self.enter(self.store, self.exports[f"down_{level}"], level, level / 2)
        except BaseException as raised:
            if level != self.catch_at:
                raise
            self.caught.append(raised)
            return 100_000

    def call(self, name: str) -> int:
        """An export that ends in a trap or never, as the innermost level of wasm."""
        return self.enter(self.store, self.exports[name], 0, 0.0)

    def assert_it_works(self) -> None:
        """A whole descent gives the right sum, memory is there, and nothing of the last call is left."""
        assert not self.store._record.is_running()
        self.catch_at = None
        self.bottom = lambda: 7
        self.exports["poke"](self.store, 3)
        assert self.down(1) == 7 + sum(10 * level + 3 for level in range(1, LEVELS + 1))
        with pytest.raises(Trap) as caught:
            self.exports["divide"](self.store, 0, 0.0)
        assert caught.value.trap_code is TrapCode.INTEGER_DIVISION_BY_ZERO
        self.exports["poke"](self.store, 0)
        assert self.down(1) == 7 + sum(10 * level for level in range(1, LEVELS + 1))


@pytest.fixture(scope="module", params=["none", "speed"])
def module(request: pytest.FixtureRequest) -> Module:
    return Module(Engine(Config(opt_level=request.param)), WAT)


@pytest.fixture(params=[(entry, host) for entry in ENTRIES for host in HOSTS], ids="-".join)
def nest(request: pytest.FixtureRequest, module: Module) -> Iterator[Nest]:
    made = Nest(module, *request.param)
    yield made
    made.assert_it_works()
    made.store.close()


def raiser(exception: BaseException) -> Callable[[], int]:
    def bottom() -> int:
        raise exception

    return bottom


def assert_every_level_shows(raised: BaseException, last: str) -> None:
    """Level by level: Python's `down`, then wasm's functions, then Python again."""
    names = [frame.name for frame in traceback.extract_tb(raised.__traceback__)]
    at = 0
    for level in range(1, LEVELS + 1):
        for name in ("down", f"down_{level}", "deep", "host"):
            found = [i for i in range(at, len(names)) if names[i].split(".")[-1].lstrip("$") == name]
            assert found, f"no frame of {name} at level {level} after {names[:at]} in {names}"
            at = found[0] + 1
    assert names[at:] and names[-1].lstrip("$") == last


EXCEPTIONS: list[BaseException] = [
    Mine("mine"),
    Base("base"),
    KeyboardInterrupt(),
    SystemExit(3),
    TypeError("inner"),
    Trap("own"),
]


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: type(exception).__name__)
def test_exceptions_pass_through_all_levels(nest: Nest, exception: BaseException) -> None:
    nest.bottom = raiser(exception)
    for _ in range(3):
        exception.__traceback__ = None
        with pytest.raises(type(exception)) as caught:
            nest.down(1)
        assert caught.value is exception
        assert_every_level_shows(exception, "bottom")


TRAPS = {
    "unreachable": TrapCode.UNREACHABLE,
    "divide": TrapCode.INTEGER_DIVISION_BY_ZERO,
    "outside": TrapCode.MEMORY_OUT_OF_BOUNDS,
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps_pass_through_all_levels(nest: Nest, name: str) -> None:
    nest.bottom = lambda: nest.call(name)
    for _ in range(3):
        with pytest.raises(Trap) as caught:
            nest.down(1)
        assert caught.value.trap_code is TRAPS[name]
        outer = [wasm for level in range(LEVELS, 0, -1) for wasm in ("deep", f"down_{level}")]
        assert [frame.func_name for frame in caught.value.frames] == [name, *outer]
        assert_every_level_shows(caught.value, name)


def test_exhausted_stack_at_the_innermost_level(nest: Nest) -> None:
    nest.bottom = lambda: nest.call("overflow")
    with pytest.raises(Trap) as caught:
        nest.down(1)
    assert caught.value.trap_code is TrapCode.STACK_OVERFLOW


@pytest.mark.parametrize("catch_at", range(1, LEVELS + 1))
def test_a_level_that_catches_goes_on(nest: Nest, catch_at: int) -> None:
    """The outer levels of wasm get what the catching Python function returns, and their locals are intact."""
    for bottom, kind in ((raiser(Base()), Base), (lambda: nest.call("outside"), Trap)):
        nest.bottom, nest.catch_at = bottom, catch_at
        assert nest.down(1) == 100_000 + sum(10 * level for level in range(1, catch_at))
        assert isinstance(nest.caught.pop(), kind)


def test_raising_another_exception_while_one_passes(nest: Nest) -> None:
    """`raise ... from` at each level: the chain has all of them, in order."""
    inner_down = nest.down

    def down(level: int) -> int:
        try:
            return inner_down(level)
        except Mine as raised:
            raise Mine(f"level {level}") from raised

    nest.down = down  # type: ignore[method-assign]
    nest.bottom = raiser(Mine("bottom"))
    with pytest.raises(Mine) as caught:
        nest.down(1)
    nest.down = inner_down  # type: ignore[method-assign]
    chain, raised = [], caught.value
    while raised is not None:
        chain.append(str(raised))
        raised = raised.__cause__  # type: ignore[assignment]
    assert chain == [*(f"level {level}" for level in range(1, LEVELS + 1)), "bottom"]


@contextlib.contextmanager
def ctrl_c_soon() -> Iterator[None]:
    """SIGINT from another process: where the GIL is kept, no thread of this one could send it."""
    sender = subprocess.Popen(["sh", "-c", f"sleep 0.03; kill -INT {os.getpid()}"])
    try:
        yield
    finally:
        sender.wait()


def test_ctrl_c_in_the_innermost_wasm(nest: Nest) -> None:
    nest.bottom = lambda: nest.call("endless")
    with ctrl_c_soon(), pytest.raises(KeyboardInterrupt) as caught:
        nest.down(1)
    names = [frame.name.lstrip("$") for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert [name for name in names if name.startswith("down_")] == [f"down_{n}" for n in range(1, LEVELS + 1)]


def test_ctrl_c_in_the_innermost_python(nest: Nest) -> None:
    def bottom() -> int:
        while True:
            time.sleep(0.005)

    nest.bottom = bottom
    with ctrl_c_soon(), pytest.raises(KeyboardInterrupt) as caught:
        nest.down(1)
    assert_every_level_shows(caught.value, "bottom")


def test_interrupt_ends_all_levels(nest: Nest) -> None:
    """`interrupt()` and timeouts are for the outermost call: levels that catch the Trap are ended as well."""
    nest.catch_at = 3
    timer = threading.Timer(0.02, nest.store.interrupt)

    def bottom() -> int:
        if nest.store.timeout is None:  # where nothing runs as yet, there would be nothing to interrupt
            timer.start()
        return nest.call("endless")

    nest.bottom = bottom
    if nest.enter is ENTRIES["typed_gil_kept"]:  # no thread of this process gets to call interrupt()
        nest.store.timeout = 0.02
    with pytest.raises(Trap) as caught:
        nest.down(1)
    if nest.store.timeout is None:
        timer.join()
    nest.store.timeout = None
    assert caught.value.trap_code is TrapCode.INTERRUPT


def test_two_stores_take_turns(module: Module) -> None:
    """Each level is in the other store; both go on."""
    nests = [Nest(module, "typed", "plain"), Nest(module, "typed_gil_kept", "caller")]

    def swapped(other: Nest) -> Callable[[int], int]:
        def host(level: int) -> int:
            return nests[0].bottom() if level == LEVELS else other.down(level + 1)

        return host

    for number, made in enumerate(nests):
        made.host = swapped(nests[1 - number])  # type: ignore[method-assign]
    for bottom, kind in ((raiser(Base()), Base), (lambda: nests[1].call("outside"), Trap)):
        nests[0].bottom = bottom
        with pytest.raises(kind) as caught:
            nests[0].down(1)
        assert_every_level_shows(caught.value, "bottom" if kind is Base else "outside")
    for made in nests:
        made.host = Nest.host.__get__(made)  # type: ignore[method-assign]
        made.assert_it_works()
        made.store.close()


def test_many_levels_deep_and_back(module: Module) -> None:
    """As many as Python's recursion limit allows; then the RecursionError passes through all of them."""
    nest = Nest(module, "typed", "plain")
    deepest = 0

    def host(level: int) -> int:
        nonlocal deepest
        deepest += 1
        return nest.enter(nest.store, nest.exports["down_1"], level, 0.0)

    nest.host = host  # type: ignore[method-assign]
    for _ in range(2):
        deepest = 0
        with pytest.raises((RecursionError, Trap)):
            nest.down(1)
        assert deepest > 50
    nest.host = Nest.host.__get__(nest)  # type: ignore[method-assign]
    nest.assert_it_works()
    nest.store.close()
