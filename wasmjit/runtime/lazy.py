"""Baseline code made when it is first called, a group of functions at a time.

A module that is compiled lazily starts with a function table full of stubs (`Entries`). The first call of a function
lands in `LazyCode.resolve`, which has the function and what it calls compiled together, and redirects them.
"""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..config import OPTIMIZED, Config
from ..errors import CompileError
from ..wasm.module import Module
from ..wasm.types import FuncType
from .code import LoadedCode, announce, load
from .entries import Entries
from .trampolines import Piece, Trampolines

if TYPE_CHECKING:
    from ..compile.pipeline import GroupCompiler, PendingGroup
    from ..link import Unit

# Groups that compilers work on at a time: one that is waited for, and others that probably will be.
_MOST_PENDING = 2
# A signal handler that calls wasm may have finished what is waited for: Python goes on waiting then.
_LOOK_AGAIN_SECONDS = 0.02


class GroupCode:
    """The code of some functions of a module, for `load`."""

    def __init__(self, module: Module, unit: Unit, functions: Sequence[int]) -> None:
        """Raises CompileError if the unit's object is not what it should be."""
        from ..link import IMAGE_ALIGNMENT_BYTES, GroupImage  # not needed where compiled code is run

        image = GroupImage(unit, functions)
        self.module = module
        self.functions = functions
        self.text = memoryview(image.text)
        self.rodata = memoryview(image.rodata)
        self.rodata_offset = image.rodata_offset
        self.image_alignment = IMAGE_ALIGNMENT_BYTES[image.machine]
        self.function_offsets: Sequence[int] = image.function_offsets
        self.register_entries: dict[int, int] = {}
        self.code_offsets: Sequence[int] = image.function_offsets
        self.code_sizes: Sequence[int] = image.function_sizes
        self._image = image
        self._address_map: tuple[Sequence[int], Sequence[int]] | None = None

    def check_compatible(self) -> None:
        """It was made here and now."""

    def take_file_mapping(self) -> None:
        """It is in no file."""

    def function_at(self, text_offset: int) -> int | None:
        """The index of the function whose code holds `text_offset`, None if there is none."""
        for function, start, size in zip(self.functions, self.code_offsets, self.code_sizes, strict=True):
            if start <= text_offset < start + size:
                return function
        return None

    def address_map(self) -> tuple[Sequence[int], Sequence[int]]:
        """Code offsets, ascending, and the wasm module offset (0: unknown) that holds from each up to the next."""
        if self._address_map is None:
            self._address_map = self._image.address_map()
        return self._address_map

    def wasm_offset_at(self, text_offset: int) -> int | None:
        """The offset in the wasm module of the instruction that the code at `text_offset` belongs to, if known."""
        offsets, lines = self.address_map()
        i = bisect_right(offsets, text_offset) - 1
        return (lines[i] or None) if i >= 0 else None


class LazyModule:
    """What a module that was not compiled has in place of an artifact."""

    def __init__(self, module: Module, trampolines: Trampolines, wanted: Sequence[tuple[str, FuncType]]) -> None:
        """`wanted` are the trampolines of its instances; another process begins to make them."""
        self.module = module
        self._maker = trampolines
        self._wanted = wanted
        self._pid = os.getpid()
        self._finish: Callable[[], Mapping[str, Piece]] | None = trampolines.begin(wanted)

    def trampolines(self) -> Mapping[str, Piece]:
        """As `Artifact.trampolines`. Raises CompileError."""
        finish, self._finish = self._finish, None
        if finish is None or self._pid != os.getpid():  # a forked child: the other process is the parent's
            return self._maker.compile(self._wanted)
        return finish()


class _Group:
    """Functions that are being compiled (`pending`), or are."""

    def __init__(self, pending: PendingGroup) -> None:
        self.functions = pending.functions
        self.pending: PendingGroup | None = pending
        self.addresses: dict[int, int] = {}
        self.error: str | None = None


