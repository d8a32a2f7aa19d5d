"""The instructions of garbage collection (prefix 0xFB, and ref.eq): their immediates and types (spec section 3.4.6-8).

Lowering is told whether a reference may be null, as its type says.
"""

from __future__ import annotations

from ..errors import MalformedError
from .atomics import AtomicInstructions
from .lowering import Lowering
from .module import Module
from .types import (
    ANYREF,
    ARRAYREF,
    EQREF,
    EXTERNREF,
    I31REF,
    I32,
    NON_NULL,
    UNKNOWN,
    ArrayType,
    FieldType,
    StructType,
    difference,
    is_defaultable,
    is_packed,
    is_reference,
    matches,
    non_null,
    top,
    unpacked,
    valtype_name,
)

MAX_FIXED_ELEMENTS = 10_000  # the JS API's implementation limit of array.new_fixed
_FROM_NULLABLE, _TO_NULLABLE = 1, 2  # flags of br_on_cast


class GarbageCollectionInstructions(AtomicInstructions):
    """See the module's docstring."""

    def __init__(self, module: Module, function_index: int, lowering: Lowering | None) -> None:
        super().__init__(module, function_index, lowering)
        self.types_of_fields: dict[int, tuple[int, ...]] = {}  # by type index, of structures that were made
        self.with_default: set[int] = set()  # type indices of structures all of whose fields have a default value

    # ---- immediates ----

    def struct_index(self, at: int) -> tuple[int, StructType, int]:
        """The index of a structure type: (index, type, next offset)."""
        index, at = self.read_index(at)
        if index >= len(self.module.types):
            self.invalid(f"unknown type {index}")
        found = self.module.types[index]
        if not isinstance(found, StructType):
            self.invalid(f"type mismatch: type {index} is no structure type")
        return index, found, at

    def array_index(self, at: int) -> tuple[int, FieldType, int]:
        """The index of an array type: (index, type of its elements, next offset)."""
        index, at = self.read_index(at)
        if index >= len(self.module.types):
            self.invalid(f"unknown type {index}")
        found = self.module.types[index]
        if not isinstance(found, ArrayType):
            self.invalid(f"type mismatch: type {index} is no array type")
        return index, found.element, at

    def field_index(self, at: int) -> tuple[int, int, FieldType, int]:
        """The indices of a structure type and of one of its fields: (those, the field, next offset)."""
        index, type, at = self.struct_index(at)
        position, at = self.read_index(at)
        if position >= len(type.fields):
            self.invalid(f"unknown field {position} of type {index}")
        return index, position, type.fields[position], at

    def mutable_array(self, at: int) -> tuple[int, FieldType, int]:
        """As `array_index`, of one whose elements can be written."""
        index, element, at = self.array_index(at)
        if not element.mutable:
            self.invalid(f"immutable array: the elements of type {index} cannot be written")
        return index, element, at

    # ---- operands ----

    def push_new(self, index: int) -> None:
        """The result of what makes an object."""
        self.types.append(self.module.reference(index, nullable=False))

    def pop_object(self, index: int) -> bool:
        """The reference to the object that is read or written; whether it may be null."""
        return is_defaultable(self.pop(self.module.reference(index, nullable=True)))

    def pop_same(self, valtype: int, count: int) -> None:
        """`count` operands of a type: of those that unreachable code would have, no more than there are."""
        present = len(self.types) - self.frame.height
        if self.frame.unreachable:
            count = min(count, present)
        elif count > present:
            self.invalid(f"type mismatch: expected {count} elements, but {present} operands are on the stack")
        self.pop_all((valtype,) * count)

    def need_default(self, storage: int) -> None:
        if not is_defaultable(storage):
            self.invalid(f"type mismatch: {valtype_name(storage)} has no default value")

    def push_field(self, field: FieldType, is_extended: bool) -> None:
        """What a field holds; whether the instruction says how a packed one is extended."""
        if is_packed(field.storage) != is_extended:
            self.invalid(f"type mismatch: the field is {'packed' if is_packed(field.storage) else 'not packed'}")
        self.types.append(unpacked(field.storage))

    def need_numbers(self, element: FieldType) -> None:
        """Of arrays whose elements are made of bytes."""
        if is_reference(element.storage):
            self.invalid("type mismatch: array type is not numeric or vector")

    # ---- structures ----

    def op_struct_new(self, at: int) -> int:
        index, type, at = self.struct_index(at)
        self.pop_all(self.field_types(index, type))
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.struct_new(index, False, self.op_at)
        return at

    def field_types(self, index: int, type: StructType) -> tuple[int, ...]:
        """What is popped for the fields of a structure, made once in a body: there may be thousands of them."""
        found = self.types_of_fields.get(index)
        if found is None:
            found = self.types_of_fields[index] = tuple([unpacked(field.storage) for field in type.fields])
        return found

    def op_struct_new_default(self, at: int) -> int:
        index, type, at = self.struct_index(at)
        if index not in self.with_default:
            for field in type.fields:
                self.need_default(field.storage)
            self.with_default.add(index)
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.struct_new(index, True, self.op_at)
        return at

    def struct_get(self, at: int, is_extended: bool, is_signed: bool = False) -> int:
        """All that read a field."""
        index, position, field, at = self.field_index(at)
        may_be_null = self.pop_object(index)
        self.push_field(field, is_extended)
        if self.live and self.lowering is not None:
            self.lowering.struct_get(index, position, may_be_null, is_signed, self.op_at)
        return at

    def op_struct_get(self, at: int) -> int:
        return self.struct_get(at, is_extended=False)

    def op_struct_get_s(self, at: int) -> int:
        return self.struct_get(at, is_extended=True, is_signed=True)

    def op_struct_get_u(self, at: int) -> int:
        return self.struct_get(at, is_extended=True)

    def op_struct_set(self, at: int) -> int:
        index, position, field, at = self.field_index(at)
        if not field.mutable:
            self.invalid("immutable field: struct.set needs a mutable field")
        self.pop(unpacked(field.storage))
        may_be_null = self.pop_object(index)
        if self.live and self.lowering is not None:
            self.lowering.struct_set(index, position, may_be_null, self.op_at)
        return at

    # ---- arrays ----

    def op_array_new(self, at: int) -> int:
        index, element, at = self.array_index(at)
        self.pop(I32)
        self.pop(unpacked(element.storage))
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.array_new(index, False, self.op_at)
        return at

    def op_array_new_default(self, at: int) -> int:
        index, element, at = self.array_index(at)
        self.need_default(element.storage)
        self.pop(I32)
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.array_new(index, True, self.op_at)
        return at

    def op_array_new_fixed(self, at: int) -> int:
        index, element, at = self.array_index(at)
        count_at = at
        count, at = self.read_index(at)
        if count > MAX_FIXED_ELEMENTS:
            message = f"array.new_fixed of {count} elements exceeds the limit of {MAX_FIXED_ELEMENTS}"
            raise MalformedError(message, offset=count_at)
        self.pop_same(unpacked(element.storage), count)
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.array_new_fixed(index, count, self.op_at)
        return at

    def op_array_new_data(self, at: int) -> int:
        index, element, at = self.array_index(at)
        self.need_numbers(element)
        segment, at = self.data_index(at)
        self.pop_all((I32, I32))
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.array_new_from("gc_new_data", index, segment, self.op_at)
        return at

    def op_array_new_elem(self, at: int) -> int:
        index, element, at = self.array_index(at)
        segment, at = self.elements_of(element, at)
        self.pop_all((I32, I32))
        self.push_new(index)
        if self.live and self.lowering is not None:
            self.lowering.array_new_from("gc_new_elem", index, segment, self.op_at)
        return at

    def elements_of(self, element: FieldType, at: int) -> tuple[int, int]:
        """The index of an element segment whose elements an array can have, and the next offset."""
        segment, at = self.element_index(at)
        found = self.module.elements[segment].element
        if not matches(found, element.storage):
            self.invalid(f"type mismatch: elements of {valtype_name(found)} for {valtype_name(element.storage)}")
        return segment, at

    def array_get(self, at: int, is_extended: bool, is_signed: bool = False) -> int:
        """All that read an element."""
        index, element, at = self.array_index(at)
        self.pop(I32)
        self.pop_object(index)
        self.push_field(element, is_extended)
        if self.live and self.lowering is not None:
            self.lowering.array_get(index, is_signed, self.op_at)
        return at

    def op_array_get(self, at: int) -> int:
        return self.array_get(at, is_extended=False)

    def op_array_get_s(self, at: int) -> int:
        return self.array_get(at, is_extended=True, is_signed=True)

    def op_array_get_u(self, at: int) -> int:
        return self.array_get(at, is_extended=True)

    def op_array_set(self, at: int) -> int:
        index, element, at = self.mutable_array(at)
        self.pop(unpacked(element.storage))
        self.pop(I32)
        self.pop_object(index)
        if self.live and self.lowering is not None:
            self.lowering.array_set(index, self.op_at)
        return at

    def op_array_len(self, at: int) -> int:
        may_be_null = is_defaultable(self.pop(ARRAYREF))
        self.types.append(I32)
        if self.live and self.lowering is not None:
            self.lowering.array_len(may_be_null, self.op_at)
        return at

    def op_array_fill(self, at: int) -> int:
        index, element, at = self.mutable_array(at)
        self.pop_all((I32, unpacked(element.storage), I32))
        may_be_null = self.pop_object(index)
        if self.live and self.lowering is not None:
            self.lowering.array_fill(index, may_be_null, self.op_at)
        return at

    def op_array_copy(self, at: int) -> int:
        to, to_element, at = self.mutable_array(at)
        from_, from_element, at = self.array_index(at)
        if not matches(from_element.storage, to_element.storage):
            self.invalid("type mismatch: array types do not match")
        self.pop_all((I32, I32))
        from_null = self.pop_object(from_)
        self.pop(I32)
        to_null = self.pop_object(to)
        if self.live and self.lowering is not None:
            self.lowering.array_copy(to, from_, (to_null, from_null), self.op_at)
        return at

    def op_array_init_data(self, at: int) -> int:
        index, element, at = self.mutable_array(at)
        self.need_numbers(element)
        segment, at = self.data_index(at)
        self.pop_all((I32, I32, I32))
        may_be_null = self.pop_object(index)
        if self.live and self.lowering is not None:
            self.lowering.array_init("gc_init_data", index, segment, may_be_null, self.op_at)
        return at

    def op_array_init_elem(self, at: int) -> int:
        index, element, at = self.mutable_array(at)
        segment, at = self.elements_of(element, at)
        self.pop_all((I32, I32, I32))
        may_be_null = self.pop_object(index)
        if self.live and self.lowering is not None:
            self.lowering.array_init("gc_init_elem", index, segment, may_be_null, self.op_at)
        return at

    # ---- casts ----

    def test(self, at: int, is_nullable: bool) -> int:
        """Reads the heap type of a test, and checks and lowers it."""
        target, at = self.heap_type(at)
        from_ = self.pop(top(target))
        self.types.append(I32)
        if self.live and self.lowering is not None:
            self.lowering.ref_test(from_, target if is_nullable else non_null(target), self.op_at)
        return at

    def op_ref_test(self, at: int) -> int:
        return self.test(at, is_nullable=False)

    def op_ref_test_null(self, at: int) -> int:
        return self.test(at, is_nullable=True)

    def cast(self, at: int, is_nullable: bool) -> int:
        """Reads the heap type of a cast, and checks and lowers it."""
        target, at = self.heap_type(at)
        if not is_nullable:
            target = non_null(target)
        from_ = self.pop(top(target))
        self.types.append(target)
        if self.live and self.lowering is not None:
            self.lowering.ref_cast(from_, target, self.op_at)
        return at

    def op_ref_cast(self, at: int) -> int:
        return self.cast(at, is_nullable=False)

    def op_ref_cast_null(self, at: int) -> int:
        return self.cast(at, is_nullable=True)

    def branch_on_cast(self, at: int, is_on_failure: bool) -> int:
        """Both branches: the label has one of the two types that the cast may give, what goes on the other one."""
        flags = self.wasm[at]
        if flags & ~(_FROM_NULLABLE | _TO_NULLABLE):
            raise MalformedError(f"malformed cast flags {flags:#04x}", offset=at)
        depth, at = self.read_index(at + 1)
        from_, at = self.heap_type(at)
        to, at = self.heap_type(at)
        from_ = from_ if flags & _FROM_NULLABLE else non_null(from_)
        to = to if flags & _TO_NULLABLE else non_null(to)
        if not matches(to, from_):
            self.invalid(f"type mismatch: a cast of {valtype_name(from_)} to {valtype_name(to)}")
        frame = self.target(depth)
        label_types = frame.label_types
        branched, kept = difference(from_, to), to
        if not is_on_failure:
            branched, kept = kept, branched
        if not label_types:
            self.invalid("type mismatch: a branch on a cast needs a label that takes a reference")
        if not matches(branched, label_types[-1]):
            self.invalid(f"type mismatch: expected {valtype_name(label_types[-1])}, found {valtype_name(branched)}")
        self.pop(from_)
        self.pop_all(label_types[:-1])
        self.types.extend(label_types)
        if self.live and self.lowering is not None:
            self.lowering.branch_on_cast(frame, from_, to, is_on_failure, self.op_at)
        self.types[-1] = kept
        return at

    def op_br_on_cast(self, at: int) -> int:
        return self.branch_on_cast(at, is_on_failure=False)

    def op_br_on_cast_fail(self, at: int) -> int:
        return self.branch_on_cast(at, is_on_failure=True)

    # ---- references without a type of the module ----

    def op_ref_eq(self, at: int) -> int:
        self.need("gc")
        self.pop_all((EQREF, EQREF))
        self.types.append(I32)
        if self.live and self.lowering is not None:
            self.lowering.ref_eq()
        return at

    def convert(self, from_: int, to: int) -> None:
        """Between any and extern: null stays null, and what is not null does."""
        valtype = self.pop(UNKNOWN)
        if valtype not in (UNKNOWN, NON_NULL) and not matches(valtype, from_):
            self.invalid(f"type mismatch: expected {valtype_name(from_)}, found {valtype_name(valtype)}")
        self.types.append(to if valtype != UNKNOWN and is_defaultable(valtype) else non_null(to))

    def op_any_convert_extern(self, at: int) -> int:
        self.convert(EXTERNREF, ANYREF)
        if self.live and self.lowering is not None:
            self.lowering.any_convert_extern(self.op_at)
        return at

    def op_extern_convert_any(self, at: int) -> int:
        self.convert(ANYREF, EXTERNREF)
        return at

    def op_ref_i31(self, at: int) -> int:
        self.pop(I32)
        self.types.append(I31REF | NON_NULL)
        if self.live and self.lowering is not None:
            self.lowering.ref_i31()
        return at

    def i31_get(self, at: int, is_signed: bool) -> int:
        """Both that read an i31."""
        may_be_null = is_defaultable(self.pop(I31REF))
        self.types.append(I32)
        if self.live and self.lowering is not None:
            self.lowering.i31_get(may_be_null, is_signed, self.op_at)
        return at

    def op_i31_get_s(self, at: int) -> int:
        return self.i31_get(at, is_signed=True)

    def op_i31_get_u(self, at: int) -> int:
        return self.i31_get(at, is_signed=False)
