"""The exception tree and the trap table: every failure that wasmjit reports is declared here, once."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

Self = TypeVar("Self", bound="Closable")


def printable(text: str, *, newlines: bool = True) -> str:
    r"""`text` with what a terminal would obey, or show as something else, written as in Python's string literals.

    Names come from modules and files, and may hold anything: sequences that clear the screen, or write the error again
    in other words. `newlines`: line ends and tabs stay.

    >>> printable("a\x1b[2Jb") == r"a\x1b[2Jb"
    True
    """
    if text.isprintable():
        return text
    kept = "\n\t" if newlines else ""
    return "".join(char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text)


class Closable:
    """`close()` and `with` for exceptions and frames, as in the wasmtime package; there is nothing to release."""

    __slots__ = ()

    def close(self) -> None:
        """Does nothing; what it says stays readable."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class WasmError(Closable, Exception):
    """Any failure wasmjit reports: malformed or invalid modules, link errors, incompatible artifacts, misuse.

    ``offset`` is the byte offset into the module where that is known, ``function`` the function index.

    >>> from wasmjit import Engine, Module
    >>> try:
    ...     Module(Engine(), "(module (func (result i32)))")
    ... except WasmError as error:
    ...     print(error.offset, error.function, error.reason)
    24 0 type mismatch: expected i32, but nothing is on the stack
    """

    def __init__(
        self, message: str, *, offset: int | None = None, function: int | None = None, function_name: str | None = None
    ) -> None:
        self.reason = message
        self.offset = offset
        self.function = function
        self.function_name = function_name
        message = printable(message)
        where = []
        if function is not None:
            name = f" <{printable(function_name, newlines=False)}>" if function_name else ""
            where.append(f"function {function}{name}")
        if offset is not None:
            where.append(f"offset {offset:#x}")
        super().__init__(f"{message} (at {', '.join(where)})" if where else message)


class MalformedError(WasmError):
    """The bytes are not a module in the binary format (spec section 5).

    >>> from wasmjit import Engine, Module
    >>> Module.validate(Engine(), b"no module")
    Traceback (most recent call last):
    ...
    wasmjit.errors.MalformedError: magic header not detected (at offset 0x0)
    """


class ValidationError(WasmError):
    """The module is well formed but invalid (spec section 3).

    >>> from wasmjit import Engine, Module
    >>> Module(Engine(), "(module (func local.get 0 drop))")
    Traceback (most recent call last):
    ...
    wasmjit.errors.ValidationError: unknown local 0 (at function 0, offset 0x17)
    """


class UnsupportedError(ValidationError):
    """The module uses a feature that is off in the Config or that this version does not support.

    >>> from wasmjit import Config, Engine, Module
    >>> Module(Engine(Config(wasm_multi_memory=False)), "(module (memory 1) (memory 1))")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    wasmjit.errors.UnsupportedError: feature multi_memory is off in the Config (wasm_multi_memory; ...) (at offset ...)
    """


class LinkError(WasmError):
    """Imports and what was given for them do not fit (spec section 4.5.4).

    >>> from wasmjit import Instance, Module, Store
    >>> store = Store()
    >>> Instance(store, Module(store.engine, '(module (import "host" "f" (func)))'), [])
    Traceback (most recent call last):
    ...
    wasmjit.errors.LinkError: expected 1 imports, found 0
    """


# The import by which a program asks for threads, for who defines it and for who says how it is to be had.
THREAD_SPAWN = ("wasi", "thread-spawn")


class UnknownImportError(LinkError):
    """Nothing is defined under the names of an import: ``module``, ``name``, and the ``type`` that was wanted.

    >>> from wasmjit import Linker, Module, Store
    >>> store = Store()
    >>> Linker(store.engine).instantiate(store, Module(store.engine, '(module (import "host" "f" (func)))'))
    Traceback (most recent call last):
    ...
    wasmjit.errors.UnknownImportError: unknown import: `host::f` has not been defined
    """

    def __init__(self, module: str, name: str, type: object = None) -> None:
        self.module = module
        self.name = name
        self.type = type
        super().__init__(f"unknown import: `{module}::{name}` has not been defined")


class ClosedError(WasmError, ValueError):
    """A handle was used after `close()` (a ValueError too, as in the wasmtime package).

    >>> from wasmjit import Engine, Module
    >>> engine = Engine()
    >>> engine.close()
    >>> Module(engine, "(module)")
    Traceback (most recent call last):
    ...
    wasmjit.errors.ClosedError: engine is closed
    """


class ParameterCountError(WasmError, TypeError):
    """A WebAssembly function was called with too many or too few arguments (a TypeError too, as for Python functions).

    >>> from wasmjit import Func, FuncType, Store
    >>> store = Store()
    >>> Func(store, FuncType([], []), print)(store, 1)
    Traceback (most recent call last):
    ...
    wasmjit.errors.ParameterCountError: too many parameters provided: given 1, expected 0
    """


class CompileError(WasmError):
    """LLVM refused or died on our IR: a defect of wasmjit, reported instead of crashing.

    >>> issubclass(CompileError, WasmError)
    True
    """


class CompileTimeoutError(CompileError):
    """Compiling took longer than `Config.compile_timeout` (not public: a CompileError to all others)."""


class FunctionLeftError(CompileError):
    """A function is left to the interpreter (compile/limits.py; not public: a CompileError to all others)."""


class ArtifactError(WasmError):
    """A ``.cwasm`` is damaged, or was made by another version, for another target or with another Config.

    >>> from wasmjit import Engine, Module
    >>> try:
    ...     Module.deserialize(Engine(), b"something else")
    ... except ArtifactError:
    ...     print("compile it again")
    compile it again
    """


