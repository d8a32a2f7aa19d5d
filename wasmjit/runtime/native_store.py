"""The Python object that owns a C store."""

from __future__ import annotations

import weakref

from .native import StoreBase, ffi, lib, store_roots

_POINTER = ffi.typeof("wj_store *")


class NativeStore(StoreBase):
    """Owns one C store, which lives as long as this object. `keepalive` holds what generated code and C point to:
    loaded code, trampolines, type ids, segment bytes.

    There is one way to use an address of the store, or of what lives in it: a function keeps this object in a local
    variable (from `StoreRecord.open`, or as a parameter) while it does. Any Python code, which is any allocation (the
    garbage collector runs finalizers), and any other thread may close the store in between: then the address stays
    good, and `open` raises. tests/unit/test_addresses.py finds what uses addresses in another way.

    In ``with native:`` references that Python has in hands (handles of externrefs) are not swept; see externrefs.c.
    """

    __slots__ = ("__weakref__", "_roots", "pointer")

    def __init__(self, max_wasm_stack_bytes: int) -> None:
        self.pointer = ffi.cast(_POINTER, self.address)
        self._roots: object = None

    def keep_roots(self, record: object) -> None:
        """Shows the garbage collector the host functions that C holds, and C the record. Call after making one."""
        if self._roots is None:
            self._roots = store_roots(self.pointer)
            reference = weakref.ref(record)
            lib.wj_store_set_record(self.pointer, id(reference))
