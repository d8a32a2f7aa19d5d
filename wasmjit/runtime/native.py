"""The only Python file that touches the C runtime (``runtime_c/wj_api.h``, where every function is documented).

Addresses are plain ints; `lib` and `ffi` are cffi's. Importing this module installs the fault handlers.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import functools
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import abi
from ..errors import WasmError
from ..wasm.types import MAX_PARAMS, MAX_RESULTS


def _check_interpreter() -> None:
    """Raises ImportError in all interpreters of the process but the main one: what the C runtime calls in Python (for
    traps, conversions) is there once per process, and objects of one interpreter are nothing to another."""
    current, main = (
        ctypes.PYFUNCTYPE(ctypes.c_void_p)((f"PyInterpreterState_{name}", ctypes.pythonapi))()
        for name in ("Get", "Main")
    )
    if current != main:
        raise ImportError(
            "wasmjit works in the main interpreter of a process only, not in subinterpreters"
            " (mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
        )


_check_interpreter()

try:
    from ._native import ffi as ffi
    from ._native import lib as lib
except ImportError as error:
    raise ImportError(
        f"wasmjit's C runtime is not built for this Python ({error}); in a source checkout run: "
        "python runtime_c/build.py"
    ) from error


def _start() -> None:
    number = lib.wj_runtime_init()
    if number == errno.ESTALE:
        raise ImportError("wasmjit cannot be used again in a process after Python was finalized in it")
    if number:
        raise OSError(number, f"cannot install the fault handlers: {os.strerror(number)}")
    lib.wj_watch_faulthandler(id(faulthandler.is_enabled))


_start()  # before anything that C keeps is made or asked for

# Flags of `host_func_new` (the first three) and of `_bind` (UNCHECKED, KEEP_GIL).
CALLER, UNCHECKED, CALLER_OBJECT = abi.FLAG_CALLER, abi.FLAG_UNCHECKED, abi.FLAG_CALLER_OBJECT
KEEP_GIL = abi.FLAG_KEEP_GIL
THUNK_BYTES = abi.THUNK_BYTES  # of what `write_thunks` writes


def set_trap_factory(factory: Callable[[int, int, tuple[int, ...]], BaseException]) -> None:
    """Sets what makes the exception of a trap from (trap code, fault address, pcs innermost first)."""
    lib.wj_set_trap_factory(id(factory))


def set_frame_describer(
    describer: Callable[[tuple[int, ...]], list[tuple[str, str, int]]], exit_class: type[BaseException]
) -> None:
    """Sets what makes traceback entries (file, function, line) from pcs; it leaves out those that are no wasm code.

    An exception of `exit_class` is a program's end: it gets none.
    """
    lib.wj_set_frame_describer(id(describer), id(exit_class))


def set_exception_hooks(
    exception_class: type[BaseException],
    to_wasm: Callable[[Any, Any], int | None],
    to_python: Callable[[Any, int, int, tuple[int, ...]], BaseException],
) -> None:
    """Sets the class of exceptions that wasm catches, and what makes those of wasm of them, and the other way."""
    lib.wj_set_exception_hooks(id(exception_class), id(to_wasm), id(to_python))


def is_interrupted() -> bool:
    """Whether the wasm calls of this thread are to end: what a host function that blocks has to look at."""
    return bool(lib.wj_is_interrupted())


def wait(descriptors: Mapping[int, int], timeout_ns: int | None) -> dict[int, int]:
    """As ``select.poll().poll``, but an interrupt of the wasm code that called us ends it: descriptor -> events.

    `descriptors` has the events to wait for; `timeout_ns` None waits for ever. Empty when the time is over and after a
    signal; the caller looks at the clock. Raises OSError.
    """
    entries = struct.pack(
        "=" + "ihh" * len(descriptors), *(n for fd, mask in descriptors.items() for n in (fd, mask, 0))
    )
    array = ffi.new("char[]", entries)
    found = lib.wj_wait(int(ffi.cast("uintptr_t", array)), len(descriptors), -1 if timeout_ns is None else timeout_ns)
    if found < 0 and found != -errno.EINTR:
        raise OSError(-found, os.strerror(-found))
    if found <= 0:
        return {}
    results = struct.iter_unpack("=ihh", ffi.buffer(array, len(entries)))
    return {fd: events for fd, _, events in results if events}


_MOST_LETTERS_BYTES = MAX_PARAMS + MAX_RESULTS + 1  # of a signature, with the 0 behind them


def _check_signature(number: int) -> None:
    """Raises what an errno value of the signature functions means."""
    if number == errno.EOVERFLOW:
        raise WasmError("no new function types: this process has had 4,294,967,295, which is as many as there are ids")
    if number:
        raise MemoryError(f"the C runtime could not make a function type: {os.strerror(number)}")


def signature(params: str, results: str) -> Any:
    """A ``wj_signature *``, held as long as this object lives; equal ones have one address. Raises MemoryError,
    WasmError if there are no ids left."""
    made = lib.wj_signature_hold(params.encode(), results.encode())
    if made == ffi.NULL:
        _check_signature(ffi.errno)
    return ffi.gc(made, lib.wj_signature_release)


def hold_signatures(letters: bytes, count: int, ids: Any) -> Any:
    """An array of `count` ``wj_signature *``, held as long as it lives, whose ids are written to `ids`.

    `letters` has parameters and results of one behind the other, each ended by a 0. Raises as `signature`.
    """
    made = ffi.gc(ffi.new("wj_signature *[]", count), functools.partial(lib.wj_signatures_release, count))
    _check_signature(lib.wj_signatures_hold(letters, count, made, ids))
    return made


def signature_with_references(params: str, results: str, types: list[Any], non_null: list[bool]) -> Any:
    """As `signature`; for each value, parameters first, the signature of what it is a reference to, or NULL."""
    made = lib.wj_signature_hold_of(params.encode(), results.encode(), types, non_null)
    if made == ffi.NULL:
        _check_signature(ffi.errno)
    return ffi.gc(made, lib.wj_signature_release)


class GroupMember(NamedTuple):
    """What C is told of a type of a recursion group: see ``wj_group_member`` in runtime_c/wj_api.h."""

    params: str
    results: str
    types: list[Any]
    siblings: list[int]
    non_null: list[bool]
    supertype: Any
    super_sibling: int
    is_final: bool


def group_signatures(serial: int, members: Sequence[GroupMember]) -> list[Any]:
    """A ``wj_signature *`` for each type of a recursion group, held as long as these objects live; equal serials have
    equal ones. Raises as `signature`."""
    rows = ffi.new("wj_group_member[]", len(members))
    # What the rows point into: of all members one behind the other.
    texts = b"".join([f"{member.params}\0{member.results}\0".encode() for member in members])
    values = sum([len(member.types) for member in members])
    letters, types = ffi.new("char[]", texts), ffi.new("wj_signature *[]", values + 1)
    siblings, non_null = ffi.new("uint32_t[]", values + 1), ffi.new("uint8_t[]", values + 1)
    text_at = at = 0
    for row, member in zip(rows, members, strict=True):
        row.params, row.results = letters + text_at, letters + text_at + len(member.params) + 1
        row.types, row.siblings, row.non_null = types + at, siblings + at, non_null + at
        row.supertype, row.super_sibling, row.is_final = member.supertype, member.super_sibling, member.is_final
        text_at += len(member.params) + len(member.results) + 2
        for value, (type, sibling, flag) in enumerate(
            zip(member.types, member.siblings, member.non_null, strict=True), at
        ):
            types[value], siblings[value], non_null[value] = type, sibling, flag
        at += len(member.types)
    made = ffi.new("wj_signature *[]", len(members))
    _check_signature(lib.wj_group_hold(serial, rows, len(members), made))
    return [ffi.gc(pointer, lib.wj_signature_release) for pointer in made]


def signature_group(signature: Any) -> tuple[int, int]:
    """The serial of the recursion group that it is of, 0 for none, and its position there."""
    position = ffi.new("uint32_t *")
    return lib.wj_signature_group(signature, position), position[0]


def signature_of_id(id: int) -> Any:
    """The ``wj_signature *`` with this id, which somebody holds; held as long as this object lives."""
    found = lib.wj_signature_of_id(id)
    if found == ffi.NULL:
        raise LookupError(f"nobody holds a function type with the id {id}")
    return ffi.gc(found, lib.wj_signature_release)


def signature_parts(signature: Any) -> tuple[str, int, list[Any], list[bool]]:
    """The letters of its values, how many are parameters, and of each the signature of what it is a reference to, or
    NULL, and whether it is a reference that is never null."""
    room = ffi.new("char[]", _MOST_LETTERS_BYTES)
    param_count = lib.wj_signature_letters(signature, room)
    letters = ffi.string(room).decode("ascii")
    types, non_null = ffi.new("wj_signature *[]", len(letters) + 1), ffi.new("uint8_t[]", len(letters) + 1)
    lib.wj_signature_references(signature, types, non_null)
    return letters, param_count, list(types)[:-1], [bool(flag) for flag in non_null][:-1]


def host_func_new(
    store: Any,
    function: Callable[..., Any],
    signature: Any,
    flags: int = 0,
    *,
    code: int = 0,
    native: int = 0,
) -> Any:
    """A ``wj_func_ref *`` that calls `function`; both live as long as the store. Raises MemoryError."""
    func_ref = lib.wj_host_func_new(store, id(function), signature, flags, code, native)
    if func_ref == ffi.NULL:
        raise MemoryError("the C runtime could not make a host function")
    return func_ref


def native_target_new(store: Any, func_ref: int, signature: Any) -> int:
    """The address of what a C caller's code is given to enter `func_ref`. Raises MemoryError."""
    target = lib.wj_native_target_new(store, ffi.cast("wj_func_ref *", func_ref), signature)
    if target == ffi.NULL:
        raise MemoryError("the C runtime could not make a function for C callers")
    return int(ffi.cast("uintptr_t", target))