class TrapInfo(NamedTuple):
    """One row of the trap table."""

    number: int
    name: str
    message: str


# Numbers follow the wasmtime package's TrapCode, and so do messages; they contain the spec's own words.
# The number is also the immediate of the `ud1` / `brk` instruction that raises the trap (0..255).
TRAPS: tuple[TrapInfo, ...] = (
    TrapInfo(0, "STACK_OVERFLOW", "call stack exhausted"),
    TrapInfo(1, "MEMORY_OUT_OF_BOUNDS", "out of bounds memory access"),
    TrapInfo(2, "HEAP_MISALIGNED", "unaligned atomic"),
    TrapInfo(3, "TABLE_OUT_OF_BOUNDS", "undefined element: out of bounds table access"),
    TrapInfo(4, "INDIRECT_CALL_TO_NULL", "uninitialized element"),
    TrapInfo(5, "BAD_SIGNATURE", "indirect call type mismatch"),
    TrapInfo(6, "INTEGER_OVERFLOW", "integer overflow"),
    TrapInfo(7, "INTEGER_DIVISION_BY_ZERO", "integer divide by zero"),
    TrapInfo(8, "BAD_CONVERSION_TO_INTEGER", "invalid conversion to integer"),
    TrapInfo(9, "UNREACHABLE", "wasm `unreachable` instruction executed"),
    TrapInfo(10, "INTERRUPT", "interrupt"),
    TrapInfo(11, "OUT_OF_FUEL", "all fuel consumed by WebAssembly"),
    TrapInfo(12, "ATOMIC_WAIT_NON_SHARED_MEMORY", "atomic wait on non-shared memory"),
    TrapInfo(13, "NULL_REFERENCE", "null reference"),
    TrapInfo(14, "ARRAY_OUT_OF_BOUNDS", "out of bounds array access"),
    TrapInfo(15, "ALLOCATION_TOO_LARGE", "allocation size too large"),
    TrapInfo(16, "CAST_FAILURE", "cast failure"),
    TrapInfo(17, "CANNOT_ENTER_COMPONENT", "cannot enter component instance"),
    TrapInfo(18, "NO_ASYNC_RESULT", "async-lifted export failed to produce a result"),
    TrapInfo(19, "UNHANDLED_TAG", "unhandled tag"),
    TrapInfo(20, "CONTINUATION_ALREADY_CONSUMED", "continuation already consumed"),
    TrapInfo(21, "DISABLED_OPCODE", "disabled opcode"),
    TrapInfo(22, "ASYNC_DEADLOCK", "deadlock detected"),
    TrapInfo(23, "CANNOT_LEAVE_COMPONENT", "cannot leave component instance"),
    TrapInfo(24, "CANNOT_BLOCK_SYNC_TASK", "cannot block a synchronous task before returning"),
    TrapInfo(25, "INVALID_CHAR", "invalid `char` bit pattern"),
    TrapInfo(26, "DEBUG_ASSERT_STRING_ENCODING_FINISHED", "should have finished string encoding"),
    TrapInfo(27, "DEBUG_ASSERT_EQUAL_CODE_UNITS", "code unit mismatch"),
    TrapInfo(28, "DEBUG_ASSERT_POINTER_ALIGNED", "pointer not aligned"),
    TrapInfo(29, "DEBUG_ASSERT_UPPER_BITS_UNSET", "upper bits should be unset"),
    TrapInfo(30, "STRING_OUT_OF_BOUNDS", "string content out-of-bounds"),
    TrapInfo(31, "LIST_OUT_OF_BOUNDS", "list content out-of-bounds"),
    TrapInfo(32, "INVALID_DISCRIMINANT", "invalid variant discriminant"),
    TrapInfo(33, "UNALIGNED_POINTER", "unaligned pointer"),
    TrapInfo(34, "TASK_CANCEL_NOT_CANCELLED", "`task.cancel` invoked in an invalid way"),
    TrapInfo(35, "TASK_CANCEL_OR_RETURN_TWICE", "`task.cancel` or `task.return` called too many times"),
    TrapInfo(36, "SUBTASK_CANCEL_AFTER_TERMINAL", "`subtask.cancel` invoked after the subtask finished"),
    TrapInfo(37, "TASK_RETURN_INVALID", "invalid `task.return` signature or options"),
    TrapInfo(38, "WAITABLE_SET_DROP_HAS_WAITERS", "cannot drop waitable set with waiters"),
    TrapInfo(39, "SUBTASK_DROP_NOT_RESOLVED", "cannot drop a subtask which has not yet resolved"),
    TrapInfo(40, "THREAD_NEW_INDIRECT_INVALID_TYPE", "start function does not match the expected type"),
    TrapInfo(41, "THREAD_NEW_INDIRECT_UNINITIALIZED", "start function is an uninitialized reference"),
    TrapInfo(42, "BACKPRESSURE_OVERFLOW", "backpressure counter overflow"),
    TrapInfo(43, "UNSUPPORTED_CALLBACK_CODE", "unsupported callback code"),
    TrapInfo(44, "CANNOT_RESUME_THREAD", "cannot resume a thread which is not suspended"),
    TrapInfo(45, "CONCURRENT_FUTURE_STREAM_OP", "cannot have concurrent operations on a future or stream"),
    TrapInfo(46, "REFERENCE_COUNT_OVERFLOW", "reference count overflow"),
    TrapInfo(47, "STREAM_OP_TOO_BIG", "stream read or write count too large"),
    TrapInfo(48, "WAITABLE_SYNC_AND_ASYNC", "waitable used both synchronously and asynchronously"),
    TrapInfo(49, "UNCAUGHT_EXCEPTION", "uncaught exception"),
)
