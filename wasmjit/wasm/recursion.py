"""Recursion groups of the type section (spec sections 2.3.10 and 3.3): what makes two of their types the same.

Types of two groups are the same if the groups are, position by position, where a type of the group itself is named by
its position (iso-recursive equality). So a group is written as a `GroupKey`, in which all outside of it is interned
already, and there is one `RecursionGroup` in the process for equal keys, as long as somebody has one of its types.
"""

from __future__ import annotations

import copyreg
from typing import Any, NamedTuple

from ..weak_values import WeakValues
from . import types as wt
from .types import (
    ArrayType,
    DefinedType,
    Definition,
    FieldType,
    FuncType,
    RecursionGroup,
    StructType,
    TypeReference,
    matches,
    reference_to,
)

FUNC, STRUCT, ARRAY = (FuncType.KIND, StructType.KIND, ArrayType.KIND)
MAX_SUBTYPING_DEPTH = 63  # the JS API's implementation limit


class Member(NamedTuple):
    """One type of a group as its key has it.

    `values` are the parameters, or storage types of the fields, and `others` the results, or the fields' mutability.
    References to types of the group are `within` it; so is the supertype, which else is a reference without null.
    """

    kind: str
    is_final: bool
    supertype: int | None
    values: tuple[int, ...]
    others: tuple[int, ...]


GroupKey = tuple[Member, ...]


def within(position: int, nullable: bool) -> int:
    """What stands for a reference to the type at a position of the group that it is in: a negative number."""
    return -1 - (2 * position + nullable)


# By keys that have plain integers in place of references: see `types.plain`.
_groups: WeakValues[GroupKey, RecursionGroup] = WeakValues()
_groups_by_serial: WeakValues[int, RecursionGroup] = WeakValues()
_last_serial = 0


def defined(key: GroupKey) -> tuple[DefinedType, ...]:
    """The types of a group: the same objects for equal keys, as long as somebody has one of them.

    >>> itself = (Member(FUNC, True, None, (within(0, nullable=True),), ()),)
    >>> defined(itself)[0] is defined(itself)[0]
    True
    >>> defined((Member(FUNC, True, None, (wt.I32,), ()),))
    (FuncType(params=(127,), results=(), definition=None),)
    """
    if len(key) == 1:
        ((kind, is_final, supertype, values, others),) = key
        if kind == FUNC and is_final and supertype is None and min((*values, *others), default=0) >= 0:
            return (FuncType(values, others),)
    return group_of(key).types


def group_of(key: GroupKey) -> RecursionGroup:
    """The group of a key that is not that of a plain function type."""
    global _last_serial
    with wt.lock():
        found = _groups.get(key)
        if found is None:
            _last_serial += 1
            made = RecursionGroup(_last_serial)
            _fill(made, key)
            known_by = _plain(key)
            found = _groups.get(known_by)  # a signal handler may have made it meanwhile
            if found is None:
                _groups[known_by] = found = made
                _groups_by_serial[made.serial] = made
    return found


def group_of_serial(serial: int) -> RecursionGroup:
    """The group with this serial, of which somebody has a type."""
    found = _groups_by_serial.get(serial)
    assert found is not None
    return found


def _reduced(type: Any) -> Any:
    """How types are pickled: those of a group refer to each other, and are to be interned."""
    if type.definition is None:
        return FuncType, (type.params, type.results)
    return member_of, (_key_of(type.definition.group), type.definition.position)


for _class in (FuncType, StructType, ArrayType):
    copyreg.pickle(_class, _reduced)


def member_of(key: GroupKey, position: int) -> DefinedType:
    """One type of a group."""
    return group_of(key).types[position]


def _plain(key: GroupKey) -> GroupKey:
    return tuple(
        [
            Member(kind, is_final, None if above is None else int(above), wt.plain(values), wt.plain(others))
            for kind, is_final, above, values, others in key
        ]
    )


