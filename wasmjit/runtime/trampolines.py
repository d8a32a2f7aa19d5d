"""The trampolines of an Engine: machine code made once per function type, and where it lies in this process.

What instances of a module need comes with the module's artifact; what nobody foresaw is compiled when it is asked for.
compile/trampolines.py says what the kinds do.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Config
from ..processes import importing
from ..wasm.types import FuncType, trampoline_name
from .code import executable_copy, keep_at_exit
from .native import THUNK_BYTES, FuncBase, TypedBase, write_thunks

if TYPE_CHECKING:
    from ..compile.pipeline import Pending

ENTER, HOST, NATIVE, REVERSE, MAP = "enter", "host", "native", "reverse", "map"
_ALIGNMENT_BYTES = 16
Piece = bytes | memoryview


class Slow(Protocol):
    """What was made when there was no trampoline for it."""

    def speed_up(self) -> None:
        """There are others now."""
        ...


class Begun:
    """Trampolines that another process makes."""

    def __init__(self, compiled: dict[str, Piece], names: Sequence[str], pending: Pending | None) -> None:
        self._compiled = compiled
        self._names = names
        self._pending = pending

    def is_ready(self) -> bool:
        """Whether `finish` has nothing to wait for."""
        return self._pending is None or self._pending.is_ready()

    def finish(self) -> dict[str, Piece]:
        """Waits for them; they by symbol. To be called once. Raises CompileError."""
        pending, self._pending = self._pending, None
        if pending is not None:
            with importing():
                from ..link import function_code

            self._compiled.update(function_code(pending.result()[1]))
        return {name: self._compiled[name] for name in self._names}


class Trampolines:
    """Thread-safe. Code stays mapped as long as this object, which everything made of the Engine keeps."""

    __slots__ = (
        "__weakref__",
        "_addresses",
        "_compiled",
        "_config",
        "_found",
        "_lock",
        "_mappings",
        "_slow",
        "_slow_lock",
        "_thunks",
    )

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.RLock()  # a finalizer or a signal handler may ask for some, too
        self._compiled: dict[str, Piece] = {}
        self._addresses: dict[str, int] = {}
        self._found: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = {}
        self._mappings: list[object] = []
        self._thunks: _ThunkPage | None = None
        self._slow: weakref.WeakSet[Slow] = weakref.WeakSet()
        self._slow_lock = threading.RLock()
        keep_at_exit(self)

    def compile(self, wanted: Sequence[tuple[str, FuncType]]) -> dict[str, Piece]:
        """The code of these kinds and types by symbol, for an artifact or for `install`. Raises CompileError."""
        return self.begin(wanted).finish()

    def begin(self, wanted: Sequence[tuple[str, FuncType]]) -> Begun:
        """Has another process start on what `compile` does."""
        names = [trampoline_name(kind, type) for kind, type in wanted]
        missing = [item for item, name in zip(wanted, names, strict=True) if name not in self._compiled]
        pending = None
        if missing:
            with importing():  # only here: running an artifact needs no compiler
                from ..compile.pipeline import begin_trampolines

            pending = begin_trampolines(missing, self._config)
        return Begun(self._compiled, names, pending)

    def expect(self, slow: Slow) -> None:
        """Has something told when there are more trampolines."""
        with self._slow_lock:
            self._slow.add(slow)

    def install(self, pieces: Mapping[str, Piece]) -> None:
        """Makes these executable, except those that are already. Raises WasmError if the system refuses."""
        with self._lock:
            missing = {name: code for name, code in pieces.items() if name not in self._addresses}
            if not missing:
                return
            image = bytearray()
            offsets = {}
            for name, code in missing.items():
                image += bytes(-len(image) % _ALIGNMENT_BYTES)
                offsets[name] = len(image)
                image += code
            start, mapping = executable_copy(image)
            self._mappings.append(mapping)
            self._compiled.update(missing)
            self._addresses.update((name, start + offset) for name, offset in offsets.items())
            self._found.clear()
        with self._slow_lock:
            waiting = list(self._slow)
            self._slow.clear()
        for slow in waiting:
            slow.speed_up()

    def find(self, kind: str, type: FuncType) -> int:
        """The address of a trampoline; 0 if there is none yet."""
        key = (kind, type.params, type.results)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._addresses.get(trampoline_name(kind, type), 0)
        return found

    def lead(self, function: FuncBase | TypedBase, type: FuncType) -> int:
        """Has calls from Python go through the trampoline of the function's type; its address, 0 if there is none."""
        found = self.find(ENTER, type)
        if found:
            function._set_trampoline(found)
        return found

    def get(self, kind: str, type: FuncType) -> int:
        """The address of a trampoline, which is made if need be. Raises CompileError, WasmError."""
        found = self.find(kind, type)
        if not found:
            self.install(self.compile([(kind, type)]))
            found = self.find(kind, type)
        return found

    def thunk(self, target: int, code: int) -> int:
        """The address of a C function that runs `code` with `target` in the register of ``nest``; for ever."""
        with self._lock:
            if self._thunks is None or self._thunks.is_full:
                self._thunks = _ThunkPage()
            # C may hold the address for as long as the process lives.
            _kept_for_ever.update((id(kept), kept) for kept in (self._thunks, *self._mappings))
            return self._thunks.add(target, code)


_kept_for_ever: dict[int, object] = {}


class _ThunkPage:
    """A page of equal pieces of code, each of which reads where to go from the page behind."""

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self._capacity = page // THUNK_BYTES
        self._count = 0
        code = bytearray(page)
        write_thunks(code, self._capacity, page)
        self._start, self._mapping = executable_copy(code, data_bytes=page)
        self._pairs: Any = (ctypes.c_uint64 * (2 * self._capacity)).from_address(self._start + page)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another."""
        return self._count == self._capacity

    def add(self, target: int, code: int) -> int:
        """Address of the next thunk, which calls `code` with `target`."""
        number = self._count
        self._count += 1
        self._pairs[2 * number : 2 * number + 2] = (target, code)
        return self._start + number * THUNK_BYTES
