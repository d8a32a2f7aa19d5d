"""Which stores are kept in the iterations of their loops: those at one address, if nobody knows that the loop ends."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from wasmjit import Config
from wasmjit.compile import promotion
from wasmjit.inspection import llvm_text
from wasmjit.wasm.text import wat2wasm

NEXT = "(local.set $j (i32.add (local.get $j) (i32.const 3)))"
STORE = f"(i32.store (local.get $p) (local.get $j)) {NEXT}"
# Beside a load that may be vectorised: not at any address, and so not in the way of promotion.
SUM = f"(i32.store (local.get $p) (i32.load (i32.shl (local.get $i) (i32.const 2)))) {NEXT}"
WHILE = "(loop $l {} (br_if $l (global.get $yes)))"


def loop(condition: str, step: int = 1, body: str = SUM) -> str:
    """A loop with a counter, and a condition on it."""
    step_text = f"(local.set $i (i32.add (local.get $i) (i32.const {step})))"
    return f"(loop $l {body} {step_text} (br_if $l ({condition})))"


def kept(body: str) -> int:
    """How many stores of a function are kept."""
    text = llvm_text(
        bytes(
            wat2wasm(
                "(module (memory 1) (global $yes (mut i32) (i32.const 1)) (func $f) (func"
                " (param $p i32) (param $n i32) (local $i i32) (local $j i32) (local $k i32) (local $q i32)"
                f" {body}))"
            )
        ),
        Config(),
        "ir",
    )
    text = promotion.keep_stores(text)
    llvm.parse_assembly(text)
    return text.count("store volatile ")


COUNTED = {
    "to a parameter": loop("i32.ne (local.get $i) (local.get $n)"),
    "below a parameter": loop("i32.lt_u (local.get $i) (local.get $n)"),
    "above a parameter": loop("i32.gt_s (local.get $i) (local.get $n)", -1),
    "by an odd step": loop("i32.ne (local.get $i) (local.get $n)", 7),
    "the other way round": loop("i32.gt_u (local.get $n) (local.get $i)"),
    "not equal": loop("i32.eqz (i32.eq (local.get $i) (local.get $n))"),
    "to zero": loop("local.get $i", -1),
    "below a constant": loop("i32.lt_s (local.get $i) (i32.const 1000)", 4),
    "at most a constant": loop("i32.le_u (local.get $i) (i32.const 1000)", 4),
    "while equal": loop("i32.eq (local.get $i) (local.get $n)", 2),
    "from a constant to another": "(local.set $i (i32.const -80))" + loop("local.get $i", 4),
    "left at the top": (
        "(block $out (loop $l (br_if $out (i32.ge_s (local.get $i) (local.get $n)))"
        f" {SUM} (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)))"
    ),
    "nothing that varies, but few": "(local.set $i (i32.const -80))" + loop("local.get $i", 4, STORE),
    "both by constants": (
        "(local.set $i (i32.const 0)) (loop $o (local.set $k (i32.const 0)) (loop $l"
        f" {STORE} (local.set $k (i32.add (local.get $k) (i32.const 1)))"
        " (br_if $l (i32.ne (local.get $k) (i32.const 500))))"
        " (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $o (i32.ne (local.get $i) (i32.const 500))))"
    ),
}
NOT_COUNTED = {
    "a step that may miss": loop("i32.ne (local.get $i) (local.get $n)", 2),
    "a step that may pass": loop("i32.lt_u (local.get $i) (local.get $n)", 4),
    "a step that passes": loop("i32.lt_u (local.get $i) (i32.const -3)", 4),
    "all numbers": loop("i32.ge_u (local.get $i) (local.get $n)", -1),
    "from a constant past another": "(local.set $i (i32.const -82))" + loop("local.get $i", 4),
    "a bound that changes": loop("i32.lt_u (local.get $i) (local.get $j)"),
    "a global": loop("i32.lt_u (local.get $i) (global.get $yes)"),
    "nothing that varies, and perhaps many": loop("i32.lt_u (local.get $i) (local.get $n)", 1, STORE),
    "no step": WHILE.replace("{}", STORE),
    "no end": f"(loop $l {STORE} (br $l))",
    "a counted one in it": (
        f"(loop $o {STORE} (local.set $k (i32.const 0)) (loop $l (local.set $k (i32.add (local.get $k) (i32.const 1)))"
        " (br_if $l (i32.ne (local.get $k) (local.get $n))))"
        " (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $o (i32.ne (local.get $i) (i32.const 500))))"
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_loops_that_end_soon_keep_no_store(name: str) -> None:
    assert kept(COUNTED[name]) == 0


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_loops_that_may_not_end_keep_their_stores(name: str) -> None:
    assert kept(NOT_COUNTED[name]) == 1


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("(i32.store (local.get $p) (local.get $j))", 1),
        ("(i32.store (i32.const 65536) (local.get $j))", 1),
        ("(i32.store (i32.const 65532) (local.get $j))", 0),  # cannot trap
        ("(i32.store (local.get $q) (local.get $j)) (local.set $q (i32.add (local.get $q) (i32.const 4)))", 0),
        (
            "(i32.store (i32.shl (local.get $q) (i32.const 2)) (local.get $j))"
            " (local.set $q (i32.add (local.get $q) (i32.const 4)))",
            0,
        ),
        (
            "(i32.store (i32.sub (local.get $q) (local.get $i)) (local.get $j))"
            " (local.set $q (i32.add (local.get $q) (i32.const 4)))"
            " (local.set $i (i32.add (local.get $i) (i32.const 4)))",
            1,
        ),
        (
            "(i32.store (local.get $p) (i32.load (local.get $q)))"  # which may be to the same address
            " (local.set $q (i32.add (local.get $q) (i32.const 4)))",
            0,
        ),
        (
            "(i32.store (local.get $p) (i32.load offset=8 (local.get $q)))"
            " (local.set $q (i32.add (local.get $q) (i32.const 4)))",
            1,
        ),
        ("(i32.store (local.get $p) (local.get $j)) (call $f)", 0),
        ("(i32.store (local.get $p) (local.get $j)) (if (local.get $n) (then (call $f)))", 1),
    ],
)
def test_stores_that_llvm_cannot_move_stay_as_they_are(body: str, number: int) -> None:
    assert kept(WHILE.replace("{}", f"{body} (local.set $j (i32.add (local.get $j) (i32.const 3)))")) == number


def test_loops_in_such_loops_have_their_own_addresses() -> None:
    """What is stored at another address in each iteration of the inner loop is not promoted out of it."""
    inner = (
        "(local.set $i (i32.const 0)) (loop $k (i32.store (i32.add (local.get $p) (local.get $i)) (local.get $j))"
        " (local.set $i (i32.add (local.get $i) (i32.const 4))) (br_if $k (i32.ne (local.get $i) (i32.const {}))))"
    )
    assert kept(WHILE.replace("{}", inner.format(40000))) == 0
    assert kept(WHILE.replace("{}", inner.format(16))) == 1  # but LLVM may write it out


def test_stores_are_kept_once() -> None:
    """Both the inner loop, which may be written out, and the outer one would promote it."""
    inner = loop("local.get $i", -1, STORE)
    assert kept(WHILE.replace("{}", inner)) == 1


def test_constant_vectors_meet_in_loops_with_stores() -> None:
    """IndexError, and so no code (tests.fuzz.differential, seed 200637)."""
    vector = "(v128.const i64x2 1 2)"
    one = f"(local.set $k (i32x4.extract_lane 1 (block $b (result v128) (br $b {vector}))))"
    two = f"(local.set $k (i32x4.extract_lane 1 (if (result v128) (local.get $n) (then {vector}) (else {vector}))))"
    for text in (one, two):
        assert kept(WHILE.replace("{}", f"{text} {STORE}")) == 1


def test_a_choice_between_nans_is_a_value() -> None:
    """An operand that is a constant expression was none: compilation ended with an IndexError."""
    nan = "(if (result f32) (local.get $n) (then (f32.const nan:0x200001)) (else (f32.const -nan:0x300001)))"
    assert kept(WHILE.format(f"(f32.store (local.get $p) {nan})")) == 1
