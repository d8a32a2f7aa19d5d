"""Words that one instruction of the processor does, or that it does better than the stencils of their rows."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence

import pytest

from tests.hazards.test_stencils import exports_of
from wasmjit import thresholds

BITS = {"i32": 32, "i64": 64}
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "gt": operator.gt,
    "le": operator.le,
    "ge": operator.ge,
}
# What is compared, where $a and $b are locals: with itself, a constant, 0, an operand.
OPERANDS = {
    "locals": "(local.get $a) (local.get $b)",
    "operands": "({t}.xor (local.get $a) ({t}.const 0)) ({t}.xor (local.get $b) ({t}.const 0))",
    "local and operand": "(local.get $a) ({t}.xor (local.get $b) ({t}.const 0))",
    "constant": "(local.get $a) ({t}.const -129)",
    "short constant": "({t}.add (local.get $a) ({t}.const 0)) ({t}.const 7)",
    "zero": "(local.get $a) ({t}.const 0)",
}
# What is selected, from $x and $y, and where it goes.
SELECTIONS = [
    "(select (local.get $x) (local.get $y) {c})",
    "(i64.add (i64.const 0) (select (i64.xor (local.get $x) (i64.const 0))"
    " (i64.xor (local.get $y) (i64.const 0)) {c}))",
    "(local.set $x (select (local.get $x) (local.get $y) {c})) (local.get $x)",
    "(local.set $y (select (local.get $x) (local.get $y) {c})) (local.get $y)",
    "(local.set $z (select (local.get $x) (local.get $y) {c})) (local.get $z)",
    "(local.tee $z (select (i64.const 1) (i64.const 1234567890123) {c}))",
    "(select (local.get $x) (i64.const 0) {c})",
]
INTERESTING = (0, 1, 7, 8, -1, -129, -128, 127, 255, 256, 65535, 65536, 1 << 31, (1 << 31) - 1, 1 << 40, -(1 << 63))


@pytest.fixture(autouse=True)
def stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


def unsigned(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def outcome(
    holds: Callable[[int, int], bool], view: Callable[[int, int], int], bits: int, other: int | None
) -> Callable[[int, int], bool]:
    """What a comparison of $a is, with $b or a constant."""
    return lambda a, b: holds(view(a, bits), view(b if other is None else other, bits))


def select_functions() -> dict[str, tuple[str, Callable[[int, int], bool]]]:
    """By name, the text of each, and what its condition is of $a and $b."""
    made: dict[str, tuple[str, Callable[[int, int], bool]]] = {}
    for letter, bits in BITS.items():
        for name, holds in COMPARISONS.items():
            for view in (signed,) if name in ("eq", "ne") else (signed, unsigned):
                suffix = "" if name in ("eq", "ne") else "_s" if view is signed else "_u"
                for kind, operands in OPERANDS.items():
                    other = {"constant": -129, "short constant": 7, "zero": 0}.get(kind)
                    condition = f"({letter}.{name}{suffix} {operands.format(t=letter)})"

                    made[f"{condition} {letter}"] = (condition, outcome(holds, view, bits, other))
        made[f"eqz {letter}"] = (f"({letter}.eqz (local.get $a))", outcome(operator.eq, unsigned, bits, 0))
    return made


def check_selections(seeds: range, shares: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One share of all functions with each of the seeds."""
    functions = select_functions()
    texts = []
    cases = []
    for number, (name, (condition, expected)) in enumerate(functions.items()):
        letter = name[-3:]
        for kind, selection in enumerate(SELECTIONS):
            if (number + kind) % shares:
                continue
            texts.append(
                f'(func (export "{number}.{kind}") (param $a {letter}) (param $b {letter})'
                f" (param $x i64) (param $y i64) (result i64) (local $z i64) {selection.format(c=condition)})"
            )
            values = ((1, 1234567890123), None, (None, 0))
            cases.append((f"{number}.{kind}", BITS[letter], expected, {5: values[0], 6: values[2]}.get(kind)))
    random_pairs = random.Random(1)
    for seed in seeds:
        monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
        store, exports = exports_of("(module " + "\n".join(texts) + ")")
        for name, bits, expected, constants in cases:
            function = exports[name]
            for _ in range(4):
                a, b = (signed(random_pairs.choice(INTERESTING), bits) for _ in range(2))
                x, y = -77, 1 << 50
                if constants is not None:
                    first, second = constants
                    wanted = (x if first is None else first) if expected(a, b) else second
                else:
                    wanted = x if expected(a, b) else y
                assert function(store, a, b, x, y) == wanted, (name, seed, a, b)


