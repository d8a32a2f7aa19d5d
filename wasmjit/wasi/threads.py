"""wasi-threads: ``wasi::thread-spawn``, and the group of threads that a program is then.

Each thread is one of Python's, with a Store of its own and an instance of the same module. The first failure in any of
them, which the end of the program is too, ends all: the others are interrupted, wherever they wait. The Store whose
call started them is told when that call is over (`call_ends`), so that raises what ended the group.

A group refers to that Store weakly; when it goes, the threads end.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import WasmError
from ..runtime.call_ends import fail, tell_call_ended
from ..runtime.linker import AddressDefinition, Blueprint
from ..runtime.native import lib
from ..runtime.store import StoreRecord
from ..runtime.store_settings import StoreSettings
from ..runtime.trap import Trap
from ..runtime.value_types import FuncType, ValType
from ..wasm import types as wt
from . import thread_workers
from .constants import Errno
from .thread_descriptors import share_context
from .thread_instance import ENTRY, ThreadInstance

if TYPE_CHECKING:
    from .context import WasiContext

MOST_NUMBERS = (1 << 29) - 1  # the proposal's: the others are for errors and for libraries
_REFUSED = -int(Errno.AGAIN)
# How many instances a program has for threads to come.
_MOST_SPARES = 8
# How long the end of a program waits for threads that are in Python code, and how often they are interrupted meanwhile:
# one may have been about to start.
_JOIN_SECONDS = 1.0
_INTERRUPT_AGAIN_SECONDS = 0.005

_groups: weakref.WeakSet[ThreadGroup] = weakref.WeakSet()


class ThreadGroup:
    """The further threads of one program. Its methods may be called by any thread."""

    def __init__(self, main: StoreRecord, start_address: int) -> None:
        """`start_address` is that of the function whose return ends the program, 0 for none."""
        self._main = weakref.ref(main, lambda _: self._end(None))
        self._start_address = start_address
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._threads: dict[int, _Thread] = {}
        self._last_number = 0
        self.has_ended = False
        self._failure: BaseException | None = None
        self._spares: list[ThreadInstance] = []
        tell_call_ended(main, functools.partial(_call_ended, weakref.ref(self)))
        _groups.add(self)

    def spawn(self, parent: StoreRecord, context: WasiContext, blueprint: Blueprint, argument: int) -> int:
        """Starts a thread; its number, or minus an error code."""
        with self._lock:
            if self.has_ended or len(self._threads) >= context.max_threads:
                return _REFUSED
            number = self._free_number()
            settings = StoreSettings(parent)
            thread = _Thread(self, number, settings, share_context(context), blueprint, argument)
            thread.made = self._take_spare(thread)
            self._threads[number] = thread
        try:
            thread_workers.run(thread.run, f"wasi-thread-{number}")
        except RuntimeError:  # the system has no more
            settings.give_back(parent)
            self.left(number, None)
            return _REFUSED
        return number

    def _take_spare(self, thread: _Thread) -> ThreadInstance | None:
        while self._spares:
            spare = self._spares.pop()
            if spare.fits(thread.settings, thread.context, thread.blueprint):
                return spare
        return None

    def make_spare(self, thread: _Thread) -> None:
        """Makes what a later thread may run in, of what a thread was made of that has left."""
        if self.has_ended or len(self._spares) >= min(_MOST_SPARES, thread.context.max_threads):
            return
        settings = thread.settings
        if ThreadInstance.can_be_made_in_advance(settings, thread.blueprint):
            with contextlib.suppress(Exception):  # it is said where one is needed
                spare = ThreadInstance(settings, thread.context, thread.blueprint, in_advance=True)
                with self._lock:
                    if not self.has_ended:
                        self._spares.append(spare)

    def forget_spares(self) -> None:
        """Later threads get new ones: other limits hold, or there will be none."""
        with self._lock:
            spares, self._spares = self._spares, []
        del spares

    def _free_number(self) -> int:
        while True:
            self._last_number = self._last_number % MOST_NUMBERS + 1
            if self._last_number not in self._threads:
                return self._last_number

    def left(self, number: int, failure: BaseException | None) -> None:
        """A thread is over."""
        if failure is not None:
            self._end(failure, number)
        with self._lock:
            self._threads.pop(number, None)
            self._changed.notify_all()

    def _end(self, failure: BaseException | None, number: int = 0) -> bool:
        """Ends all threads, and the call that started them; only once. `number` is the thread that failed."""
        with self._lock:
            if self.has_ended:
                return False
            self.has_ended = True
            self._failure = failure
        self.forget_spares()
        self._interrupt()
        main = self._main()
        if number and failure is not None and main is not None:
            _say_where(failure, number)
            fail(main, failure)
        return True

    def _interrupt(self) -> None:
        for thread in list(self._threads.values()):
            thread.interrupt()

    def _join(self) -> None:
        """Waits until all have ended, but not for ever: one may be in Python code that waits for something."""
        interrupted: BaseException | None = None
        until = time.monotonic() + _JOIN_SECONDS
        while self._threads and time.monotonic() < until:
            try:
                with self._lock:
                    if self._threads:
                        self._changed.wait(_INTERRUPT_AGAIN_SECONDS)
                self._interrupt()
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def interrupt_beside(self, record: StoreRecord) -> bool:
        """Ends the threads while no call into the first Store runs. False if `record` is another, or there are none."""
        if record is not self._main() or not self._threads:
            return False
        ended = self._end(None)
        self._join()
        self._dissolve(record)
        return ended

    def call_ended(self, func_ref: int, failure: BaseException | None) -> BaseException | None:
        """The call into the first Store is over: what is to be raised in place of its result."""
        if failure is None and func_ref != self._start_address and not self.has_ended:
            return None  # one of a library: its threads go on
        self._end(failure)
        self._join()
        main = self._main()
        if main is not None:
            self._dissolve(main)
        return None if self._failure is failure else self._failure

    def _dissolve(self, main: StoreRecord) -> None:
        if main.group is self:
            main.group = None
            tell_call_ended(main, None)


def _call_ended(
    group_reference: weakref.ref[ThreadGroup], func_ref: int, failure: BaseException | None
) -> BaseException | None:
    group = group_reference()
    return None if group is None else group.call_ended(func_ref, failure)


def _say_where(failure: BaseException, number: int) -> None:
    if isinstance(failure, Trap):
        failure._name_thread(number)
    elif hasattr(failure, "add_note"):
        failure.add_note(f"in thread {number} of the program")


class _Thread:
    """One further thread."""

    def __init__(
        self,
        group: ThreadGroup,
        number: int,
        settings: StoreSettings,
        context: WasiContext,
        blueprint: Blueprint,
        argument: int,
    ) -> None:
        """`context` is that of who starts it."""
        self._group = group
        self._number = number
        self.settings = settings
        self.context = context
        self.blueprint = blueprint
        self._argument = argument
        self.made: ThreadInstance | None = None
        self._record: StoreRecord | None = None

    def interrupt(self) -> None:
        """Ends its call, if there is one."""
        record = self._record
        native = None if record is None else record.native
        if native is not None:
            lib.wj_store_interrupt(native.pointer)

    def run(self) -> thread_workers.Later | None:
        """What the thread does; returns what can be done for later ones."""
        failure: BaseException | None = None
        try:
            self._run()
        except BaseException as error:
            failure = error
        thread_workers.lose_name()
        self._group.left(self._number, failure)
        return None if failure is not None else functools.partial(self._group.make_spare, self)

    def _run(self) -> None:
        made, self.made = self.made, None
        if made is None:
            made = ThreadInstance(self.settings, self.context, self.blueprint)
        with made.store:
            record = self._record = made.record
            record.group = self._group
            try:
                if not self._group.has_ended:
                    made.finish(self.settings)
                    if not self._group.has_ended:
                        made.run(self._number, self._argument)
            finally:
                record.group = None  # whose end that of this store is not


# ---- the function ----


class ThreadSpawn(AddressDefinition):
    """``wasi::thread-spawn``."""

    __slots__ = ("_context_of",)

    starts_threads = True

    def __init__(self, context_of: Callable[[StoreRecord], WasiContext]) -> None:
        self._context_of = context_of

    def current_type(self) -> Any:
        return _TYPE

    def code(self) -> int:
        return 0

    def bind(self, record: StoreRecord) -> Callable[..., int]:
        weak_record = weakref.ref(record)
        context_of = self._context_of

        def host(instance_address: int, argument: int) -> int:
            record = weak_record()
            assert record is not None, "a running store is alive"
            number = spawn(record, context_of(record), instance_address, argument)
            return number & 0xFFFF_FFFF

        return host


_TYPE = FuncType([ValType.i32()], [ValType.i32()])._type
_ENTRY_TYPE = FuncType([ValType.i32(), ValType.i32()], [])._type


def spawn(record: StoreRecord, context: WasiContext, instance_address: int, argument: int) -> int:
    """Starts a thread of the program that runs in a store; its number, or minus an error code.

    Raises WasmError for a module that can have none, or an instance that was not made by a Linker.
    """
    instance = record.instances[instance_address]
    blueprint = _checked(instance, record.blueprints.get(instance.loaded))
    group = record.group
    if group is None:
        start = instance.loaded.exports.get("_start")
        is_function = start is not None and start.kind == wt.FUNCTION
        group = record.group = ThreadGroup(record, instance.item(start).address if is_function else 0)
    assert isinstance(group, ThreadGroup)
    argument &= 0xFFFF_FFFF
    return group.spawn(record, context, blueprint, argument - (1 << 32) if argument >> 31 else argument)


def _checked(instance: Any, blueprint: Blueprint | None) -> Blueprint:
    """The blueprint, if the instance's module can have threads. Raises WasmError, saying what is missing."""
    if blueprint is None:
        raise WasmError("wasi::thread-spawn: the calling instance was not made by a Linker, which knows its imports")
    if not blueprint.makes_threads:
        _check(instance.loaded, blueprint.of_one_store)
        blueprint.makes_threads = True
    return blueprint


def _check(loaded: Any, of_one_store: list[str]) -> None:
    if of_one_store:
        names = ", ".join(f"`{name}`" for name in of_one_store)
        raise WasmError(
            f"wasi::thread-spawn: threads have Stores of their own, and {names} of the Linker belongs to one Store"
        )
    if not any(isinstance(kind, wt.MemoryType) and kind.shared for kind in loaded.import_types):
        raise WasmError("wasi::thread-spawn: the module imports no shared memory for its threads to share")
    entry = loaded.exports.get(ENTRY)
    if entry is None or entry.kind != wt.FUNCTION or loaded.module.function_type(entry.index) != _ENTRY_TYPE:
        raise WasmError(f"wasi::thread-spawn: the module exports no function `{ENTRY}` of two i32")


@atexit.register
def _end_all() -> None:
    """Threads must not be in wasm code when Python ends."""
    for group in list(_groups):
        group._end(None)
        group._join()
