"""Being told when the outermost call into a store is over, and having its next one fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .native import lib, take_object
from .store import StoreRecord

CallEnded = Callable[[int, "BaseException | None"], "BaseException | None"]


def tell_call_ended(record: StoreRecord, told: CallEnded | None) -> None:
    """From now on `told` is called with the address of the func-ref and the exception, or None, when an outermost call
    is over; what it returns or raises is raised in their place. None: nobody is called."""
    native = record.native
    if native is not None:
        lib.wj_store_set_call_ended(native.pointer, 0 if told is None else id(told))
        native.keep_roots(record)


def fail(record: StoreRecord, failure: BaseException) -> None:
    """Ends the call that is running, or else has the next one raise `failure`. From any thread."""
    native = record.native
    if native is None:
        return
    lib.wj_store_set_failure(native.pointer, id(failure))
    if lib.wj_store_interrupt(native.pointer):  # who is told of its end raises it
        with contextlib.suppress(MemoryError):  # it has just been raised
            take_object(lib.wj_store_take_failure(native.pointer))
