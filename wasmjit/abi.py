"""The one contract between generated code, the C runtime and Python: layouts, calling convention, builtins.

Closed: whatever two of these three have to agree on stands here, or is named here (traps, value types, the modes of
segments). What only Python and C pass to each other as structs is in ``runtime_c/wj_api.h``, which both read.
`render_header()` writes ``runtime_c/wj_abi.h``; C uses its numbers, and asserts every offset against its own structs.
Artifacts and cache entries carry a hash of that text (`artifact.abi_hash`). Layouts count bytes. All structures are for
64-bit little-endian targets.

Calling convention of every wasm function (see docs/rationale.md): the platform's C convention, parameters
``(ptr vmctx, [ptr results_area if more than two results,] wasm parameters...)``; up to two results come back in
registers (LLVM ``void``, ``T`` or ``{T0, T1}``), further ones through 8-byte slots of the results area
(a v128 takes two slots). i32 occupies the low half of its register or slot; the high half is unspecified.
References are pointers: a funcref is a ``VMFuncRef*``, an externref a store handle; null is 0.

A function that is entered at a loop (compile/loop_entry.py) takes ``(ptr vmctx, [ptr results_area,] ptr frame)`` and
returns as always. The frame has a slot of LOOP_FRAME_SLOT_BYTES for each local, two for a v128, parameters first
(`loop_frame_offsets`); and, where code counts fuel, one behind them for what is left of it, which the store does not
know in mid-function.
It is read before anything else happens, so it may be overwritten or gone when the function calls another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import TRAPS
from .wasm import types as wt
from .wasm.module import ACTIVE, DECLARATIVE, PASSIVE, Module
from .wasm.types import MAX_PARAMS, MAX_RESULTS, SIGNATURE_LETTERS, FuncType, StructType, is_anyref, valtype_name

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .records import dataclass

POINTER_BYTES = 8
SLOT_BYTES = 8
MAX_REGISTER_RESULTS = 2
# Argument registers of the C conventions: integers (the first has vmctx) by machine, and floats or vectors.
INT_REGISTERS = {"x86_64": 6, "aarch64": 8}
FLOAT_REGISTERS = 8
VMCONTEXT_MAGIC = 0x78436A77  # "wjCx"
# The location, in the header of the binary format, of calls that go on with the same activation in other code
# (compile/hand_over.py): no frame of a backtrace. 0 stands for unknown locations.
HAND_OVER_OFFSET = 1
LOOP_FRAME_SLOT_BYTES = SLOT_BYTES
# What a function runs in that asks for better code (runtime_c/tiering.c), or what it is that tells of a loop that was
# watched; and what is answered in place of an address: to watch which loop begins again and again around the one that
# runs, or, with the offset of such a one, to wait until that begins. No address has this bit.
ASKED_BY_INTERPRETER, ASKED_BY_BASELINE, ASKED_BY_STENCILS, ASKED_BY_WATCH = range(4)
ANSWER_WATCH, ANSWER_AWAIT = 1, 1 << 62
# What Python does to a number in a shared memory (runtime_c/atomics.c), and why a wait ended: the first three as the
# instructions say it, the last where the call of wasm that Python's wait is in has to end.
ATOMIC_LOAD, ATOMIC_STORE, ATOMIC_ADD, ATOMIC_COMPARE_EXCHANGE = range(4)
WAIT_OK, WAIT_MISMATCH, WAIT_TIMED_OUT, WAIT_ENDED = range(4)
# What a bulk instruction of 64 bits is charged for at most: more than any memory has, and what is left must not wrap.
MOST_CHARGED = 1 << 40


def loop_frame_offsets(local_types: Iterable[int]) -> list[int]:
    """The offset of each local in the frame of a loop entry, in bytes, and that of what is behind them.

    >>> loop_frame_offsets([wt.I32, wt.V128, wt.I64])
    [0, 8, 24, 32]
    """
    slots = [2 if valtype == wt.V128 else 1 for valtype in local_types]
    return [LOOP_FRAME_SLOT_BYTES * slot for slot in itertools.accumulate(slots, initial=0)]


def _fields(*names_and_sizes: tuple[str, int]) -> dict[str, int]:
    """Field name -> offset, each field aligned to its size; the total under the name ``sizeof``."""
    offsets: dict[str, int] = {}
    at = 0
    for name, size in names_and_sizes:
        at = -(-at // size) * size
        offsets[name] = at
        at += size
    offsets["sizeof"] = -(-at // 8) * 8
    return offsets


# A function reference. `code` uses the wasm calling convention and takes `vmctx` first. `type_id` is the process-wide
# interned signature. `tail_code` is the register entry of a function that makes tail calls and has parameters which do
# not fit in registers, else 0 (compile/tail_calls.py).
FUNC_REF = _fields(("code", 8), ("vmctx", 8), ("type_id", 4), ("function_index", 4), ("tail_code", 8))

# The part of a linear memory that generated code reads. C's own fields follow.
MEMORY = _fields(("base", 8), ("size_bytes", 8))

# The part of a table that generated code reads. Elements are 8-byte references.
TABLE = _fields(("elements", 8), ("length", 8))
ELEMENT_BYTES = 8
# No table gets larger, whatever its type says.
MAX_TABLE_ELEMENTS = 10_000_000


def table_mask(elements: int) -> int:
    """What an index into a table that has `elements`, and cannot get more, is masked with.

    A mispredicted bounds check reads nothing of the host's then (compile/tables.py): the runtime keeps room for all
    that the mask lets through.
    """
    return (1 << max(elements - 1, 0).bit_length()) - 1


# Per Store; generated code reads `stack_limit`, writes `caller` before every import or indirect call. With
# Config.consume_fuel it keeps what is left in `fuel` (signed). With Config.epoch_interruption `epoch` points to the
# engine's counter, which is compared with `epoch_deadline`. `tail_arguments` points to a buffer of
# TAIL_ARGUMENTS_BYTES for a tail call's arguments that do not fit in registers; it holds something only from the jump
# to the callee's first instructions. `exception` is the one that is on its way to where it is caught.
STORE = _fields(
    ("stack_limit", 8),
    ("caller", 8),
    ("fuel", 8),
    ("epoch", 8),
    ("epoch_deadline", 8),
    ("tail_arguments", 8),
    ("exception", 8),
    ("gc_heap", 8),
    ("gc_cursor", 8),
    ("gc_limit", 8),
)
# What is at `tail_arguments`: the code and the context that an adapter calls, then the arguments.
TAIL_ARGUMENTS = _fields(("code", 8), ("vmctx", 8))
TAIL_ARGUMENTS_BYTES = TAIL_ARGUMENTS["sizeof"] + 16 * MAX_PARAMS

# What tells exceptions apart, by its address; `payload_bytes` are what one with it carries.
TAG = _fields(("payload_bytes", 8))
# An exception, before what it carries: a slot for each value, two for a v128.
EXCEPTION = _fields(("tag", 8), ("flags", 4), ("holds", 4), ("next", 8), ("previous", 8))
EXCEPTION_REFERENCED = 1  # a flag: wasm has a reference to it
# On AArch64, of what a call in a try_table makes below its frame: a frame record, and where results go.
MARK_RECORD_BYTES = 32


def payload_offsets(types: Iterable[int]) -> list[int]:
    """The offset in an exception of each value, in bytes, and that of what is behind them.

    >>> payload_offsets([wt.I32, wt.V128, wt.I64])
    [32, 40, 56, 64]
    """
    slots = [2 if valtype == wt.V128 else 1 for valtype in types]
    return [EXCEPTION["sizeof"] + SLOT_BYTES * slot for slot in itertools.accumulate(slots, initial=0)]


# Objects of garbage collection, in the heap of a store: the descriptor's offset, and the length of an array. Arrays
# have elements from the end of this on, structures fields from `length` on.
GC_OBJECT = _fields(("descriptor", 4), ("length", 4))
GC_OBJECT_ALIGNMENT = 8
# What the heap knows of a type: `type_id` is the process-wide one, `size_bytes` that of a structure or of an element.
# `references` are the fields that are traced (of arrays 1 if the elements are). `display` has the descriptors of the
# supertypes by depth, the type's own at its depth, 0 behind; behind it there is a word for each traced field.
GC_DISPLAY_ENTRIES = 64
GC_DESCRIPTOR = _fields(("type_id", 4), ("kind", 4), ("depth", 4), ("size_bytes", 4), ("references", 4), ("display", 4))
GC_TRACED = GC_DESCRIPTOR["display"] + 4 * GC_DISPLAY_ENTRIES
GC_STRUCT, GC_ARRAY = 1, 2
# Of such a word: the kind of reference, and, so many bits higher, the offset.
GC_TRACED_ANYREF, GC_TRACED_EXTERNREF, GC_TRACED_EXNREF = range(3)
GC_TRACED_SHIFT = 2
# The low bits of a reference of the any hierarchy, or an externref, that is no i31 (odd): 0 of an object, WORD_HOST of
# what is of the host.
WORD_KIND_MASK, WORD_HOST = 3, 2
_STORAGE_BYTES = {wt.I8: 1, wt.I16: 2, wt.I32: 4, wt.F32: 4, wt.V128: 16}


def storage_bytes(storage: int) -> int:
    """What a field or an element of a storage type takes in an object."""
    return _STORAGE_BYTES.get(storage) or (4 if is_anyref(storage) else 8)


def struct_layout(type: StructType) -> tuple[list[int], int]:
    """The offsets of the fields in an object, and its size. A subtype's layout begins with its supertype's."""
    at = GC_OBJECT["length"]
    offsets = []
    for field in type.fields:
        size_bytes = storage_bytes(field.storage)
        alignment = min(size_bytes, GC_OBJECT_ALIGNMENT)
        at = -(-at // alignment) * alignment
        offsets.append(at)
        at += size_bytes
    return offsets, -(-at // GC_OBJECT_ALIGNMENT) * GC_OBJECT_ALIGNMENT


# The function table of a module: arrays of 8-byte words, one behind the other, with a word for each function that the
# module *defines*. CODES: addresses of code; REGISTER_ENTRIES: those for tail calls, 0 where there is none
# (compile/tail_calls.py); COUNTERS: how often a function and its loops began in code that counts. All instances of a
# loaded module share it: a tier swaps code by one store there.
# Where code is replaced, and only there, it has COUNTERS, and a header in front of it (runtime/entries.py): the number
# of functions, the interpreter's record (0: none), what is told of hot functions and loops, and what is asked for code
# that is missing.
CODES, REGISTER_ENTRIES, COUNTERS = range(3)
# Added to the position that a stub has, where it stands for the function's register entry.
REGISTER_ENTRY_STUB = 1 << 31
FUNCTION_TABLE_HEADER = _fields(("function_count", 8), ("interpreter", 8), ("reporter", 8), ("resolver", 8))


def fits_in_registers(functype: FuncType, machine: str) -> bool:
    """Whether the arguments of a tail call travel in registers: those of a function that makes tail calls have to, or
    it has a register entry (compile/tail_calls.py)."""
    floats = sum([valtype in (wt.F32, wt.F64, wt.V128) for valtype in functype.params])
    num_ints = INT_REGISTERS[machine] - 1 - (len(functype.results) > MAX_REGISTER_RESULTS)
    return floats <= FLOAT_REGISTERS and len(functype.params) - floats <= num_ints


def function_word(array: int, count: int, position: int) -> int:
    """The index of the word of the function at `position` in one of the arrays of a table of `count` functions."""
    return array * count + position


# The fixed head of the instance context. `functions` is the module's function table.
# `builtins` is the C runtime's table of BUILTINS. `type_ids` holds a u32 per type of the module.
VMCONTEXT = _fields(
    ("magic", 4),
    ("flags", 4),
    ("store", 8),
    ("functions", 8),
    ("builtins", 8),
    ("type_ids", 8),
    ("instance", 8),  # opaque to generated code: the C instance record
)

# What the code that calls wasm from outside reads of its callee, and of an activation (runtime_c/boundary.h); see
# compile/trampolines.py. `boundary` is the C runtime's table of BOUNDARY.
TARGET = _fields(("boundary", 8), ("func_ref", 8))
ENTRY = _fields(("landing_sp", 8), ("landing_fp", 8), ("landing_pc", 8), ("code", 8), ("stack_slots", 8), ("status", 8))
ENTRY_BYTES = 1280  # room for C's whole record
# What the code of a host function reads of its own record, which it gets as vmctx.
HOST_FUNC = _fields(("boundary", 8), ("native", 8))
# The record's flags: pass the calling instance context's address; pass and take raw slots; pass a Caller. KEEP_GIL is
# one of functions that Python calls, which have UNCHECKED too.
FLAG_CALLER, FLAG_UNCHECKED, FLAG_KEEP_GIL, FLAG_CALLER_OBJECT = 1, 2, 4, 8
SPARE_ARGUMENTS = 2  # places in front of a Python function's arguments: PY_VECTORCALL_ARGUMENTS_OFFSET, Caller
THUNK_BYTES = 16  # of a piece of code that is a C function's address for C callers
STATUS_OK = 0  # of ENTRY: the code came to its end
# A loop over arrays (`typed.map`). The head is followed by a COLUMN for each parameter, then for each result.
MAP_JOB = _fields(("code", 8), ("vmctx", 8), ("count", 8), ("done", 8))
COLUMN = _fields(("data", 8), ("stride_bytes", 8))

# Strides of the arrays that follow the head, in this order.
MEMORY_SLOT = _fields(("memory", 8), ("base", 8))  # base: a copy, invariant under guard-page policy
TABLE_SLOT = _fields(("table", 8), ("elements", 8))  # elements: a copy; tables never move
SEGMENT_SLOT = _fields(("start", 8), ("length", 8))  # data: bytes; elements: references; length 0 once dropped
GLOBAL_BYTES = 16  # room for a v128

REFUSED = (1 << 64) - 1  # what growth returns that did not happen
UNLIMITED = (1 << 64) - 1  # a limit of a store that is none
# How element segments are written for C: offsets in the instance context, of func-refs, or with the bit set of pointers
# to one.
NULL_REFERENCE = (1 << 32) - 1
IMPORTED_REFERENCE = 1
# What C's segment functions return if not 0.
SEGMENT_OUT_OF_BOUNDS, SEGMENT_NO_MEMORY, SEGMENT_MORE = 1, 2, 3
# What takes evaluation when an instance is made: 8 or 16 bytes at an offset in the context, or where an address there
# points; the address of what is at an offset; and the value of the constant function at a position, computed.
CONSTANT_WORD, CONSTANT_WIDE, CONSTANT_IMPORTED_WORD, CONSTANT_IMPORTED_WIDE = 0, 1, 2, 3
CONSTANT_ADDRESS, CONSTANT_COMPUTED = 4, 5
NO_FUNCTION = (1 << 32) - 1  # of an address that no interpreted function belongs to


@dataclass(frozen=True, slots=True)
class VMContextLayout:
    """Offsets into one module's instance context; made from counts by `layout()`."""

    imported_functions: int  # array of VMFuncRef*
    memories: int  # array of MEMORY_SLOT, imported first
    tables: int  # array of TABLE_SLOT, imported first
    imported_globals: int  # array of pointers to the value
    globals: int  # array of GLOBAL_BYTES values: the module's own globals
    data_segments: int  # array of SEGMENT_SLOT
    element_segments: int  # array of SEGMENT_SLOT
    func_refs: int  # array of FUNC_REF: the module's own functions that may become references, in ascending order
    tags: int  # array of pointers to TAG, imported first
    size_bytes: int


