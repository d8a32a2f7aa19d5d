"""`records.dataclass` does what the standard one does, which is the oracle here."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from wasmjit import records
from wasmjit.wasm.types import FuncType, Limits


@pytest.fixture(autouse=True, params=[0, 1, 32])
def objects_before_compiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many objects are made without a compiled ``__init__``."""
    monkeypatch.setattr(records, "_OBJECTS_BEFORE_COMPILING", request.param)


def make(module: Any, **options: bool) -> Any:
    """The same class by either decorator."""

    class Point:
        """A point."""

        dimensions: ClassVar[int] = 2
        x: int
        y: int = 2
        tags: list[str] = module.field(default_factory=list)

        def sum(self) -> int:
            return self.x + self.y

    return module.dataclass(**options)(Point) if options else module.dataclass(Point)


OPTIONS: list[dict[str, bool]] = [
    {},
    {"frozen": True},
    {"slots": True},
    {"frozen": True, "slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "slots": True, "eq": False},
]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")


@each_option
def test_like_the_standard_one(options: dict[str, bool]) -> None:
    ours, theirs = make(records, **options), make(dataclasses, **options)
    assert repr(ours(1)) == repr(theirs(1)).replace(theirs.__qualname__, ours.__qualname__)
    for cls in (ours, theirs):
        first, second = cls(1), cls(x=1, y=2, tags=[])
        assert (first == second) is options.get("eq", True)
        assert first != cls(2) and first.tags is not second.tags
        assert first.sum() == 3 and cls.dimensions == 2 and cls.__doc__ == "A point."
        assert hasattr(first, "__dict__") is not options.get("slots", False)
    assert (ours.__hash__ is None) is (theirs.__hash__ is None)
    assert ours.__match_args__ == theirs.__match_args__
    ours_signature, theirs_signature = inspect.signature(ours), inspect.signature(theirs)
    assert list(ours_signature.parameters) == list(theirs_signature.parameters)


@each_option
@pytest.mark.parametrize("arguments", [(), (1, 2, [], 4)], ids=["too few", "too many"])
def test_wrong_arguments(options: dict[str, bool], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="argument"):
        make(records, **options)(*arguments)
    for wrong in ({"x": 1, "z": 2}, {"y": 1}):
        with pytest.raises(TypeError, match="argument"):
            make(records, **options)(**wrong)
    with pytest.raises(TypeError, match="argument"):
        make(records, **options)(1, x=1)


def test_frozen_ones_stay_as_they_are() -> None:
    point = make(records, frozen=True, slots=True)(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="'y'"):
        del point.y
    assert (point.x, point.y) == (1, 2)


def test_the_standard_functions_work() -> None:
    point = make(records, frozen=True)(1, 5)
    assert dataclasses.is_dataclass(point)
    assert [field.name for field in dataclasses.fields(point)] == [field.name for field in records.fields(point)]
    assert dataclasses.asdict(point) == {"x": 1, "y": 5, "tags": []}
    assert dataclasses.replace(point, y=3) == records.replace(point, y=3) == type(point)(1, 3)


def test_inheritance() -> None:
    @records.dataclass(slots=True)
    class Base:
        a: int

    @records.dataclass(slots=True)
    class Derived(Base):
        b: int = 3

    assert (Derived(1).a, Derived(1).b) == (1, 3) and Derived(1) == Derived(1, 3)
    assert not hasattr(Derived(1), "__dict__") and Base(1) != Derived(1)


def test_defaults_that_are_wrong() -> None:
    class Changeable:
        a: list[int] = []  # noqa: RUF012 - what is refused

    class OutOfOrder:
        a: int = 1
        b: int

    with pytest.raises(TypeError, match="default_factory"):
        records.dataclass(Changeable)
    with pytest.raises(TypeError, match="b has no default"):
        records.dataclass(OutOfOrder)


def test_methods_of_its_own() -> None:
    @records.dataclass(slots=True, frozen=True)
    class Text:
        word: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Text) and self.word.lower() == other.word.lower()

        def __hash__(self) -> int:
            return hash(self.word.lower())

        def __repr__(self) -> str:
            return self.word

    assert Text("A") == Text("a") and len({Text("A"), Text("a")}) == 1 and repr(Text("A")) == "A"


def test_copies_and_pickles() -> None:
    kind = FuncType((1, 2), (3,))
    limits = Limits(1, None)
    for value in (kind, limits):
        for made in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert made == value and hash(made) == hash(value)


def test_importing_wasmjit_needs_no_inspect() -> None:
    """What this file is for. Others would bring it back unseen."""
    program = "import sys; before = set(sys.modules); import wasmjit.cli.run; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    slow = {"inspect", "dataclasses", "click", "rich", "argparse", "subprocess", "tempfile", "logging", "socket"}
    assert not slow & set(done.stdout.split())
