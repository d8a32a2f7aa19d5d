"""What bounds the code of a Store, for Stores beside it: those of further threads of a program."""

from __future__ import annotations

import copy
from typing import Any

from .. import abi
from .native import lib
from .store import MAX_FUEL, Store, StoreRecord

_FUEL = abi.STORE["fuel"]
_DEADLINE = abi.STORE["epoch_deadline"]


class StoreSettings:
    """The settings that a store has now, and half of its fuel, which it has no more.

    So all threads together never use more than the first one was given, however many they start.
    """

    def __init__(self, record: StoreRecord) -> None:
        """To be made by the thread that runs the store."""
        native = record.open()
        self._engine = record.engine
        self._data = record.data
        self._limits = copy.copy(record.limits)
        self._limiter: Any = None if record.limiter is None else record.limiter.given
        self._timeout = record.timeout
        self._deadline = native.read_word(_DEADLINE) if record.engine._has_epochs else None
        self._epoch_callback = record.epoch_callback
        self.fuel: int | None = None
        if record.engine._config.consume_fuel:
            left = native.read_word(_FUEL)
            left = left if left <= MAX_FUEL else 0  # code may have counted below zero
            self.fuel = left // 2
            native.write_word(_FUEL, left - self.fuel)

    def give_back(self, record: StoreRecord) -> None:
        """Gives the fuel back to the store: nobody uses it."""
        if self.fuel:
            native = record.open()
            native.write_word(_FUEL, native.read_word(_FUEL) + self.fuel)
            self.fuel = 0

    def make_store(self) -> Store:
        """A new store with these settings."""
        made = Store(self._engine, self._data, fuel=self.fuel, timeout=self._timeout)
        record = made._record
        native = record.open()
        limits = record.limits = self._limits
        lib.wj_store_set_limits(native.pointer, limits.memory_size, limits.table_elements, limits.total_memory)
        if self._limiter is not None:
            record.set_limiter(self._limiter)
        if self._epoch_callback is not None:
            made.epoch_deadline_callback(self._epoch_callback)
        if self._deadline is not None:
            native.write_word(_DEADLINE, self._deadline)
        return made