def set_converters(to_bits: Callable[..., int], from_bits: Callable[..., Any]) -> None:
    """Sets what converts values that are not simply numbers (runtime_c/wj_api.h)."""
    lib.wj_set_converters(id(to_bits), id(from_bits))


def set_caller_factory(factory: Callable[[Any, int], Any]) -> None:
    """Sets what makes the Caller that host functions get, of a StoreRecord and the address of a context."""
    lib.wj_set_caller_factory(id(factory))


def finish_callable_class(class_object: type) -> None:
    """Lets the interpreter call objects of a subclass of FuncBase or TypedBase directly."""
    lib.wj_callable_finish_class(id(class_object))


def write_thunks(code: bytearray, count: int, distance_bytes: int) -> None:
    """Writes `count` pieces of code that read where to go at `distance_bytes` behind them (runtime_c/wj_api.h)."""
    lib.wj_write_thunks(ffi.from_buffer(code), count, distance_bytes)


def store_roots(store: Any) -> object:
    """What shows the garbage collector the callables of the store's host functions. Raises MemoryError.

    Keep it as an attribute of the Python object that owns the store.
    """
    roots: object = take_object(lib.wj_store_roots(store))
    return roots


def store_externrefs(store: Any) -> Any:
    """What knows the objects of the store's externrefs (runtime_c/externrefs.c). Raises MemoryError.

    Keep it as an attribute of the record.
    """
    return take_object(lib.wj_store_externrefs(store))