def test_a_selection_by_a_comparison_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    check_selections(range(2), 5, monkeypatch)


@pytest.mark.slow
def test_all_selections_by_comparisons_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    check_selections(range(12), 1, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_low_bits_of_a_value_are_right(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    texts = []
    for letter in BITS:
        for mask in (0xFF, 0xFFFF, 0x7F, -1):
            for number, value in enumerate(["(local.get $a)", f"({letter}.add (local.get $a) ({letter}.const 0))"]):
                text = f"({letter}.and {value} ({letter}.const {mask}))"
                head = f"(param $a {letter}) (result {letter}) (local $z {letter})"
                texts.append(f'(func (export "{letter} {mask} {number}") {head} {text})')
                name = f'"{letter} {mask} {number} set"'
                texts.append(f"(func (export {name}) {head} (local.set $z {text}) (local.get $z))")
    store, exports = exports_of("(module " + "\n".join(texts) + ")")
    for letter, bits in BITS.items():
        for mask in (0xFF, 0xFFFF, 0x7F, -1):
            for name in ("0", "1", "0 set", "1 set"):
                for value in (signed(each, bits) for each in INTERESTING):
                    assert exports[f"{letter} {mask} {name}"](store, value) == value & mask, (letter, mask, name, value)


DIVISORS = (
    2,
    3,
    5,
    6,
    7,
    8,
    10,
    11,
    100,
    641,
    1000,
    65535,
    65537,
    1 << 20,
    1000000007,
    (1 << 31) - 1,
    -2,
    -3,
    -10,
    -65537,
    1,
    -1,
)


def quotient(a: int, b: int, bits: int, is_signed: bool, is_rest: bool) -> int:
    if not is_signed:
        a, b = unsigned(a, bits), unsigned(b, bits)
        return signed(a % b if is_rest else a // b, bits)
    found = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a - b * found if is_rest else found


def check_divisions(divisors: Sequence[int], count: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    some = random.Random(seed)
    texts = []
    cases = []
    for letter, bits in BITS.items():
        for divisor in divisors:
            for kind in ("div_s", "div_u", "rem_s", "rem_u"):
                name = f"{letter} {kind} {divisor}"
                value = f"({letter}.{kind} (local.get $a) ({letter}.const {divisor}))"
                if some.randrange(2):
                    value = f"(local.set $z {value.replace('(local.get $a)', '(local.get $z)')}) (local.get $z)"
                    value = f"(local.set $z ({letter}.add (local.get $a) ({letter}.const 0))) {value}"
                texts.append(
                    f'(func (export "{name}") (param $a {letter}) (result {letter}) (local $z {letter}) {value})'
                )
                cases.append((name, bits, divisor, kind))
    store, exports = exports_of("(module " + "\n".join(texts) + ")")
    for name, bits, divisor, kind in cases:
        near = [divisor * some.randrange(-9, 9) + more for more in (-1, 0, 1)]
        for value in (*INTERESTING, *near, *(some.getrandbits(bits) for _ in range(count))):
            a = signed(value, bits)
            if divisor == -1 and a == -1 << (bits - 1):
                continue
            expected = quotient(a, divisor, bits, kind[-1] == "s", kind[:3] == "rem")
            assert exports[name](store, a) == expected, (name, a)


@pytest.mark.parametrize("seed", range(2))
def test_divisions_by_constants_are_right(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_divisions(DIVISORS, 5, seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_divisions_by_many_constants_are_right(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    some = random.Random(seed)
    divisors = {some.getrandbits(some.randrange(1, 31)) + 1 for _ in range(100)}
    check_divisions(sorted(divisors | {-each for each in divisors}), 300, seed, monkeypatch)
