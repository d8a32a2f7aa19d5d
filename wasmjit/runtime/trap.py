"""Trap, its frames and codes, and the factory through which the C runtime makes the exception of a trap."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import TRAPS, Closable, WasmError, printable
from .code import lookup_pc
from .interpreter import lookup_interpreted
from .native import set_frame_describer, set_trap_factory

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

_NUMBERS = {trap.name: trap.number for trap in TRAPS}


class TrapCode(enum.Enum):
    """Why a trap happened; names and numbers are those of the wasmtime package, messages are in errors.TRAPS.

    The names stand here for type checkers; the numbers come from the table.

    >>> TrapCode.UNREACHABLE.value, TrapCode(0).name
    (9, 'STACK_OVERFLOW')
    """

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[int]) -> int:
        return _NUMBERS[name]

    STACK_OVERFLOW = enum.auto()
    MEMORY_OUT_OF_BOUNDS = enum.auto()
    HEAP_MISALIGNED = enum.auto()
    TABLE_OUT_OF_BOUNDS = enum.auto()
    INDIRECT_CALL_TO_NULL = enum.auto()
    BAD_SIGNATURE = enum.auto()
    INTEGER_OVERFLOW = enum.auto()
    INTEGER_DIVISION_BY_ZERO = enum.auto()
    BAD_CONVERSION_TO_INTEGER = enum.auto()
    UNREACHABLE = enum.auto()
    INTERRUPT = enum.auto()
    OUT_OF_FUEL = enum.auto()
    ATOMIC_WAIT_NON_SHARED_MEMORY = enum.auto()
    NULL_REFERENCE = enum.auto()
    ARRAY_OUT_OF_BOUNDS = enum.auto()
    ALLOCATION_TOO_LARGE = enum.auto()
    CAST_FAILURE = enum.auto()
    CANNOT_ENTER_COMPONENT = enum.auto()
    NO_ASYNC_RESULT = enum.auto()
    UNHANDLED_TAG = enum.auto()
    CONTINUATION_ALREADY_CONSUMED = enum.auto()
    DISABLED_OPCODE = enum.auto()
    ASYNC_DEADLOCK = enum.auto()
    CANNOT_LEAVE_COMPONENT = enum.auto()
    CANNOT_BLOCK_SYNC_TASK = enum.auto()
    INVALID_CHAR = enum.auto()
    DEBUG_ASSERT_STRING_ENCODING_FINISHED = enum.auto()
    DEBUG_ASSERT_EQUAL_CODE_UNITS = enum.auto()
    DEBUG_ASSERT_POINTER_ALIGNED = enum.auto()
    DEBUG_ASSERT_UPPER_BITS_UNSET = enum.auto()
    STRING_OUT_OF_BOUNDS = enum.auto()
    LIST_OUT_OF_BOUNDS = enum.auto()
    INVALID_DISCRIMINANT = enum.auto()
    UNALIGNED_POINTER = enum.auto()
    TASK_CANCEL_NOT_CANCELLED = enum.auto()
    TASK_CANCEL_OR_RETURN_TWICE = enum.auto()
    SUBTASK_CANCEL_AFTER_TERMINAL = enum.auto()
    TASK_RETURN_INVALID = enum.auto()
    WAITABLE_SET_DROP_HAS_WAITERS = enum.auto()
    SUBTASK_DROP_NOT_RESOLVED = enum.auto()
    THREAD_NEW_INDIRECT_INVALID_TYPE = enum.auto()
    THREAD_NEW_INDIRECT_UNINITIALIZED = enum.auto()
    BACKPRESSURE_OVERFLOW = enum.auto()
    UNSUPPORTED_CALLBACK_CODE = enum.auto()
    CANNOT_RESUME_THREAD = enum.auto()
    CONCURRENT_FUTURE_STREAM_OP = enum.auto()
    REFERENCE_COUNT_OVERFLOW = enum.auto()
    STREAM_OP_TOO_BIG = enum.auto()
    WAITABLE_SYNC_AND_ASYNC = enum.auto()
    UNCAUGHT_EXCEPTION = enum.auto()


_REASONS = {trap.number: trap.message for trap in TRAPS}
# Frames shown in a message; `Trap.frames` has what the C runtime captured (its limit is higher).
SHOWN_FRAMES = 20


@dataclass(frozen=True, slots=True)
class Frame(Closable):
    """One wasm activation in a backtrace. Offsets are in bytes; `func_name` and `module_name` are None if unknown.

    >>> from wasmjit import Instance, Module, Store
    >>> store = Store()
    >>> module = Module(store.engine, '(module $m (func $f (export "f") unreachable))')
    >>> try:
    ...     Instance(store, module, []).exports(store)["f"](store)
    ... except Trap as trap:
    ...     print(trap.frames[0].module_name, trap.frames[0].func_name, trap.frames[0].func_offset)
    m f 1
    """

    func_index: int
    func_name: str | None
    module_name: str | None
    module_offset: int
    func_offset: int

    def __str__(self) -> str:
        name = self.func_name if self.func_name is not None else f"<wasm function {self.func_index}>"
        return f"{self.module_offset:#8x} - " + printable(f"{self.module_name or '<unknown>'}!{name}", newlines=False)


class Trap(Closable, Exception):
    """WebAssembly code trapped, or a host function raised this to make it trap.

    >>> Trap("stop here").message
    'stop here'
    """

    def __init__(self, message: str) -> None:
        if not isinstance(message, str):
            raise TypeError("expected a str")
        super().__init__(message)
        self._message = message
        self._reason = message
        self._code: int | None = None
        self._frames: tuple[Frame, ...] = ()
        self._thread_id: int | None = None

    def _name_thread(self, thread_id: int) -> None:
        """Says in which thread of a program it happened."""
        self._thread_id = thread_id
        self._message = f"in thread {thread_id} of the program: {self._message}"

    @classmethod
    def _from_code(cls, code: int, frames: Iterable[Frame] = ()) -> Trap:
        """The trap with this number of errors.TRAPS."""
        reason = _REASONS.get(code, f"trap {code}")
        frames = (*frames,)  # from a list: a tuple that gc.get_objects shows another thread cannot grow
        message = f"wasm trap: {reason}"
        if frames:
            lines = [f"  {number:>3}: {frame}" for number, frame in enumerate(frames[:SHOWN_FRAMES])]
            backtrace = "\n".join(lines)
            message = f"error while executing at wasm backtrace:\n{backtrace}\n\nCaused by:\n    {message}\n"
        trap = cls(message)
        trap._reason = reason
        trap._code = code
        trap._frames = frames
        return trap

    @property
    def message(self) -> str:
        """What happened: the backtrace, then ``wasm trap: `` and the reason, and a line end as in the wasmtime package;
        ``wasm trap: `` and the reason alone where no wasm function was active; or the text it was made with."""
        return self._message

    @property
    def reason(self) -> str:
        """The reason alone, in the specification's words; or the text it was made with."""
        return self._reason

    @property
    def frames(self) -> list[Frame]:
        """The wasm functions that were active, innermost first."""
        return list(self._frames)

    @property
    def trap_code(self) -> TrapCode | None:
        """Why it happened; None if it was made by hand."""
        return None if self._code is None else TrapCode(self._code)

    @property
    def thread_id(self) -> int | None:
        """The thread in which it happened, where that was started by ``wasi::thread-spawn``; its message begins with
        it. None in the thread of the Store that was called."""
        return self._thread_id

    def __str__(self) -> str:
        return self._message


