"""Caller: the instance that called a host function."""

from __future__ import annotations

from typing import Any

from .externs import AsExtern
from .native import set_caller_factory
from .store import StoreRecord


class Caller:
    """The instance that called a host function; usable as a Store until that function returns.

    >>> from wasmjit import Func, FuncType, Instance, Module, Store
    >>> store = Store()
    >>> def hello(caller):
    ...     print(caller["memory"].read(caller, 0, 5))
    >>> show = Func(store, FuncType([], []), hello, access_caller=True)
    >>> text = '''(module (import "" "show" (func $show)) (memory (export "memory") 1) (data (i32.const 0) "hello")
    ...     (func (export "run") (call $show)))'''
    >>> Instance(store, Module(store.engine, text), [show]).exports(store)["run"](store)
    bytearray(b'hello')
    """

    __slots__ = ("_instance_address", "_live_record")
    _stands_for_a_store = True  # what annotations of functions look for

    def __init__(self, record: StoreRecord, instance_address: int) -> None:
        self._live_record: StoreRecord | None = record
        self._instance_address = instance_address

    @property
    def _record(self) -> StoreRecord:
        if self._live_record is None:
            raise ValueError("caller is no longer valid")
        return self._live_record

    def _invalidate(self) -> None:
        self._live_record = None

    def data(self) -> Any:
        """The object that the store was made with, as `Store.data`. Raises ValueError when the call is over."""
        return self._record.data

    def get(self, name: str) -> AsExtern | None:
        """The calling instance's export `name`; None if there is none, or if the call is over."""
        if not isinstance(name, str):
            raise TypeError("expected a str")
        record = self._live_record
        instance = record.instances.get(self._instance_address) if record is not None else None
        if record is None or instance is None:
            return None
        found: AsExtern | None = instance.export(record, name)
        return found

    def __getitem__(self, name: str) -> AsExtern:
        """The calling instance's export `name`. Raises KeyError if there is none."""
        item = self.get(name)
        if item is None:
            raise KeyError(f"failed to find export {name}")
        return item


set_caller_factory(Caller)