def take_object(address: int) -> Any:
    """The object at `address`, a new reference from C that becomes ours. Raises MemoryError for 0."""
    if not address:
        raise MemoryError("the C runtime could not make an object")
    found = ctypes.cast(address, ctypes.py_object).value
    lib.wj_decref(address)
    return found


if TYPE_CHECKING:

    class _CallableBase:
        _owner: Any

        def _bind(
            self,
            owner: object,
            code: object,
            store: int,
            func_ref: int,
            signature: int,
            enter: int,
            flags: int,
            caller: int = 0,
            /,
        ) -> None: ...
        def _set_trampoline(self, code: object, address: int, /) -> None: ...
        def _run_map(self, code: int, job: int, /) -> None: ...

    from typing_extensions import Self

    class StoreBase:
        """Owns a C store: runtime_c/store_object.c."""

        def __init__(self, max_wasm_stack_bytes: int, /) -> None: ...
        @property
        def address(self) -> int: ...
        @property
        def keepalive(self) -> set[object]: ...
        def is_running(self) -> bool: ...
        def is_closed(self) -> bool: ...
        def read_word(self, offset_bytes: int, /) -> int: ...
        def write_word(self, offset_bytes: int, value: int, /) -> None: ...
        def __enter__(self) -> Self: ...
        def __exit__(self, *exception: object) -> None: ...

    class TypedBase(_CallableBase):
        """See below."""

        def __call__(self, *arguments: Any) -> Any: ...

    class FuncBase(_CallableBase):
        """See below."""

        def __call__(self, store: Any, *arguments: Any) -> Any: ...

else:
    # What Python calls (runtime_c/callable.c): with the wasm arguments, and with a Store in front of them.
    StoreBase = take_object(lib.wj_store_base())
    TypedBase = take_object(lib.wj_callable_base(0))
    FuncBase = take_object(lib.wj_callable_base(1))
