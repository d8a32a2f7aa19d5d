"""The machine code of trampolines, before it lies anywhere: made in other processes, and kept for modules to come.

compile/trampolines.py says what the kinds do; runtime/trampolines.py makes them executable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..config import Config
from ..processes import importing, lock
from ..wasm.module import Module
from ..wasm.types import FuncType, trampoline_name

if TYPE_CHECKING:
    from ..compile.workers import Pending

_REMEMBERED_BYTES = 1 << 20
Piece = bytes | memoryview


class BegunTrampolines:
    """Trampolines that another process makes."""

    def __init__(
        self, maker: TrampolineCode, compiled: dict[str, Piece], names: Sequence[str], pending: Pending | None
    ) -> None:
        self._maker = maker
        self._compiled = compiled
        self._names = names
        self._pending = pending

    def finish(self) -> dict[str, Piece]:
        """Waits for them; they by symbol. To be called once. Raises CompileError."""
        pending, self._pending = self._pending, None
        if pending is not None:
            with importing():
                from ..link import function_code

            made = function_code(pending.result()[1])
            self._maker.remember(made)
            self._compiled.update(made)
        return {name: self._compiled[name] for name in self._names}


class TrampolineCode:
    """Makes the code for modules of one Config. Thread-safe."""

    __slots__ = ("_compiled", "_compiled_bytes", "_config", "_lock")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = lock()  # a finalizer or a signal handler may ask for some, too
        self._compiled: dict[str, bytes] = {}
        self._compiled_bytes = 0

    def compile(self, wanted: Sequence[tuple[str, FuncType]]) -> dict[str, Piece]:
        """The code of these kinds and types by symbol. Raises CompileError."""
        return self.begin(wanted).finish()

    def begin(self, wanted: Sequence[tuple[str, FuncType]], *, in_background: bool = False) -> BegunTrampolines:
        """Has another process start on what `compile` does; `in_background`, where nobody waits for it."""
        names = [trampoline_name(kind, type) for kind, type in wanted]
        compiled: dict[str, Piece] = {}
        missing = []
        for item, name in zip(wanted, names, strict=True):
            code = self._compiled.get(name)
            if code is None:
                missing.append(item)
            else:
                compiled[name] = code
        pending = None
        if missing:
            with importing():  # only here: running an artifact needs no compiler
                from ..compile.pipeline import begin_trampolines

            pending = begin_trampolines(missing, self._config, in_background=in_background)
        return BegunTrampolines(self, compiled, names, pending)

    def begin_module(self, module: Module, *, in_background: bool) -> BegunTrampolines:
        """Has another process make what instances of `module` take. Raises CompileError."""
        with importing():
            from ..compile.trampolines import module_trampolines

        return self.begin(module_trampolines(module), in_background=in_background)

    def remember(self, pieces: Mapping[str, Piece]) -> None:
        """Keeps code that was made, for modules to come; at most so much, and the newest."""
        with self._lock:
            for name, code in pieces.items():
                if name in self._compiled or len(code) > _REMEMBERED_BYTES:
                    continue
                self._compiled[name] = bytes(code)
                self._compiled_bytes += len(code)
                while self._compiled_bytes > _REMEMBERED_BYTES:
                    self._compiled_bytes -= len(self._compiled.pop(next(iter(self._compiled))))