class ExitTrap(WasmError):
    """The program ended through WASI's ``proc_exit``; `code` is its exit code, also when that is 0.

    Its traceback shows no wasm frames.

    >>> ExitTrap(3).code
    3
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Exited with i32 exit status {code}")


def _frame_at(pc: int) -> Frame | None:
    """The wasm activation whose code holds `pc`; None if that is no wasm code (a host function's stub)."""
    found = lookup_pc(pc)
    if found is not None:
        code, function, offset = found
        module = code.artifact.module
    else:
        interpreted = lookup_interpreted(pc)
        if interpreted is None:
            return None
        module, function, offset = interpreted
    start = module.body(function).start
    if not offset:  # the function's prologue
        offset = start
    return Frame(function, module.function_name(function), module.names.module, offset, offset - start)


def frames_at(pcs: tuple[int, ...]) -> tuple[Frame, ...]:
    """The wasm activations among these."""
    frames = [frame for frame in map(_frame_at, pcs) if frame is not None]
    return (*frames,)


def _make_trap(code: int, fault_address: int, pcs: tuple[int, ...]) -> Trap:
    """What the C runtime raises for a trap; `pcs` innermost first."""
    return Trap._from_code(code, (frame for frame in map(_frame_at, pcs) if frame is not None))


def _describe(pcs: tuple[int, ...]) -> list[tuple[str, str, int]]:
    """What Python tracebacks show of wasm frames: the module as file, and as line the byte offset in it."""
    frames = [frame for frame in map(_frame_at, pcs) if frame is not None]
    return [
        (
            f"<wasm module {printable(frame.module_name, newlines=False)}>" if frame.module_name else "<wasm module>",
            f"<wasm function {frame.func_index}>"
            if frame.func_name is None
            else printable(frame.func_name, newlines=False),
            frame.module_offset,
        )
        for frame in frames
    ]


set_trap_factory(_make_trap)
set_frame_describer(_describe, ExitTrap)