class LazyCode:
    """Makes the code of one loaded module. Thread-safe; after a fork the child makes its own."""

    def __init__(self, config: Config, module: Module) -> None:
        baseline = config.copy()
        baseline.tier = OPTIMIZED
        baseline.opt_level = "none"
        self._config = baseline
        self._module = module
        self._first = module.num_imported_functions
        self._compiler: GroupCompiler | None = None
        self._entries: weakref.ref[Entries] | None = None
        self._better: dict[int, int] = {}  # position -> address of optimised code
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler in Python may call wasm, too
        self._groups: dict[int, _Group] = {}  # by function
        self._pending: list[_Group] = []
        self._reached: list[int] = []  # functions that compiled code calls
        self.codes: list[LoadedCode] = []  # which calls may be in

    def attach(self, entries: Entries) -> None:
        """Redirects calls there from now on. Held weakly: the entries hold this."""
        self._entries = weakref.ref(entries)

    def replace(self, addresses: Mapping[int, int]) -> None:
        """Redirects functions, by position, to better code for good."""
        with self._lock:
            self._better.update(addresses)
            self._redirect(addresses)

    def _redirect(self, addresses: Mapping[int, int]) -> None:
        entries = self._entries() if self._entries is not None else None
        if entries is not None:
            entries.redirect_functions(addresses)

    def expect(self, function: int) -> None:
        """Begins with a defined function that will be called soon."""
        with self._lock:
            self._reached.append(function)
            self._speculate()

    def resolve(self, position: int) -> int:
        """The address of the code of a defined function, by its position in the function table; makes it if needed.

        Raises CompileError.
        """
        function = position + self._first
        if self._pid != os.getpid():
            self._come_along()
        with self._lock:
            if position in self._better:  # since the caller read the table
                return self._better[position]
            group = self._groups.get(function) or self._begin(function)
            while group.pending is not None:
                self._progress()
        if group.error is not None:
            raise CompileError(group.error)
        return group.addresses[function]

    def _come_along(self) -> None:
        """After a fork: the parent's compilers are not ours, and its threads may have held locks."""
        done = {function: group for function, group in self._groups.items() if group.pending is None}
        codes = self.codes
        self._reset()
        self._groups, self.codes = done, codes

    def _begin(self, function: int) -> _Group:
        """Has a group with this function compiled."""
        from ..compile.pipeline import GroupCompiler

        if self._compiler is None:
            self._compiler = GroupCompiler(self._module, self._config)
        pending, reached = self._compiler.begin(function, lambda other: other not in self._groups)
        group = _Group(pending)
        self._pending.append(group)
        for member in group.functions:
            self._groups[member] = group
        self._reached.extend(reached)
        return group

    def _speculate(self) -> bool:
        """Begins with functions that compiled code calls: most of these will be called. False if there are none."""
        while self._reached:
            function = self._reached.pop()
            if function not in self._groups:
                try:
                    self._begin(function)
                except CompileError:
                    continue  # whoever calls it will be told
                return True
        return False

    def _progress(self) -> None:
        """Finishes groups that are ready; if none is, begins another one, or waits."""
        ready = self._ready(0)
        if not ready and (len(self._pending) >= _MOST_PENDING or not self._speculate()):
            ready = self._ready(_LOOK_AGAIN_SECONDS)
        for group in ready:
            self._finish(group)

    def _ready(self, timeout_seconds: float) -> list[_Group]:
        import select

        descriptors = {group.pending.fileno(): group for group in self._pending if group.pending is not None}
        ready, _, _ = select.select(list(descriptors), [], [], timeout_seconds)
        return [descriptors[descriptor] for descriptor in ready]

    def _finish(self, group: _Group) -> None:
        pending, group.pending = group.pending, None
        if pending is None:
            return
        self._pending.remove(group)
        try:
            code = load(GroupCode(self._module, pending.result(), group.functions))
        except CompileError as error:
            group.error = error.reason
            return
        except BaseException as error:
            for member in group.functions:  # interrupted, or out of memory: the next call tries again
                self._groups.pop(member, None)
            group.error = f"making the code was interrupted ({type(error).__name__})"
            raise
        group.addresses = dict(zip(group.functions, code.function_addresses, strict=True))
        self.codes.append(code)
        announce(self._config.profiler, code)
        positions = {function - self._first: address for function, address in group.addresses.items()}
        self._redirect({p: address for p, address in positions.items() if p not in self._better})
