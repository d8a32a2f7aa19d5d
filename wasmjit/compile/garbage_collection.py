"""The instructions of garbage collection: structures, arrays, i31 and conversions. Casts are in `casts`.

What goes wrong is looked at before anything happens. Of an array the index alone: the length that is read through null
is 0, so a block that is seldom entered tells one from the other. Accesses to objects never fault.
"""

from __future__ import annotations

from .. import abi
from ..wasm.types import ArrayType, FieldType, StructType, unpacked
from . import heap, metering
from .calls import CallingEmitter, type_id
from .unit_state import UnitState

_ZEROS = frozenset(("0", "null", "0x0000000000000000", "zeroinitializer"))


class ObjectEmitter(CallingEmitter):
    """The text of a function, and what it does with objects."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.shown: list[tuple[int, str]] = []  # lines for what the collector is to see, and the references
        self.quiet_loops: list[tuple[int, int]] = []  # the lines of loops in which it does not run

    # ---- null ----

    def check_object(self, reference: str, may_be_null: bool, at: int, operands: int) -> None:
        """Traps if a reference is null; `operands` are the instruction's own on the stack."""
        if may_be_null:
            if self.module.memories:
                self.anchor_waiting(operands=operands)  # LLVM may find that this always traps
            name = self.fresh()
            self.lines.append(f"  {name} = icmp eq ptr {reference}, null")
            self.trap_if(name, "NULL_REFERENCE", at)

    # ---- structures ----

    def _struct(self, index: int) -> StructType:
        found = self.module.types[index]
        assert isinstance(found, StructType)
        return found

    def struct_new(self, index: int, is_default: bool, at: int) -> None:
        """struct.new, struct.new_default"""
        type = self._struct(index)
        offsets, size_bytes = abi.struct_layout(type)
        values: list[str] = []
        if not is_default and type.fields:
            self.work(len(type.fields))
            values = self.values[-len(type.fields) :]
            del self.values[-len(type.fields) :]
        offset = heap.allocate(self, index, "", str(size_bytes), at)
        if any(value not in _ZEROS for value in values):
            made = heap.object_at(self, offset)
            for field, value, place in zip(type.fields, values, offsets, strict=True):
                if value not in _ZEROS:
                    self._store_field(made, place, value, field)
        self.values.append(heap.reference_to(self, offset))

    def _store_field(self, object: str, offset: int, value: str, field: FieldType) -> None:
        value = heap.stored(self, value, field.storage)
        name = self.fresh()
        self.lines.append(f"  {name} = getelementptr i8, ptr {object}, i64 {offset}")
        heap.store(self, name, value, field.storage, is_element=False)

    def struct_get(self, index: int, field: int, may_be_null: bool, is_signed: bool, at: int) -> None:
        """All that read a field."""
        reference = self.values.pop()
        self.check_object(reference, may_be_null, at, 0)
        offsets, _ = abi.struct_layout(self._struct(index))
        object = heap.address(self, reference)
        name = self.fresh()
        self.lines.append(f"  {name} = getelementptr i8, ptr {object}, i64 {offsets[field]}")
        storage = self._struct(index).fields[field].storage
        self.values.append(heap.load(self, name, storage, is_element=False, is_signed=is_signed))

    def struct_set(self, index: int, field: int, may_be_null: bool, at: int) -> None:
        """struct.set"""
        value = self.values.pop()
        reference = self.values.pop()
        self.check_object(reference, may_be_null, at, 0)
        type = self._struct(index)
        offsets, _ = abi.struct_layout(type)
        object = heap.address(self, reference)
        self.note_fixed_store(value, unpacked(type.fields[field].storage))
        self._store_field(object, offsets[field], value, type.fields[field])

    # ---- arrays ----

    def _element(self, index: int) -> FieldType:
        found = self.module.types[index]
        assert isinstance(found, ArrayType)
        return found.element

    def array_new(self, index: int, is_default: bool, at: int) -> None:
        """array.new, array.new_default"""
        length = heap.widened(self, self.values.pop())
        value = "0" if is_default else self.values.pop()
        storage = self._element(index).storage
        self._charge(length)
        offset = heap.allocate(self, index, length, heap.array_bytes(self, length, storage), at)
        if value not in _ZEROS:
            value = heap.stored(self, value, storage)
            first = heap.elements(self, heap.object_at(self, offset))
            heap.fill(self, first, length, value, storage)
        self.values.append(heap.reference_to(self, offset))

    def array_new_fixed(self, index: int, count: int, at: int) -> None:
        """array.new_fixed"""
        self.work(1 + count)
        storage = self._element(index).storage
        values = self.values[len(self.values) - count :]
        del self.values[len(self.values) - count :]
        offset = heap.allocate(self, index, str(count), heap.array_bytes(self, str(count), storage), at)
        made = heap.object_at(self, offset)
        for position, value in enumerate(values):
            if value not in _ZEROS:
                value = heap.stored(self, value, storage)
                name = self.fresh()
                place = abi.GC_OBJECT["sizeof"] + position * abi.storage_bytes(storage)
                self.lines.append(f"  {name} = getelementptr i8, ptr {made}, i64 {place}")
                heap.store(self, name, value, storage, is_element=True)
        self.check_length()
        self.values.append(heap.reference_to(self, offset))

    def _checked_array(self, reference: str, start: str, count: str, at: int) -> str:
        """The address of an array; traps unless it has `count` elements from `start` on, an i64 each."""
        object = heap.address(self, reference)
        length = heap.widened(self, heap.header_word(self, object, "length"))
        name = self.fresh()
        self.lines.append(f"  {name}e = add nuw nsw i64 {start}, {count}\n  {name} = icmp ugt i64 {name}e, {length}")
        self.trap_if(name, "ARRAY_OUT_OF_BOUNDS", at)
        return object

    def _element_place(self, reference: str, index: str, storage: int, at: int) -> str:
        """The address of an element, after a look at null and at the length."""
        object = heap.address(self, reference)
        length = heap.header_word(self, object, "length")
        name = self.fresh()
        self.lines.append(f"  {name} = icmp uge i32 {index}, {length}")
        self.counter += 1
        outside, label = f"outside{self.counter}", f"k{self.counter}"
        null, bounds = self.trap_block("NULL_REFERENCE", at), self.trap_block("ARRAY_OUT_OF_BOUNDS", at)
        self.lines.append(f"  br i1 {name}, label %{outside}, label %{label}, !prof !3\n{label}:")
        self.current = label
        self.cold.append(
            f"{outside}:\n  {name}n = icmp eq ptr {reference}, null\n  br i1 {name}n, label %{null}, label %{bounds}"
        )
        self.show(reference)
        return heap.element_address(self, object, index, storage)

    def array_get(self, index: int, is_signed: bool, at: int) -> None:
        """All that read an element."""
        position = self.values.pop()
        reference = self.values.pop()
        storage = self._element(index).storage
        place = self._element_place(reference, position, storage, at)
        self.values.append(heap.load(self, place, storage, is_element=True, is_signed=is_signed))

    def array_set(self, index: int, at: int) -> None:
        """array.set"""
        value = self.values.pop()
        position = self.values.pop()
        reference = self.values.pop()
        storage = self._element(index).storage
        place = self._element_place(reference, position, storage, at)
        heap.store(self, place, heap.stored(self, value, storage), storage, is_element=True)

    def array_len(self, may_be_null: bool, at: int) -> None:
        """array.len"""
        reference = self.values.pop()
        self.check_object(reference, may_be_null, at, 0)
        self.values.append(heap.header_word(self, heap.address(self, reference), "length"))

    # ---- many elements ----

    def _pop_widened(self, count: int) -> list[str]:
        """Operands from the top, deepest first, as i64."""
        popped = self.values[-count:]
        del self.values[-count:]
        return [heap.widened(self, value) for value in popped]

    def _offset_of_element(self, reference: str, index: str, storage: int) -> str:
        """Where in the heap an element is, whose index is an i64."""
        offset = heap.word(self, reference)
        name = self.fresh()
        self.lines.append(
            f"  {name}m = mul nuw nsw i64 {index}, {abi.storage_bytes(storage)}\n"
            f"  {name}b = add nuw nsw i64 {offset}, {abi.GC_OBJECT['sizeof']}\n"
            f"  {name} = add nuw nsw i64 {name}b, {name}m"
        )
        return name

    def _call_bulk(self, builtin: str, operands: str, at: int) -> str:
        """Calls a function of the runtime, of whose work was charged for."""
        if self.fuel:
            metering.save_fuel(self)
        self.note_collection()
        row = abi.BUILTINS[abi.BUILTIN_INDEX[builtin]]
        call = f"call {row.result} {self.builtin_pointer(builtin)}(ptr %vmctx, {operands}){self.debug(at)}"
        if row.result == "void":
            self.lines.append(f"  {call}")
            return ""
        name = self.fresh()
        self.lines.append(f"  {name} = {call}")
        return name

    def _charge(self, count: str) -> None:
        if self.fuel:
            metering.charge(self)
            metering.charge_count64(self, count)

    def array_fill(self, index: int, may_be_null: bool, at: int) -> None:
        """array.fill"""
        count = heap.widened(self, self.values.pop())
        value = self.values.pop()
        start = heap.widened(self, self.values.pop())
        reference = self.values.pop()
        storage = self._element(index).storage
        self.check_object(reference, may_be_null, at, 0)
        object = self._checked_array(reference, start, count, at)
        self._charge(count)
        value = heap.stored(self, value, storage)
        if abi.storage_bytes(storage) <= heap.PATTERN_BYTES:
            into = self._offset_of_element(reference, start, storage)
            size = self.fresh()
            self.lines.append(f"  {size} = mul nuw nsw i64 {count}, {abi.storage_bytes(storage)}")
            self._call_bulk("gc_fill", f"i64 {into}, i64 {heap.pattern(self, value, storage)}, i64 {size}", at)
            return
        name = self.fresh()
        first = heap.elements(self, object)
        self.lines.append(f"  {name} = getelementptr {heap.stored_type(storage)}, ptr {first}, i64 {start}")
        heap.fill(self, name, count, value, storage)

    def array_copy(self, to: int, from_: int, may_be_null: tuple[bool, bool], at: int) -> None:
        """array.copy"""
        from_start, count = self._pop_widened(2)
        source = self.values.pop()
        to_start = heap.widened(self, self.values.pop())
        destination = self.values.pop()
        self.check_object(destination, may_be_null[0], at, 0)
        self.check_object(source, may_be_null[1], at, 0)
        self._checked_array(destination, to_start, count, at)
        self._checked_array(source, from_start, count, at)
        self._charge(count)
        storage = self._element(to).storage
        into = self._offset_of_element(destination, to_start, storage)
        out_of = self._offset_of_element(source, from_start, self._element(from_).storage)
        size = self.fresh()
        self.lines.append(f"  {size} = mul nuw nsw i64 {count}, {abi.storage_bytes(storage)}")
        self._call_bulk("gc_move", f"i64 {into}, i64 {out_of}, i64 {size}", at)

    def array_init(self, builtin: str, index: int, segment: int, may_be_null: bool, at: int) -> None:
        """array.init_data, array.init_elem"""
        to_start, from_start, count = self._pop_widened(3)
        reference = self.values.pop()
        self.check_object(reference, may_be_null, at, 0)
        self._checked_array(reference, to_start, count, at)
        self._charge(count)
        storage = self._element(index).storage
        into = self._offset_of_element(reference, to_start, storage)
        element_bytes = abi.storage_bytes(storage)
        self._call_bulk(builtin, f"i32 {segment}, i64 {into}, i64 {from_start}, i64 {count}, i64 {element_bytes}", at)

    def array_new_from(self, builtin: str, index: int, segment: int, at: int) -> None:
        """array.new_data, array.new_elem"""
        from_start, count = self._pop_widened(2)
        self._charge(count)
        self.unit.has_object_code = True
        element_bytes = abi.storage_bytes(self._element(index).storage)
        descriptor = type_id(self, index)
        operands = f"i32 {segment}, i32 {descriptor}, i64 {from_start}, i64 {count}, i64 {element_bytes}"
        self.values.append(heap.reference_to(self, self._call_bulk(builtin, operands, at)))

    # ---- words ----

    def ref_eq(self) -> None:
        """ref.eq"""
        b, a = self.values.pop(), self.values.pop()
        condition = f"%c{self.fresh()[1:]}"
        self.lines.append(f"  {condition} = icmp eq ptr {a}, {b}")
        name = self.fresh()
        self.lines.append(f"  {name} = zext i1 {condition} to i32")
        self.values.append(name)

    def ref_i31(self) -> None:
        """ref.i31"""
        value = self.values.pop()
        name = self.fresh()
        self.lines.append(
            f"  {name}s = shl i32 {value}, 1\n  {name}o = or i32 {name}s, 1\n  {name} = inttoptr i32 {name}o to ptr"
        )
        self.values.append(name)

    def i31_get(self, may_be_null: bool, is_signed: bool, at: int) -> None:
        """i31.get_s, i31.get_u"""
        reference = self.values.pop()
        self.check_object(reference, may_be_null, at, 0)
        name = self.fresh()
        shift = "ashr" if is_signed else "lshr"
        self.lines.append(f"  {name}w = ptrtoint ptr {reference} to i32\n  {name} = {shift} i32 {name}w, 1")
        self.values.append(name)

    def any_convert_extern(self, at: int) -> None:
        """any.convert_extern: the word stays, if fields have room for it"""
        value = heap.word(self, self.values[-1])
        name = self.fresh()
        self.lines.append(f"  {name} = icmp ugt i64 {value}, {(1 << 32) - 1}")
        self.trap_if(name, "ALLOCATION_TOO_LARGE", at)

    # ---- what the collector sees ----

    def show(self, reference: str) -> None:
        """Notes that a reference is needed here: LLVM may keep nothing else than an address far behind the array.

        The lines go where nothing is collected (`visible`).
        """
        if reference[0] == "%":
            self.shown.append((len(self.lines), reference))
            self.lines.append("")
