"""Ends the memoryviews of a store's memories when the store is closed.

`Memory.view` hands out memoryviews of mapping objects (``runtime_c/mapping.c``), which keep the bytes mapped: a view
never dangles. Here views are made to fail instead of showing the memory of a store that is closed.
"""

from __future__ import annotations

from .native import lib, take_object
from .native_store import NativeStore


def release_views(native: NativeStore) -> None:
    """Releases the memoryviews that `Memory.view` handed out for memories of a store.

    Raises BufferError, and releases nothing, while something that cannot be released uses one: a numpy array, a ctypes
    object, a slice (which looks the same from here), an operation on another thread.
    """
    mappings = take_object(lib.wj_store_mappings(native.pointer))
    for mapping in mappings:
        if mapping.is_in_use:
            raise BufferError(
                f"store cannot be closed: a view of {mapping.size_bytes} bytes of its memory at {mapping.address:#x} is"
                " in use, by a numpy array, a slice of the view or another object made from it"
            )
    for mapping in mappings:
        view = mapping.memoryview
        if view is not None:
            view.release()


__all__ = ["release_views"]
