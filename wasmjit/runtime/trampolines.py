"""The trampolines of an Engine: where machine code made per function type lies in this process.

What instances of a module need comes with the module's artifact; what nobody foresaw is compiled when it is asked for
(driver/trampoline_code.py). Modules, stores and functions hold those that they call through; the code goes with the
last of them. compile/trampolines.py says what the kinds do.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ..config import Config
from ..driver.build import require_runnable
from ..driver.trampoline_code import Piece, TrampolineCode
from ..processes import lock
from ..wasm.types import FuncType, trampoline_name
from ..weak_values import WeakMembers, WeakValues
from .code import executable_copy, keep_at_exit
from .native import THUNK_BYTES, FuncBase, TypedBase, write_thunks

ENTER, HOST, NATIVE, REVERSE, MAP = "enter", "host", "native", "reverse", "map"
_ALIGNMENT_BYTES = 16
# A module with very many types has many mappings: whoever holds one of its trampolines keeps little.
_MAPPING_BYTES = 64 << 10
_RECENT_MAPPINGS = 8
_MOST_FOUND = 1000


class Slow(Protocol):
    """What was made when there was no trampoline for it."""

    def speed_up(self) -> None:
        """There are others now."""
        ...


class Trampoline:
    """One that can be called: its code is at `address` as long as this object lives. Whoever may run it holds it."""

    __slots__ = ("__weakref__", "_mapping", "address")

    def __init__(self, address: int, mapping: object) -> None:
        self.address = address
        self._mapping = mapping


class Trampolines:
    """Thread-safe. It keeps little itself: those that nobody holds are gone, but for the last few."""

    __slots__ = (
        "__weakref__",
        "_config",
        "_found",
        "_live",
        "_lock",
        "_recent",
        "_slow",
        "_thunks",
        "code",
    )

    def __init__(self, config: Config) -> None:
        self.code = TrampolineCode(config)
        self._config = config
        self._lock = lock()  # a finalizer or a signal handler may ask for some, too
        self._live: WeakValues[str, Trampoline] = WeakValues()
        self._found: dict[tuple[str, tuple[int, ...], tuple[int, ...]], weakref.ref[Trampoline] | None] = {}
        # Programs load the same module again and again, and types of host functions come again with each Store.
        self._recent: deque[list[Trampoline]] = deque(maxlen=_RECENT_MAPPINGS)
        self._thunks: _ThunkPage | None = None
        self._slow: WeakMembers[Slow] = WeakMembers()

    def expect(self, slow: Slow) -> None:
        """Has something told when there are more trampolines."""
        self._slow.add(slow)

    def install(self, pieces: Mapping[str, Piece]) -> dict[str, Trampoline]:
        """Makes these executable, except those that are already; all of them by symbol, to be held by whoever has them
        called. Raises WasmError if the system refuses."""
        held: dict[str, Trampoline] = {}
        with self._lock:
            missing: dict[str, Piece] = {}
            for name, code in pieces.items():
                known = self._live.get(name)
                if known is None:
                    missing[name] = code
                else:
                    held[name] = known
            if not missing:
                return held
            for part in _parts(missing):
                made = _executable(part)
                if sum(map(len, part.values())) <= _MAPPING_BYTES:
                    self._recent.append(list(made.values()))
                for name, trampoline in made.items():
                    self._live[name] = trampoline
                held.update(made)
            self.code.remember(missing)
            self._found.clear()
        for slow in self._slow.take():  # first: who is told and still slow waits again
            slow.speed_up()
        return held

    def find(self, kind: str, type: FuncType) -> Trampoline | None:
        """A trampoline; None if there is none yet."""
        key = (kind, type.params, type.results)
        reference = self._found.get(key, _UNKNOWN)
        if reference is _UNKNOWN:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            reference = self._found[key] = self._live.reference(trampoline_name(kind, type))
        return None if reference is None else reference()

    def lead(self, function: FuncBase | TypedBase, type: FuncType) -> Trampoline | None:
        """Has calls from Python go through the trampoline of the function's type, if there is one; that."""
        found = self.find(ENTER, type)
        if found is not None:
            function._set_trampoline(found, found.address)
        return found

    def get(self, kind: str, type: FuncType) -> Trampoline:
        """A trampoline, which is made if need be. Raises WasmError: ArtifactError if it would not run here."""
        found = self.find(kind, type)
        if found is None:
            require_runnable(self._config)
            found = self.install(self.code.compile([(kind, type)]))[trampoline_name(kind, type)]
        return found

    def thunk(self, target: int, code: Trampoline) -> int:
        """The address of a C function that runs `code` with `target` in the register of ``nest``; for ever."""
        with self._lock:
            if self._thunks is None or self._thunks.is_full:
                self._thunks = _ThunkPage()
            # C may hold the address for as long as the process lives.
            _kept_for_ever.update((id(kept), kept) for kept in (self._thunks, code))
            return self._thunks.add(target, code.address)


def _parts(pieces: Mapping[str, Piece]) -> Iterator[dict[str, Piece]]:
    """Pieces that share a mapping, for as long as one of them is held."""
    part: dict[str, Piece] = {}
    size_bytes = 0
    for name, code in pieces.items():
        if part and size_bytes + len(code) > _MAPPING_BYTES:
            yield part
            part, size_bytes = {}, 0
        part[name] = code
        size_bytes += len(code)
    yield part


def _executable(pieces: Mapping[str, Piece]) -> dict[str, Trampoline]:
    image = bytearray()
    offsets = {}
    for name, code in pieces.items():
        image += bytes(-len(image) % _ALIGNMENT_BYTES)
        offsets[name] = len(image)
        image += code
    start, mapping = executable_copy(image)
    keep_at_exit(mapping)
    return {name: Trampoline(start + offset, mapping) for name, offset in offsets.items()}


_UNKNOWN: Any = object()
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
