"""`dataclass`, `field`, `fields` and `replace` as in the standard library, for classes that every start makes.

The standard ones compile five methods per class when the class is made, and import `inspect` for it: a quarter of the
time that a cached program took to start. Here only ``__init__`` is compiled, and only of classes of many objects.
Type checkers see the standard ones (``if TYPE_CHECKING``); `dataclasses.fields` and the like work on these classes.

What is supported is what these classes use: `frozen`, `slots`, `eq`, defaults and default factories, inheritance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any

_MISSING: Any = object()
_OBJECTS_BEFORE_COMPILING = 32
_OWN_METHODS = ("__eq__", "__repr__")
_UNTOUCHED = ("__dict__", "__weakref__")


class Field:
    """A field: its name, its type as written, its default or what makes it."""

    __slots__ = ("default", "default_factory", "name", "type")

    def __init__(self, default: Any = _MISSING, default_factory: Any = _MISSING) -> None:
        self.name = ""
        self.type: Any = None
        self.default = default
        self.default_factory = default_factory


def field(*, default: Any = _MISSING, default_factory: Any = _MISSING) -> Any:
    """The default of a field, or what makes one for each object."""
    return Field(default, default_factory)


def fields(record: Any) -> tuple[Field, ...]:
    """The fields of a class made by `dataclass`, or of an object of one."""
    return tuple(record.__record_fields__.values())


def replace(record: Any, /, **changes: Any) -> Any:
    """A copy of `record` with other values of some fields."""
    return type(record)(**{**{name: getattr(record, name) for name in record.__record_fields__}, **changes})


class _LateInit:
    """Stands in for ``__init__``, which is compiled when there have been some objects: that takes as long as 50."""

    def __init__(self, frozen: bool) -> None:
        self.frozen = frozen
        self.owner: Any = None
        self.left = _OBJECTS_BEFORE_COMPILING

    def __get__(self, record: Any, owner: Any) -> Any:
        if record is not None and self.left > 0:
            self.left -= 1
            return partial(self._fill, record)
        return self._compile().__get__(record, owner)

    def _compile(self) -> Any:
        made = _make_init(self.owner, self.frozen)
        # Of another thread, or a subclass that asked: it is the same one.
        self.owner.__init__ = made
        return made

    def _fill(self, record: Any, *arguments: Any, **named: Any) -> None:
        items = self.owner.__record_fields__
        values = dict(zip(items, arguments, strict=False))
        if len(arguments) > len(items) or not values.keys().isdisjoint(named) or not items.keys() >= named.keys():
            return self._compile()(record, *arguments, **named)  # type: ignore[no-any-return]  # raises TypeError
        values.update(named)
        for name, item in items.items():
            if name not in values:
                if item.default_factory is not _MISSING:
                    values[name] = item.default_factory()
                elif item.default is not _MISSING:
                    values[name] = item.default
                else:
                    return self._compile()(record, *arguments, **named)  # type: ignore[no-any-return]
        put = object.__setattr__ if self.frozen else setattr
        for name, value in values.items():
            put(record, name, value)
        return None


class _LateFields:
    """``__dataclass_fields__``, for what `dataclasses` has: made when asked for."""

    def __get__(self, record: Any, owner: Any) -> Any:
        import dataclasses

        specifications = []
        for item in fields(owner):
            options = {} if item.default is _MISSING else {"default": item.default}
            if item.default_factory is not _MISSING:
                options["default_factory"] = item.default_factory
            specifications.append((item.name, item.type, dataclasses.field(**options)))
        made: Any = dataclasses.make_dataclass(owner.__name__, specifications)
        return made.__dataclass_fields__


def dataclass(
    cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, eq: bool = True
) -> type | Callable[[type], type]:
    """Makes the annotations of a class its fields. Raises TypeError where a default is changeable or out of order."""

    def decorate(cls: type) -> type:
        return _process(cls, frozen, slots, eq)

    return decorate if cls is None else decorate(cls)


def _process(cls: Any, frozen: bool, slots: bool, eq: bool) -> type:
    found: dict[str, Field] = {}
    for base in reversed(cls.__mro__[1:]):
        found.update(base.__dict__.get("__record_fields__", {}))
    own = cls.__annotations__
    for name, kind in own.items():
        if not str(kind).startswith("ClassVar"):
            found[name] = _own_field(cls, name, kind)
    _check_order(cls, found.values())
    names = tuple(found)
    members: dict[str, Any] = {
        "__record_fields__": found,
        "__dataclass_fields__": _LateFields(),
        "__match_args__": names,
        "__repr__": _repr,
    }
    late = None
    if "__init__" not in cls.__dict__:
        members["__init__"] = late = _LateInit(frozen)
    if eq:
        values = _values_getter(names)
        members["__eq__"] = _eq(values)
        if "__hash__" not in cls.__dict__:
            members["__hash__"] = _hash(values) if frozen else None
    if frozen:
        members["__setattr__"] = _refuse_setting
        members["__delattr__"] = _refuse_deleting
        if slots:  # the standard way sets attributes
            members["__getstate__"] = _get_state
            members["__setstate__"] = _set_state
    for name, member in members.items():
        if name not in _OWN_METHODS or name not in cls.__dict__:
            setattr(cls, name, member)
    if slots:
        cls = _with_slots(cls, names)
    if late is not None:
        late.owner = cls
    return cls  # type: ignore[no-any-return]


def _check_order(cls: Any, items: Iterable[Field]) -> None:
    optional = False
    for item in items:
        if item.default is not _MISSING or item.default_factory is not _MISSING:
            optional = True
        elif optional:
            raise TypeError(f"{cls.__name__}.{item.name} has no default and follows fields that have one")


def _own_field(cls: Any, name: str, kind: Any) -> Field:
    default = cls.__dict__.get(name, _MISSING)
    made = default if isinstance(default, Field) else Field(default)
    made.name, made.type = name, kind
    if isinstance(made.default, (list, dict, set)):
        raise TypeError(f"the default of {cls.__name__}.{name} can be changed: use default_factory")
    if isinstance(default, Field):
        if made.default is _MISSING:
            delattr(cls, name)
        else:
            setattr(cls, name, made.default)
    return made


def _with_slots(cls: Any, names: tuple[str, ...]) -> Any:
    """The class again, without the attributes that would be in the way of its slots."""
    inherited = {slot for base in cls.__mro__[1:-1] for slot in base.__dict__.get("__slots__", ())}
    members = {key: value for key, value in cls.__dict__.items() if key not in (*names, *_UNTOUCHED)}
    members["__slots__"] = tuple(name for name in names if name not in inherited)
    made = type(cls)(cls.__name__, cls.__bases__, members)
    made.__qualname__ = cls.__qualname__
    return made


def _make_init(cls: Any, frozen: bool) -> Any:
    """Compiles ``__init__``."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": _MISSING}
    parameters, lines = [], []
    for item in fields(cls):
        name, value = item.name, item.name
        if item.default_factory is not _MISSING:
            names[f"_make_{name}"] = item.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_make_{name}() if {name} is _missing else {name}"
        elif item.default is not _MISSING:
            names[f"_default_{name}"] = item.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(f"  _set(self, {name!r}, {value})" if frozen else f"  self.{name} = {value}")
    exec(f"def __init__({', '.join(['self', *parameters])}):\n" + ("\n".join(lines) or "  pass"), names)
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.__annotations__ = {item.name: item.type for item in fields(cls)} | {"return": "None"}
    return made


def _values_getter(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """What gives the values of all fields, to be compared and hashed."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda record: tuple(getattr(record, name) for name in names)


def _eq(values: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(values: Callable[[Any], Any]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __hash__


def _repr(self: Any) -> str:
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record_fields__)
    return f"{self.__class__.__qualname__}({values})"


def _refuse_setting(self: Any, name: str, value: Any) -> None:
    raise _frozen_error(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> None:
    raise _frozen_error(f"cannot delete field {name!r}")


def _frozen_error(text: str) -> AttributeError:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(text)


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__record_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__record_fields__, state, strict=True):
        object.__setattr__(self, name, value)