def layout(
    *,
    imported_functions: int,
    memories: int,
    tables: int,
    imported_globals: int,
    defined_globals: int,
    data_segments: int,
    element_segments: int,
    func_refs: int,
    tags: int = 0,
) -> VMContextLayout:
    """The context layout of a module with these counts."""
    at = VMCONTEXT["sizeof"]
    starts: list[int] = []  # in the order of VMContextLayout's fields
    for count, stride, align in (
        (imported_functions, POINTER_BYTES, 8),
        (memories, MEMORY_SLOT["sizeof"], 8),
        (tables, TABLE_SLOT["sizeof"], 8),
        (imported_globals, POINTER_BYTES, 8),
        (defined_globals, GLOBAL_BYTES, 16),
        (data_segments, SEGMENT_SLOT["sizeof"], 8),
        (element_segments, SEGMENT_SLOT["sizeof"], 8),
        (func_refs, FUNC_REF["sizeof"], 8),
        (tags, POINTER_BYTES, 8),
    ):
        at = -(-at // align) * align
        starts.append(at)
        at += count * stride
    starts.append(-(-at // 16) * 16)
    return VMContextLayout(*starts)


def module_layout(module: Module) -> VMContextLayout:
    """The layout of a module's instance contexts: generated code and the runtime make it by the same call."""
    return layout(
        imported_functions=module.num_imported_functions,
        memories=len(module.memories),
        tables=len(module.tables),
        imported_globals=module.num_imported_globals,
        defined_globals=len(module.globals) - module.num_imported_globals,
        data_segments=len(module.data),
        element_segments=len(module.elements),
        func_refs=len(module.func_ref_functions()),
        tags=len(module.tags),
    )


@dataclass(frozen=True, slots=True)
class Builtin:
    """A C function that generated code calls through a table. LLVM types; those of BUILTINS take vmctx first.

    Trapping builtins unwind to the entry frame and do not return.
    """

    name: str
    result: str
    params: tuple[str, ...]


# memory/table/segment indices are i32; addresses, counts and deltas are i64 (zero-extended for 32-bit memories).
BUILTINS: tuple[Builtin, ...] = (
    Builtin("memory_grow", "i64", ("i32", "i64")),  # memory, delta pages -> previous pages or -1
    Builtin("memory_copy", "void", ("i32", "i32", "i64", "i64", "i64")),  # dst memory, src memory, dst, src, n bytes
    Builtin("memory_fill", "void", ("i32", "i64", "i32", "i64")),  # memory, start, byte, n bytes
    Builtin("memory_init", "void", ("i32", "i32", "i64", "i64", "i64")),  # memory, segment, dst, src, n bytes
    Builtin("data_drop", "void", ("i32",)),
    Builtin("table_grow", "i64", ("i32", "ptr", "i64")),  # table, init, delta -> previous length or -1
    Builtin("table_fill", "void", ("i32", "i64", "ptr", "i64")),  # table, start, value, n
    Builtin("table_copy", "void", ("i32", "i32", "i64", "i64", "i64")),  # dst table, src table, dst, src, n
    Builtin("table_init", "void", ("i32", "i32", "i64", "i64", "i64")),  # table, segment, dst, src, n
    Builtin("elem_drop", "void", ("i32",)),
    Builtin("epoch_deadline_reached", "void", ()),  # traps, or sets a later deadline and returns
    # Bits of a, b, c -> bits of a * b + c rounded once; NaNs are canonical. For processors that have no instruction.
    Builtin("fused_multiply_add_f32", "i64", ("i64", "i64", "i64")),
    Builtin("fused_multiply_add_f64", "i64", ("i64", "i64", "i64")),
    # Position in the function table, offset of the loop's opcode -> code that goes on from there, or 0 (hand_over.py).
    Builtin("hot_loop", "i64", ("i32", "i32")),
    # Type ids: of a func-ref that is there, and of a type that is not final -> 1 if the first is or is below it.
    Builtin("type_matches", "i64", ("i32", "i32")),
    # Memory, address, offset, expected value, timeout in ns (negative: none) -> 0 woken, 1 not equal, 2 timed out
    Builtin("memory_wait32", "i64", ("i32", "i64", "i64", "i64", "i64")),
    Builtin("memory_wait64", "i64", ("i32", "i64", "i64", "i64", "i64")),
    Builtin("memory_notify", "i64", ("i32", "i64", "i64", "i64")),  # memory, address, offset, most -> how many it woke
    Builtin("exception_new", "ptr", ("ptr",)),  # tag -> exception, whose values are to be stored
    Builtin("exception_throw", "void", ("ptr",)),  # goes on where it is caught, in another function
    Builtin("exception_release", "void", ("ptr",)),  # it was caught, by who takes no reference
    # Objects are offsets in the store's heap. Descriptor, length, size of the object in bytes -> the object
    Builtin("gc_allocate", "i64", ("i32", "i64", "i64")),
    Builtin("gc_kind", "i64", ("i64",)),  # of a reference's word: GC_STRUCT, GC_ARRAY, 0: it is no object
    Builtin("gc_move", "void", ("i64", "i64", "i64")),  # to, from, n bytes: all within arrays
    Builtin("gc_fill", "void", ("i64", "i64", "i64")),  # to, 8 bytes of elements, n bytes: within an array
    # Segment, where to, position in the segment, n elements, bytes of each
    Builtin("gc_init_data", "void", ("i32", "i64", "i64", "i64", "i64")),
    Builtin("gc_init_elem", "void", ("i32", "i64", "i64", "i64", "i64")),
    # Segment, descriptor, position in the segment, n elements, bytes of each -> the object
    Builtin("gc_new_data", "i64", ("i32", "i32", "i64", "i64", "i64")),
    Builtin("gc_new_elem", "i64", ("i32", "i32", "i64", "i64", "i64")),
)
BUILTIN_INDEX: dict[str, int] = {b.name: i for i, b in enumerate(BUILTINS)}

# What trampolines call (compile/trampolines.py), by position in the table that TARGET and HOST_FUNC point to.
# `{ i64, i64 }` is bits and whether the conversion succeeded; if not, a Python exception is set. "Leaves": unwinds on
# failure.
PAIR = "{ i64, i64 }"
BOUNDARY: tuple[Builtin, ...] = (
    # Runs `code` of the entry in the swiftself register with the arguments as they are: of every function type.
    Builtin("gate", "void", ()),
    Builtin("begin", "i32", ("ptr", "ptr")),  # target, entry -> 0, or nonzero with an exception
    Builtin("end", "i32", ("ptr", "ptr")),  # as begin
    Builtin("to_i32", PAIR, ("ptr", "ptr", "i32")),  # target, object, position
    Builtin("to_i64", PAIR, ("ptr", "ptr", "i32")),
    Builtin("to_f32", PAIR, ("ptr", "ptr", "i32")),
    Builtin("to_f64", PAIR, ("ptr", "ptr", "i32")),
    Builtin("to_v128", "i32", ("ptr", "ptr", "i32", "ptr")),  # ..., where to write it -> nonzero if it succeeded
    Builtin("to_reference", PAIR, ("ptr", "ptr", "i32")),
    Builtin("from_i32", "ptr", ("i32",)),  # the object, or null with an exception
    Builtin("from_i64", "ptr", ("i64",)),
    Builtin("from_f32", "ptr", ("float",)),
    Builtin("from_f64", "ptr", ("double",)),
    Builtin("from_v128", "ptr", ("ptr",)),
    Builtin("from_none", "ptr", ()),
    Builtin("from_reference", "ptr", ("ptr", "i64", "i32")),  # target, bits, position among the results
    Builtin("from_results", "ptr", ("ptr", "ptr")),  # target, slots of all results -> a list
    Builtin("host_begin", "void", ("ptr", "ptr")),  # host function, frame address: takes the GIL
    Builtin("host_argument", "ptr", ("ptr", "i64", "i32")),  # host function, bits of a reference, position
    Builtin("host_call", "ptr", ("ptr", "ptr", "i64")),  # host function, arguments (consumed), their number. Leaves.
    Builtin("host_no_result", "void", ("ptr", "ptr")),  # host function, object (consumed). This and what follows leave.
    Builtin("host_result", "i64", ("ptr", "ptr")),  # a single result that is no v128: its bits
    Builtin(
        "host_results", "void", ("ptr", "ptr", "ptr", "ptr")
    ),  # ..., the first two results' slots (16 bytes each), area
    Builtin("host_end", "void", ("ptr", "ptr")),  # host function, frame address: gives the GIL back. Leaves.
    Builtin("native_begin", "i32", ("ptr", "ptr")),  # as begin, with or without the GIL, exceptions kept in the store
    Builtin("native_end", "void", ("ptr", "ptr")),
)
BOUNDARY_INDEX: dict[str, int] = {b.name: i for i, b in enumerate(BOUNDARY)}

_C_TYPES = {
    "void": "void",
    "i32": "uint32_t",
    "i64": "uint64_t",
    "ptr": "void *",
    "float": "float",
    "double": "double",
    PAIR: "wj_converted",
}


def _numbers() -> dict[str, int | str]:
    """What C knows besides layouts, traps and functions: number or letter by name."""
    return {
        "MAGIC": VMCONTEXT_MAGIC,
        "SLOT_BYTES": SLOT_BYTES,
        "GLOBAL_BYTES": GLOBAL_BYTES,
        "ELEMENT_BYTES": ELEMENT_BYTES,
        "MAX_PARAMS": MAX_PARAMS,
        "MAX_RESULTS": MAX_RESULTS,
        "MAX_REGISTER_RESULTS": MAX_REGISTER_RESULTS,
        "MAX_TABLE_ELEMENTS": MAX_TABLE_ELEMENTS,
        **{f"INT_REGISTERS_{machine.upper()}": count for machine, count in INT_REGISTERS.items()},
        "FLOAT_REGISTERS": FLOAT_REGISTERS,
        "HAND_OVER_OFFSET": HAND_OVER_OFFSET,
        "LOOP_FRAME_SLOT_BYTES": LOOP_FRAME_SLOT_BYTES,
        "ASKED_BY_INTERPRETER": ASKED_BY_INTERPRETER,
        "ASKED_BY_BASELINE": ASKED_BY_BASELINE,
        "ASKED_BY_STENCILS": ASKED_BY_STENCILS,
        "ASKED_BY_WATCH": ASKED_BY_WATCH,
        "ANSWER_WATCH": ANSWER_WATCH,
        "ANSWER_AWAIT": ANSWER_AWAIT,
        "ATOMIC_LOAD": ATOMIC_LOAD,
        "ATOMIC_STORE": ATOMIC_STORE,
        "ATOMIC_ADD": ATOMIC_ADD,
        "ATOMIC_COMPARE_EXCHANGE": ATOMIC_COMPARE_EXCHANGE,
        "WAIT_OK": WAIT_OK,
        "WAIT_MISMATCH": WAIT_MISMATCH,
        "WAIT_TIMED_OUT": WAIT_TIMED_OUT,
        "WAIT_ENDED": WAIT_ENDED,
        "MOST_CHARGED": MOST_CHARGED,
        "ENTRY_BYTES": ENTRY_BYTES,
        "STATUS_OK": STATUS_OK,
        "TAIL_ARGUMENTS_BYTES": TAIL_ARGUMENTS_BYTES,
        "SPARE_ARGUMENTS": SPARE_ARGUMENTS,
        "THUNK_BYTES": THUNK_BYTES,
        "EXCEPTION_REFERENCED": EXCEPTION_REFERENCED,
        "MARK_RECORD_BYTES": MARK_RECORD_BYTES,
        "CODES": CODES,
        "REGISTER_ENTRIES": REGISTER_ENTRIES,
        "REGISTER_ENTRY_STUB": REGISTER_ENTRY_STUB,
        "COUNTERS": COUNTERS,
        "FLAG_CALLER": FLAG_CALLER,
        "FLAG_UNCHECKED": FLAG_UNCHECKED,
        "FLAG_KEEP_GIL": FLAG_KEEP_GIL,
        "FLAG_CALLER_OBJECT": FLAG_CALLER_OBJECT,
        "SEGMENT_PASSIVE": PASSIVE,
        "SEGMENT_ACTIVE": ACTIVE,
        "SEGMENT_DECLARATIVE": DECLARATIVE,
        "SEGMENT_OUT_OF_BOUNDS": SEGMENT_OUT_OF_BOUNDS,
        "SEGMENT_NO_MEMORY": SEGMENT_NO_MEMORY,
        "SEGMENT_MORE": SEGMENT_MORE,
        "CONSTANT_WORD": CONSTANT_WORD,
        "CONSTANT_WIDE": CONSTANT_WIDE,
        "CONSTANT_IMPORTED_WORD": CONSTANT_IMPORTED_WORD,
        "CONSTANT_IMPORTED_WIDE": CONSTANT_IMPORTED_WIDE,
        "CONSTANT_ADDRESS": CONSTANT_ADDRESS,
        "CONSTANT_COMPUTED": CONSTANT_COMPUTED,
        "NULL_REFERENCE": NULL_REFERENCE,
        "IMPORTED_REFERENCE": IMPORTED_REFERENCE,
        "NO_FUNCTION": NO_FUNCTION,
        "GC_OBJECT_ALIGNMENT": GC_OBJECT_ALIGNMENT,
        "GC_DISPLAY_ENTRIES": GC_DISPLAY_ENTRIES,
        "GC_TRACED": GC_TRACED,
        "GC_STRUCT": GC_STRUCT,
        "GC_ARRAY": GC_ARRAY,
        "GC_TRACED_ANYREF": GC_TRACED_ANYREF,
        "GC_TRACED_EXTERNREF": GC_TRACED_EXTERNREF,
        "GC_TRACED_EXNREF": GC_TRACED_EXNREF,
        "GC_TRACED_SHIFT": GC_TRACED_SHIFT,
        "WORD_KIND_MASK": WORD_KIND_MASK,
        "WORD_HOST": WORD_HOST,
        "REFUSED": REFUSED,
        "UNLIMITED": UNLIMITED,
        **{f"TYPE_{valtype_name(code).upper()}": code for code in SIGNATURE_LETTERS},
        **{f"LETTER_{valtype_name(code).upper()}": letter for code, letter in SIGNATURE_LETTERS.items()},
    }


def _c_number(value: int | str) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return f"UINT64_C({value:#x})" if value >> 32 else f"{value:#x}u" if value >> 24 else str(value)


def render_header() -> str:
    """The text of ``runtime_c/wj_abi.h``."""
    lines = [
        "/* Generated by wasmjit.abi.render_header(): do not edit. `make abi` rewrites it; a test compares. */",
        "#ifndef WJ_ABI_H",
        "#define WJ_ABI_H",
        "#include <stdint.h>",
        *(f"#define WJ_{name} {_c_number(value)}" for name, value in _numbers().items()),
    ]
    for struct, fields in (
        ("FUNC_REF", FUNC_REF),
        ("MEMORY", MEMORY),
        ("TABLE", TABLE),
        ("STORE", STORE),
        ("TAIL_ARGUMENTS", TAIL_ARGUMENTS),
        ("TAG", TAG),
        ("EXCEPTION", EXCEPTION),
        ("GC_OBJECT", GC_OBJECT),
        ("GC_DESCRIPTOR", GC_DESCRIPTOR),
        ("FUNCTION_TABLE_HEADER", FUNCTION_TABLE_HEADER),
        ("VMCONTEXT", VMCONTEXT),
        ("MEMORY_SLOT", MEMORY_SLOT),
        ("TABLE_SLOT", TABLE_SLOT),
        ("SEGMENT_SLOT", SEGMENT_SLOT),
        ("TARGET", TARGET),
        ("ENTRY", ENTRY),
        ("HOST_FUNC", HOST_FUNC),
        ("MAP_JOB", MAP_JOB),
        ("COLUMN", COLUMN),
    ):
        lines += [f"#define WJ_{struct}_{name.upper()} {offset}" for name, offset in fields.items()]
    lines += [f"#define WJ_TRAP_{trap.name} {trap.number}" for trap in TRAPS]
    for table, rows in (("BUILTINS", BUILTINS), ("BOUNDARY", BOUNDARY)):
        lines.append(f"#define WJ_{table}(X) \\")
        lines += [f"  X({b.name}) \\" for b in rows[:-1]] + [f"  X({rows[-1].name})"]
    for b in BUILTINS:
        params = "".join(f", {_C_TYPES[p]}" for p in b.params)
        lines.append(f"{_C_TYPES[b.result]} wj_builtin_{b.name}(void *vmctx{params});".replace("* wj", "*wj"))
    lines.append("typedef struct { uint64_t bits, succeeded; } wj_converted;")
    for b in BOUNDARY:
        params = ", ".join(_C_TYPES[p] for p in b.params) or "void"
        lines.append(f"{_C_TYPES[b.result]} wj_boundary_{b.name}({params});".replace("* wj", "*wj"))
    lines += ["#endif", ""]
    return "\n".join(lines)
