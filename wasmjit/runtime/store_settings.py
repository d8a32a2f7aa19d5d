"""What bounds the code of a Store, for Stores beside it: those of further threads of a program."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from .. import abi
from .store import MAX_FUEL, Store, StoreLimits, StoreRecord

_FUEL = abi.STORE["fuel"]
_DEADLINE = abi.STORE["epoch_deadline"]
_NAMES = ("total_memory", "memory_size", "table_elements", "instances", "tables", "memories")
_values = attrgetter(*_NAMES)


class StoreSettings:
    """The settings that a store has now, and half of its fuel, which it has no more.

    So all threads together never use more than the first one was given, however many they start.
    """

    __slots__ = ("_data", "_deadline", "_engine", "_epoch_callback", "_timeout", "fuel", "limiter", "limits")

    def __init__(self, record: StoreRecord) -> None:
        """To be made by the thread that runs the store."""
        native = record.open()
        engine = self._engine = record.engine
        self._data = record.data
        self.limits: tuple[int, ...] = _values(record.limits)
        self.limiter: Any = None if record.limiter is None else record.limiter.given
        self._timeout = record.timeout
        self._deadline = native.read_word(_DEADLINE) if engine._has_epochs else None
        self._epoch_callback = record.epoch_callback
        self.fuel: int | None = None
        if engine._config.consume_fuel:
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
        """A new store that may hold as much; it lacks `apply`."""
        made = Store(self._engine)
        record = made._record
        native = record.open()
        limits = record.limits = StoreLimits(**dict(zip(_NAMES, self.limits, strict=True)))
        limits.give_to(native)
        if self.limiter is not None:
            record.set_limiter(self.limiter)
        return made

    def apply(self, made: Store) -> None:
        """Gives a store the settings that can change at any time, and the fuel."""
        record = made._record
        record.data = self._data
        if self._timeout is not None:
            made.timeout = self._timeout
        native = record.open()
        if self.fuel is not None:
            native.write_word(_FUEL, self.fuel)
        if self._epoch_callback is not None:
            made.epoch_deadline_callback(self._epoch_callback)
        if self._deadline is not None:
            native.write_word(_DEADLINE, self._deadline)