def _key_of(group: RecursionGroup) -> GroupKey:
    """The key again."""

    def inside(valtype: int) -> int:
        if not isinstance(valtype, TypeReference) or valtype.type.definition is None:
            return valtype
        definition = valtype.type.definition
        return within(definition.position, wt.is_defaultable(valtype)) if definition.group is group else valtype

    members = []
    for type in group.types:
        definition = type.definition
        assert definition is not None
        above = None if definition.supertype is None else inside(reference_to(definition.supertype, nullable=False))
        if isinstance(type, FuncType):
            values, others = type.params, type.results
        else:
            fields = type.fields if isinstance(type, StructType) else (type.element,)
            values, others = tuple([f.storage for f in fields]), tuple([f.mutable for f in fields])
        members.append(
            Member(type.KIND, definition.is_final, above, tuple(map(inside, values)), tuple(map(inside, others)))
        )
    return tuple(members)


def _fill(group: RecursionGroup, key: GroupKey) -> None:
    """Makes the types, which refer to each other: first all of them, then what they are."""
    made: list[Any] = []
    for position, member in enumerate(key):
        definition = Definition(group, position, member.is_final)
        if member.kind == FUNC:
            made.append(FuncType((), (), definition))
        elif member.kind == STRUCT:
            made.append(StructType((), definition))
        else:
            made.append(ArrayType(FieldType(0, mutable=False), definition))
    group.types = tuple(made)
    put = object.__setattr__  # nobody has seen these records yet
    for type, member in zip(made, key, strict=True):
        if member.supertype is not None:
            above = _resolved(group, member.supertype)
            assert isinstance(above, TypeReference)
            type.definition.supertype = above.type
            type.definition.depth = 1 + (0 if above.type.definition is None else above.type.definition.depth)
        values = tuple([t if t >= 0 else _resolved(group, t) for t in member.values])
        if member.kind == FUNC:
            put(type, "params", values)
            put(type, "results", tuple([t if t >= 0 else _resolved(group, t) for t in member.others]))
            continue
        fields = tuple(map(FieldType, values, map(bool, member.others)))
        if member.kind == STRUCT:
            put(type, "fields", fields)
        else:
            put(type, "element", fields[0])


def _resolved(group: RecursionGroup, valtype: int) -> int:
    if valtype >= 0:
        return valtype
    position, nullable = divmod(-1 - valtype, 2)
    return reference_to(group.types[position], bool(nullable))


# ---- declared subtyping (spec section 3.4.2) ----


def supertype_error(type: DefinedType) -> str | None:
    """Why a type must not have the supertype that it declares; None if it may, or declares none."""
    definition = type.definition
    above = None if definition is None else definition.supertype
    if definition is None or above is None:
        return None
    if above.definition is None or above.definition.is_final:
        return "the supertype is final"
    if definition.depth > MAX_SUBTYPING_DEPTH:
        return f"more than {MAX_SUBTYPING_DEPTH} supertypes, one above the other"
    return None if _structure_matches(type, above) else f"the {type.KIND} type does not match its supertype"


def _structure_matches(found: DefinedType, wanted: DefinedType) -> bool:
    if isinstance(found, FuncType) and isinstance(wanted, FuncType):
        return wt.all_match(wanted.params, found.params) and wt.all_match(found.results, wanted.results)
    if isinstance(found, StructType) and isinstance(wanted, StructType):
        return len(found.fields) >= len(wanted.fields) and all(
            _field_matches(ours, theirs) for ours, theirs in zip(found.fields, wanted.fields, strict=False)
        )
    if isinstance(found, ArrayType) and isinstance(wanted, ArrayType):
        return _field_matches(found.element, wanted.element)
    return False


def _field_matches(found: FieldType, wanted: FieldType) -> bool:
    if found == wanted:
        return True
    return not (found.mutable or wanted.mutable) and matches(found.storage, wanted.storage)
