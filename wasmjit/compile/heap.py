"""Objects of garbage collection in LLVM's words: their addresses, loads and stores, and how they are made.

A reference is an offset in the store's heap (abi.GC_OBJECT), in a register a `ptr` that nothing loads through:
addresses are that far behind the heap's. Objects never move. The collector looks for references on the stack, and takes
addresses within objects for them, so a register may have one or the other.

Nothing here is `!invariant.load` but where the heap is: a new object may lie where an old one was.
"""

from __future__ import annotations

from .. import abi
from ..wasm.types import F32, F64, I8, I16, I32, I64, V128, is_anyref, is_packed, llvm_type
from . import metering
from .calls import CallingEmitter, type_id

# Metadata numbers of accesses: what differs in it does not alias. Debug scopes come before.
_FIRST_TAG = 1 << 30
_HEADER = _FIRST_TAG
_FILL = _FIRST_TAG - 2
PATTERN_BYTES = 8
_STORAGES = (I8, I16, I32, I64, F32, F64, V128)
_ANYREF, _WORD = len(_STORAGES), len(_STORAGES) + 1
_LLVM_STORAGE = {I8: "i8", I16: "i16"}


def tags() -> str:
    """The definitions of the metadata."""
    lines = [f'!{_HEADER} = !{{!{_HEADER + 1}, !{_HEADER + 1}, i64 0}}\n!{_HEADER + 1} = !{{!"object header", !7}}']
    for of, what in enumerate(("field", "element"), 1):
        for kind in range(_WORD + 1):
            number = _FIRST_TAG + 2 * (of * (_WORD + 1) + kind)
            lines.append(
                f'!{number} = !{{!{number + 1}, !{number + 1}, i64 0}}\n!{number + 1} = !{{!"{what} {kind}", !7}}'
            )
    # Most fills are short: what is left behind wide steps would be most of them.
    lines.append(
        f'!{_FILL} = distinct !{{!{_FILL}, !{_FILL + 1}}}\n!{_FILL + 1} = !{{!"llvm.loop.interleave.count", i32 1}}'
    )
    return "\n".join(lines)


def _tag(storage: int, is_element: bool) -> str:
    if storage in _STORAGES:
        kind = _STORAGES.index(storage)
    else:
        kind = _ANYREF if is_anyref(storage) else _WORD
    return f"!tbaa !{_FIRST_TAG + 2 * ((1 + is_element) * (_WORD + 1) + kind)}"


def stored_type(storage: int) -> str:
    """What LLVM stores of a field or element."""
    return "i32" if is_anyref(storage) else _LLVM_STORAGE.get(storage) or llvm_type(storage)


def base(lowering: CallingEmitter) -> str:
    """The address of the heap. Modules with types of objects have one; others may get one while a function runs."""
    if has_heap(lowering):
        return lowering.invariant("%heap", lowering.store_record(), abi.STORE["gc_heap"])
    place = lowering.address("%heap.p", lowering.store_record(), abi.STORE["gc_heap"])
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = load ptr, ptr {place}, align 8, !tbaa !2")
    return name


def has_heap(lowering: CallingEmitter) -> bool:
    """Whether an instance of the module sees to it that there is a heap."""
    return lowering.unit.has_objects


def word(lowering: CallingEmitter, reference: str) -> str:
    """A reference as an i64."""
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = ptrtoint ptr {reference} to i64")
    return name


def address(lowering: CallingEmitter, reference: str) -> str:
    """The address of the object that a reference is to; of null, that of zeros that can be read."""
    lowering.unit.has_object_code = True
    start = base(lowering)
    offset = word(lowering, reference)
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = getelementptr i8, ptr {start}, i64 {offset}")
    return name


def header_word(lowering: CallingEmitter, object: str, field: str) -> str:
    """The descriptor or the length of what is at an address."""
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}p = getelementptr i8, ptr {object}, i64 {abi.GC_OBJECT[field]}\n"
        f"  {name} = load i32, ptr {name}p, align 4, !tbaa !{_HEADER}"
    )
    return name


def descriptor_word(lowering: CallingEmitter, descriptor: str, offset: int) -> str:
    """What is in the descriptor with an offset, an i32: that never changes, where there is one."""
    start = base(lowering)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}o = zext i32 {descriptor} to i64\n"
        f"  {name}d = getelementptr i8, ptr {start}, i64 {name}o\n"
        f"  {name}p = getelementptr i8, ptr {name}d, i64 {offset}\n"
        f"  {name} = load i32, ptr {name}p, align 4, !tbaa !2"
    )
    return name


# ---- fields and elements ----


def load(lowering: CallingEmitter, place: str, storage: int, *, is_element: bool, is_signed: bool) -> str:
    """The value of a field or element at an address."""
    name = lowering.fresh()
    llvm = stored_type(storage)
    alignment = min(abi.storage_bytes(storage), abi.GC_OBJECT_ALIGNMENT)
    read = f"load {llvm}, ptr {place}, align {alignment}, {_tag(storage, is_element)}"
    if is_packed(storage):
        widen = f"{'sext' if is_signed else 'zext'} {llvm} {name}n to i32"
        lowering.lines.append(f"  {name}n = {read}\n  {name} = {widen}")
    elif is_anyref(storage):
        lowering.lines.append(f"  {name}n = {read}\n  {name} = inttoptr i32 {name}n to ptr")
    else:
        lowering.lines.append(f"  {name} = {read}")
    return name


def stored(lowering: CallingEmitter, value: str, storage: int) -> str:
    """A value as it is stored."""
    if not is_packed(storage) and not is_anyref(storage):
        return value
    name = lowering.fresh()
    llvm = stored_type(storage)
    if is_packed(storage):
        lowering.lines.append(f"  {name} = trunc i32 {value} to {llvm}")
    else:
        lowering.lines.append(f"  {name} = ptrtoint ptr {value} to {llvm}")
    return name


def store(lowering: CallingEmitter, place: str, value: str, storage: int, *, is_element: bool) -> None:
    """Stores what `stored` gave."""
    alignment = min(abi.storage_bytes(storage), abi.GC_OBJECT_ALIGNMENT)
    lowering.lines.append(
        f"  store {stored_type(storage)} {value}, ptr {place}, align {alignment}, {_tag(storage, is_element)}"
    )


def elements(lowering: CallingEmitter, object: str) -> str:
    """The address of an array's first element."""
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = getelementptr i8, ptr {object}, i64 {abi.GC_OBJECT['sizeof']}")
    return name


def element_address(lowering: CallingEmitter, object: str, index: str, storage: int) -> str:
    """The address of an element; `index` is an i32, below the length."""
    first = elements(lowering, object)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}z = zext i32 {index} to i64\n"
        f"  {name} = getelementptr {stored_type(storage)}, ptr {first}, i64 {name}z"
    )
    return name


# ---- new objects ----


def allocate(lowering: CallingEmitter, type_index: int, length: str, size: str, at: int) -> str:
    """Makes an object of a type of the module, all zeros; its offset, an i64.

    `length` is an i64, "" for a structure; `size` is in bytes, an i64 that is no more than 2^37. The hole that objects
    are put into is all zeros. The header comes before the cursor: whatever happens in between, what is below the cursor
    are objects.
    """
    unit = lowering.unit
    unit.has_object_code = True
    heap = base(lowering)
    store_record = lowering.store_record()
    cursor = lowering.address("%cursor.p", store_record, abi.STORE["gc_cursor"])
    limit = lowering.address("%limit.p", store_record, abi.STORE["gc_limit"])
    descriptor = type_id(lowering, type_index)
    callee = lowering.builtin_pointer("gc_allocate")
    if lowering.fuel:
        metering.charge(lowering)
        metering.save_fuel(lowering)
    lowering.note_collection()
    name = lowering.fresh()
    lowering.counter += 1
    fast, slow, done = (f"{kind}{lowering.counter}" for kind in ("k", "t", "n"))
    if length:
        header = (
            f"  {name}d = zext i32 {descriptor} to i64\n  {name}h = shl i64 {length}, 32\n"
            f"  {name}w = or i64 {name}h, {name}d\n"
        )
        header_store = f"  store volatile i64 {name}w, ptr {name}a, align 8, !tbaa !{_HEADER}\n"
    else:
        header = ""
        header_store = f"  store volatile i32 {descriptor}, ptr {name}a, align 8, !tbaa !{_HEADER}\n"
    lowering.lines.append(
        f"  {name}p = load i64, ptr {cursor}, align 8, !tbaa !2\n"
        f"  {name}l = load i64, ptr {limit}, align 8, !tbaa !2\n"
        f"  {name}e = add nuw nsw i64 {name}p, {size}\n"
        f"  {name}o = icmp ugt i64 {name}e, {name}l\n"
        f"  br i1 {name}o, label %{slow}, label %{fast}, !prof !3\n{fast}:\n"
        f"{header}"
        f"  {name}a = getelementptr i8, ptr {heap}, i64 {name}p\n"
        f"{header_store}"
        f"  store volatile i64 {name}e, ptr {cursor}, align 8, !tbaa !2\n"
        f"  br label %{done}"
    )
    lowering.start_label(done)
    lowering.lines.append(f"  {name} = phi i64 [ {name}p, %{fast} ], [ {name}s, %{slow} ]")
    lowering.cold.append(
        f"{slow}:\n  {name}s = call i64 {callee}(ptr %vmctx, i32 {descriptor}, i64 {length or 0}, i64 {size})"
        f"{lowering.debug(at)}\n  br label %{done}"
    )
    lowering.num_edges += 1
    return name


def array_bytes(lowering: CallingEmitter, length: str, storage: int) -> str:
    """The size of an array whose length is an i64 below 2^32."""
    size_bytes = abi.storage_bytes(storage)
    head_bytes = abi.GC_OBJECT["sizeof"]
    rounding = 0 if size_bytes % abi.GC_OBJECT_ALIGNMENT == 0 else abi.GC_OBJECT_ALIGNMENT - 1
    if length == "poison":  # of code that is never reached
        return length
    if length[0] != "%":
        return str((int(length) * size_bytes + head_bytes + rounding) & -abi.GC_OBJECT_ALIGNMENT)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}m = mul nuw nsw i64 {length}, {size_bytes}\n"
        f"  {name}b = add nuw nsw i64 {name}m, {head_bytes + rounding}\n"
        f"  {name} = and i64 {name}b, {-abi.GC_OBJECT_ALIGNMENT}"
    )
    return name


def widened(lowering: CallingEmitter, value: str) -> str:
    """An i32 as an i64, zero-extended."""
    if value[0] != "%":
        return str(int(value) & 0xFFFFFFFF) if value.lstrip("-").isdigit() else value
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = zext i32 {value} to i64")
    return name


def reference_to(lowering: CallingEmitter, offset: str) -> str:
    """The reference to the object at an offset."""
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = inttoptr i64 {offset} to ptr")
    return name


def object_at(lowering: CallingEmitter, offset: str) -> str:
    """The address of the object at an offset."""
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = getelementptr i8, ptr {base(lowering)}, i64 {offset}")
    return name


def pattern(lowering: CallingEmitter, value: str, storage: int) -> str:
    """An i64 of as many elements as it has room for, each what `stored` gave."""
    size_bytes = abi.storage_bytes(storage)
    llvm = stored_type(storage)
    name = lowering.fresh()
    bits = f"i{8 * size_bytes}"
    if llvm == "ptr":
        lowering.lines.append(f"  {name}b = ptrtoint ptr {value} to i64")
    else:
        lowering.lines.append(f"  {name}b = bitcast {llvm} {value} to {bits}")
    if size_bytes == PATTERN_BYTES:
        return f"{name}b"
    times = sum(1 << 8 * at for at in range(0, PATTERN_BYTES, size_bytes))
    lowering.lines.append(f"  {name}w = zext {bits} {name}b to i64\n  {name} = mul i64 {name}w, {times}")
    return name


def fill(lowering: CallingEmitter, first: str, count: str, value: str, storage: int) -> None:
    """Stores what `stored` gave to `count` elements, an i64, from an address on: a loop that LLVM vectorises."""
    name = lowering.fresh()
    lowering.counter += 1
    loop, done = f"fill{lowering.counter}", f"n{lowering.counter}"  # locals have names that begin with l
    before = lowering.current
    lowering.lines.append(f"  {name}z = icmp eq i64 {count}, 0\n  br i1 {name}z, label %{done}, label %{loop}")
    lowering.start_label(loop)
    lowering.lines.append(
        f"  {name} = phi i64 [ 0, %{before} ], [ {name}i, %{loop} ]\n"
        f"  {name}p = getelementptr {stored_type(storage)}, ptr {first}, i64 {name}"
    )
    store(lowering, f"{name}p", value, storage, is_element=True)
    lowering.lines.append(
        f"  {name}i = add nuw nsw i64 {name}, 1\n"
        f"  {name}m = icmp ult i64 {name}i, {count}\n"
        f"  br i1 {name}m, label %{loop}, label %{done}, !llvm.loop !{_FILL}"
    )
    lowering.start_label(done)
    lowering.num_edges += 2
