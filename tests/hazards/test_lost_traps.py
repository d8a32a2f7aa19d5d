"""Every access that is out of bounds traps, whatever LLVM makes of its value: at 1 GiB, and over the end of memory.

Each row is a function of an address, and how many bytes from that address on it accesses; the memory is one page.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz import lost_traps
from tests.processors import runnable, skip_unless_runnable
from wasmjit import Config, Engine, Instance, Module, Store, Trap, TrapCode
from wasmjit.target import host_machine

END = 65536
FAR = 1 << 30
L32, L64 = "(i32.load (local.get $p))", "(i64.load (local.get $p))"
F32, F64 = "(f32.load (local.get $p))", "(f64.load (local.get $p))"
STORE = "(i32.store (i32.const 16)"
SIGNED = "(f64.copysign (f64.promote_f32 (local.get $f)) {})"
NEXT = "(local.set $p (i32.add (local.get $p) (i32.const 4)))"
# Seven more iterations.
AGAIN = "(br_if 0 (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1))) (i32.const 8)))"

# name: (bytes, body); the result is an i32.
CASES = {
    # shared/cases: trap-lost-constant.wat
    "rotl of -1": (4, f"(i32.rotl (i32.const -1) {L32})"),
    "nan + x": (4, f"(i32.reinterpret_f32 (f32.add {F32} (f32.const nan)))"),
    "x == nan": (8, f"(f64.eq {F64} (f64.const nan))"),
    "inf < x": (8, f"(f64.lt (f64.const inf) {F64})"),
    "x ^ x": (4, f"(i32.xor {L32} {L32})"),
    # trap-lost-dead-store.wat
    "stored, overwritten": (4, f"{STORE} {L32}) {STORE} (i32.const 3)) (i32.load (i32.const 16))"),
    "global, overwritten": (4, f"(global.set $g {L32}) (global.set $g (i32.const 3)) (global.get $g)"),
    "overwritten on both paths": (
        4,
        f"{STORE} {L32}) (if (local.get $p) (then {STORE} (i32.const 3))) (else {STORE} (i32.const 4))))"
        "(i32.load (i32.const 16))",
    ),
    "overwritten by a wider one": (
        1,
        f"(i32.store8 (i32.const 17) (i32.load8_u (local.get $p))) {STORE} (i32.const 3)) (i32.load (i32.const 16))",
    ),
    # trap-lost-select.wat
    "select, not chosen": (4, f"(select {L32} (i32.const 7) (i32.const 0))"),
    "select, not chosen either": (4, f"(select (i32.const 7) {L32} (i32.const 1))"),
    "select by a local": (4, f"(select {L32} (i32.const 7) (local.get $k))"),
    # trap-lost-narrowed-load.py
    "x & 0xff": (4, f"(i32.and {L32} (i32.const 0xff))"),
    "wrap": (8, f"(i32.wrap_i64 {L64})"),
    "store8": (4, f"(i32.store8 (i32.const 0) {L32}) (i32.const 1)"),
    "extend8_s": (4, f"(i32.extend8_s {L32})"),
    "load16 & 0xff": (2, "(i32.and (i32.load16_u (local.get $p)) (i32.const 0xff))"),
    # bits among those in memory: the code generator stores their bytes, and loads nothing
    "a byte among others": (
        4,
        f"(i32.store (local.get $p) (i32.or (i32.and {L32} (i32.const 0xff00ffff))"
        " (i32.shl (i32.and (local.get $k) (i32.const 255)) (i32.const 16)))) (i32.const 0)",
    ),
    "a loaded byte among others": (
        4,
        f"(i32.store (local.get $p) (i32.or (i32.shl (i32.load8_u (i32.const 9)) (i32.const 8))"
        f" (i32.and {L32} (i32.const 0xffff00ff)))) (i32.const 0)",
    ),
    "two bytes among eight": (
        8,
        f"(i64.store (local.get $p) (i64.or (i64.and {L64} (i64.const 0xffff0000ffffffff))"
        " (i64.shl (i64.load16_u (i32.const 9)) (i64.const 32)))) (i32.const 0)",
    ),
    # of what is computed only the sign counts, and of the number that gets it the other bits
    "sign of a sum": (8, f"(i32.wrap_i64 (i64.reinterpret_f64 {SIGNED.format(f'(f64.add {F64} (f64.const 1))')}))"),
    "sign of a root": (
        8,
        f"(i64.store32 (i32.const 9) (i64.reinterpret_f64 {SIGNED.format(f'(f64.sqrt {F64})')})) (i32.const 0)",
    ),
    "sign of the lesser": (
        8,
        f"(i32.wrap_i64 (i64.reinterpret_f64 {SIGNED.format(f'(f64.min {F64} (f64.const 3))')}))",
    ),
    "sign of a byte": (
        1,
        f"(i32.wrap_i64 (i64.reinterpret_f64 {SIGNED.format('(f64.convert_i32_s (i32.load8_s (local.get $p)))')}))",
    ),
    "sign of a promoted number": (
        4,
        "(i32.and (i32.const 255) (i32.reinterpret_f32 (f32.copysign (local.get $f)"
        f" (f32.demote_f64 (f64.promote_f32 {F32})))))",
    ),
    "sign of one of two": (
        8,
        "(i32.wrap_i64 (i64.reinterpret_f64 "
        f"{SIGNED.format(f'(if (result f64) (i32.eqz (local.get $k)) (then {F64}) (else (unreachable)))')}))",
    ),
    # of what the code generator alone finds equal
    "x * 2 < x + x": (4, f"(f32.lt (f32.mul {F32} (f32.const 2)) (f32.add {F32} {F32}))"),
    "bits of x * 2, and of x + x": (
        8,
        f"(i64.eq (i64.reinterpret_f64 (f64.mul {F64} (f64.const 2))) (i64.reinterpret_f64 (f64.add {F64} {F64})))",
    ),
    "y * 2 or y + y": (
        4,
        "(i32.reinterpret_f32 (select (f32.mul (local.get $f) (f32.const 2)) (f32.add (local.get $f) (local.get $f))"
        f" {L32}))",
    ),
    # neighbours
    "x >> 24": (4, f"(i32.shr_u {L32} (i32.const 24))"),
    "high half": (8, f"(i32.wrap_i64 (i64.shr_u {L64} (i64.const 32)))"),
    "popcnt of the low half": (8, f"(i32.wrap_i64 (i64.popcnt (i64.and {L64} (i64.const 0xffffffff))))"),
    "wrap of a sum": (8, f"(i32.wrap_i64 (i64.add {L64} (i64.extend_i32_u (local.get $p))))"),
    "a bit": (4, f"(i32.and {L32} (i32.const 4))"),
    "sign": (4, f"(i32.lt_s {L32} (i32.const 0))"),
    "sign of a float": (8, f"(f64.lt (f64.copysign (f64.const 1) {F64}) (f64.const 0))"),
    "shift amount": (4, f"(i32.shl (local.get $p) {L32})"),
    "below 2^32": (8, f"(i64.lt_u {L64} (i64.const 0x100000000))"),
    "byte swap of a part": (
        4,
        f"(i32.or (i32.shl (i32.and {L32} (i32.const 0xff)) (i32.const 8)) (i32.and {L32} (i32.const 0xff)))",
    ),
    "one byte in place": (
        4,
        f"(i32.store (local.get $p) (i32.or {L32} (i32.const 0x80))) (i32.const 0)",
    ),
    "*p = *p": (4, f"(i32.store (local.get $p) {L32}) (i32.const 0)"),
    "*p ^= *p": (4, f"(i32.store (local.get $p) (i32.xor {L32} {L32})) (i32.const 0)"),
    "above a byte": (1, "(i32.shr_u (i32.load8_u (local.get $p)) (i32.const 8))"),
    "byte < 0": (1, "(i32.lt_s (i32.load8_u (local.get $p)) (i32.const 0))"),
    "x * nan": (4, f"(i32.reinterpret_f32 (f32.mul (f32.const nan) {F32}))"),
    "min of nan": (8, f"(f64.eq (f64.min (f64.const nan) {F64}) (f64.const 0))"),
    "-inf > x": (4, f"(f32.gt (f32.const -inf) {F32})"),
    "rotr of 0": (8, f"(i64.eqz (i64.rotr (i64.const 0) {L64}))"),
    "select of two loads": (12, f"(select (i32.load offset=8 (local.get $p)) {L32} (local.get $k))"),
    "select of two bytes": (
        9,
        "(select (i32.load8_u (local.get $p)) (i32.load8_u offset=8 (local.get $p)) (local.get $k))",
    ),
    "select of a float": (
        8,
        f"(i32.trunc_sat_f64_s (select {F64} (f64.const 1) (f64.lt (f64.convert_i32_u (local.get $p)) (f64.const 3))))",
    ),
    "branch that does nothing": (4, f"(block (br_if 0 {L32})) (i32.const 1)"),
    "last iteration only": (
        32,
        f"(loop (local.set $v {L32}) {NEXT} {AGAIN}) (local.get $v)",
    ),
    "no iteration": (32, f"(loop (drop {L32}) {NEXT} {AGAIN}) (i32.const 1)"),
    "sum, unused": (32, f"(loop (local.set $v (i32.add (local.get $v) {L32})) {NEXT} {AGAIN}) (i32.const 1)"),
    "sum of nothing": (
        29,
        "(loop (local.set $v (i32.add (local.get $v) (i32.and (i32.const 77) (i32.shr_u (i32.load8_u (local.get $p)) "
        f"(i32.const 8))))) {NEXT} {AGAIN}) (local.get $v)",
    ),
    "stored at one place": (32, f"(loop {STORE} {L32}) {NEXT} {AGAIN}) (i32.load (i32.const 16))"),
    "global in a loop": (32, f"(loop (global.set $g {L32}) {NEXT} {AGAIN}) (global.get $g)"),
    "copied onto itself": (32, f"(loop (i32.store (local.get $p) {L32}) {NEXT} {AGAIN}) (i32.const 1)"),
    "signed byte from itself": (
        29,
        "(loop (i32.store8 (i32.const 16) (i32.sub (i32.load8_u (local.get $p)) (i32.load8_s (local.get $p)))) "
        f"{NEXT} {AGAIN}) (i32.const 1)",
    ),
    "low bytes of a loop": (
        32,
        f"(loop (local.set $v (i32.add (local.get $v) (i32.and {L32} (i32.const 255)))) {NEXT} {AGAIN}) (local.get $v)",
    ),
    "select in a loop": (
        32,
        f"(loop (local.set $v (select {L32} (local.get $v) (i32.lt_u (local.get $k) (i32.const 2)))) {NEXT} {AGAIN})"
        "(local.get $v)",
    ),
    "float select in a loop": (
        32,
        f"(loop (local.set $f (f32.add (local.get $f) (select {F32} (f32.const 1) (i32.and (local.get $k) "
        f"(i32.const 1))))) {NEXT} {AGAIN}) (i32.trunc_sat_f32_s (local.get $f))",
    ),
}
CPUS = ["x86-64-v2", "haswell", "skylake-avx512", None] if host_machine() == "x86_64" else ["generic", None]
# Two settings of two each: both of each run, all pairs of them where there is time.
DIAGONAL = [
    (CPUS[-1], "speed_and_size"),
    *(pytest.param(CPUS[0], level, marks=pytest.mark.slow) for level in ("speed", "speed_and_size")),
    pytest.param(CPUS[-1], "speed", marks=pytest.mark.slow),
]
CONFIGS = {
    **{f"speed-{cpu}": {"cpu": cpu} for cpu in CPUS},
    "size": {"opt_level": "speed_and_size"},
    "none": {"opt_level": "none"},
    "exact": {"exact_traps": True},
    "checks": {"signals_based_traps": False},
    "auto": {"tier": "auto"},
}


@pytest.mark.parametrize("options", CONFIGS.values(), ids=CONFIGS)
def test_no_trap_gets_lost_and_none_is_made_up(options: dict[str, Any]) -> None:
    text = "\n".join(
        f'(func (export "{name}") (param $p i32) (result i32) (local $k i32) (local $v i32) (local $f f32) {body})'
        for name, (_, body) in CASES.items()
    )
    skip_unless_runnable(options.get("cpu"))
    store = Store(Engine(Config(**options)))
    module = Module(store.engine, f"(module (memory 1) (global $g (mut i32) (i32.const 0)) {text})")
    exports = Instance(store, module, []).exports(store)
    wrong = []
    for name, (num_bytes, _) in CASES.items():
        for address in (FAR, END, END - 1, END - num_bytes + 1, END - num_bytes, 1024):
            try:
                exports[name](store, address)
                trapped = False
            except Trap as trap:
                assert "out of bounds memory access" in str(trap)
                trapped = True
            if trapped != (address + num_bytes > END):
                wrong.append((name, address))
    assert not wrong, wrong


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("compare", ["f64.ne", "f32.ge", "i32.eq", "i64.gt_s"])
def test_select_of_a_load_is_not_masked(cpu: str | None, compare: str) -> None:
    """masked-select.py: with AVX-512 a select reads memory under a mask."""
    skip_unless_runnable(cpu)
    kind = compare[:3]
    bodies = {}
    for load in ("f64.load", "f32.load", "i32.load", "i64.load", "i64.load32_s", "i32.load16_s"):
        result, other = load[:3], f"({load[:3]}.const 1)"
        for order in (0, 1):
            pair = (f"({load} (local.get 0))", other)
            first, second = pair[order], pair[1 - order]
            bodies[f"{load}{order}"] = (
                f"(param i32 {kind} {kind}) (result {result}) "
                f"(select {first} {second} ({compare} (local.get 1) (local.get 2)))"
            )
    text = "\n".join(f'(func (export "{name}") {body})' for name, body in bodies.items())
    store = Store(Engine(Config(cpu=cpu)))
    exports = Instance(store, Module(store.engine, f"(module (memory 1) {text})"), []).exports(store)
    for name in bodies:
        for pair in ((0, 0), (0, 1), (1, 0)):
            with pytest.raises(Trap, match="out of bounds"):
                exports[name](store, END - 1, *(float(x) if kind[0] == "f" else x for x in pair))


# What two accesses make of an address in two counters, `$q` and `$i` times the size: (body, where it reads).
_AT_I, _AT_Q = "(i32.shl (local.get $i) (i32.const {shift}))", "(local.get $q)"
_FAR = f"(i32.add (i32.const {END // 2}) {_AT_I})"
_LOAD_I, _LOAD_Q = f"({{t}}.load {_AT_I})", f"({{t}}.load {_AT_Q})"
_ADD_TO_SUM = "(local.set $sum ({t}.add (local.get $sum) "
TWO_COUNTERS = {
    "copied onto itself": (f"({{t}}.store {_AT_Q} {_LOAD_I})", 0),
    "overwritten": (
        f"({{t}}.store {_AT_Q} ({{t}}.add ({{t}}.load {_FAR}) ({{t}}.const 1))) ({{t}}.store {_AT_I} ({{t}}.const 1))",
        END // 2,
    ),
    "x - x": (f"{_ADD_TO_SUM} ({{t}}.sub {_LOAD_I} {_LOAD_Q})))", 0),
    "x < x": (f"(local.set $k (i32.add (local.get $k) ({{t}}.{{less}} {_LOAD_Q} {_LOAD_I})))", 0),
    "(x + 3) - (x + 3)": (
        f"{_ADD_TO_SUM} ({{t}}.sub ({{t}}.add {_LOAD_I} ({{t}}.const 3)) ({{t}}.add {_LOAD_Q} ({{t}}.const 3)))))",
        0,
    ),
}
TWO_COUNTERS_INTEGERS = {
    "x ^ x": (f"{_ADD_TO_SUM} ({{t}}.xor {_LOAD_I} {_LOAD_Q})))", 0),
    "x & ~x": (f"{_ADD_TO_SUM} ({{t}}.and {_LOAD_I} ({{t}}.xor {_LOAD_Q} ({{t}}.const -1)))))", 0),
    "x + ~x": (f"{_ADD_TO_SUM} ({{t}}.add {_LOAD_I} ({{t}}.xor {_LOAD_Q} ({{t}}.const -1)))))", 0),
    "x == x": (f"(local.set $k (i32.add (local.get $k) ({{t}}.eq {_LOAD_I} {_LOAD_Q})))", 0),
    "one of two that are one": (
        f"{_ADD_TO_SUM} (select {_LOAD_I} {_LOAD_Q} (i32.load8_u (i32.add (i32.const {END // 2}) (local.get $i))))))",
        0,
    ),
}


@pytest.mark.parametrize(("cpu", "opt_level"), DIAGONAL)
def test_equal_addresses_that_the_code_generator_finds_lose_no_trap(cpu: str | None, opt_level: str) -> None:
    """Two counters of one loop: it makes them one, after `exact` has looked, and takes accesses for one access."""
    functions, sizes = [], {}
    for kind, size in (("i32", 4), ("i64", 8), ("f32", 4), ("f64", 8)):
        rows = TWO_COUNTERS if kind[0] == "f" else TWO_COUNTERS | TWO_COUNTERS_INTEGERS
        for name, (body, start) in rows.items():
            less = "lt" if kind[0] == "f" else "lt_u"
            text = body.format(t=kind, shift=size.bit_length() - 1, less=less)
            functions.append(
                f'(func (export "{kind} {name}") (param $n i32) (result i32)'
                f" (local $i i32) (local $q i32) (local $k i32) (local $sum {kind})"
                f" (loop $l {text} (local.set $q (i32.add (local.get $q) (i32.const {size})))"
                " (local.set $i (i32.add (local.get $i) (i32.const 1)))"
                " (br_if $l (i32.lt_u (local.get $i) (local.get $n))))"
                f" (i32.add (local.get $k) ({kind}.eq (local.get $sum) ({kind}.const 3))))"
            )
            sizes[f"{kind} {name}"] = (END - start) // size
    engine = Engine(Config(cpu=cpu, opt_level=opt_level))
    module = Module(engine, f"(module (memory 1) {' '.join(functions)})")
    lost = []
    for name, count in sizes.items():
        store = Store(engine)
        function = Instance(store, module, []).exports(store)[name]
        function(store, count)
        try:
            function(store, count + 1)
        except Trap as trap:
            assert "out of bounds memory access" in str(trap)
        else:
            lost.append(name)
    assert not lost, lost


# Equal values in two counters: whatever was loaded does not matter. (`$q` is 4 times `$i`.)
# A store that nothing of the loop may pass.
_MASKED = "(i32.shl (i32.and (i32.sub (i32.const 7) (local.get $i)) (i32.const 127)) (i32.const 2))"
_BARRIER = f"(i32.store {_MASKED} (i32.const 3))"
_FOURFOLD = "(i32.shl (local.get $i) (i32.const 2))"
_THERE = f"(i32.add (local.get $a) {_FOURFOLD})"
_OF_COUNTERS = (
    "(i32.add (i32.mul {0} (i32.const 7)) (i32.mul (i32.add {0} (i32.const 3)) (local.get $n)))"  # not worth computing
)


def _store(value: str) -> str:
    """Stores a value inside of memory, in each iteration elsewhere."""
    return f"(i32.store offset=4096 {_FOURFOLD} {value})"


_Q = "(local.get $q)"
_X = "(local.get $x)"
_SET_X = f"(local.set $x (i32.mul (i32.load {_THERE}) (i32.const 5)))"
EQUAL_COUNTERS = {
    "chosen, stored": _store(f"(select (local.get $q) {_FOURFOLD} (i32.load {_THERE}))"),
    "chosen, added": (
        f"(local.set $sum (i32.add (local.get $sum) (select {_FOURFOLD} (local.get $q) (i32.load {_THERE}))))"
    ),
    "chosen address": (
        "(local.set $sum (i32.add (local.get $sum) (i32.load8_u offset=4096 (select (local.get $q)"
        f" {_FOURFOLD} (i32.lt_u (i32.load {_THERE}) (i32.load (i32.const 8)))))))"
    ),
    "stored on both ways": (
        f"(if (f32.lt (f32.load {_THERE}) (f32.load (i32.const 8))) (then {_store('(i32.const 1)')})"
        f" (else (i32.store offset=4096 {_Q} (i32.const 1))))"
    ),
    "computed on both ways": _store(
        f"(if (result i32) (i32.load {_THERE}) (then {_OF_COUNTERS.format(_Q)})"
        f" (else {_OF_COUNTERS.format(_FOURFOLD)}))"
    ),
    "x + q ^ x + q": _SET_X + _store(f"(i32.xor (i32.add {_X} {_Q}) (i32.add {_FOURFOLD} {_X}))"),
    "x << q == x << q": _SET_X + _store(f"(i32.eq (i32.shl {_X} {_Q}) (i32.shl {_X} {_FOURFOLD}))"),
    "behind the loop": _SET_X + f"(local.set $sum (i32.lt_u (i32.mul {_X} {_Q}) (i32.mul {_X} {_FOURFOLD})))",
    "rotl x q - rotl x q": _SET_X + _store(f"(i32.sub (i32.rotl {_X} {_Q}) (i32.rotl {_X} {_FOURFOLD}))"),
}


@pytest.mark.parametrize(("cpu", "opt_level"), DIAGONAL)
def test_choices_of_equal_counters_lose_no_trap(cpu: str | None, opt_level: str) -> None:
    """The code generator finds that both are the same, and that it need not load what decides between them."""
    functions, names = [], []
    for name, body in EQUAL_COUNTERS.items():
        for store in ("", _BARRIER):
            names.append(f"{name}{' and a store' if store else ''}")
            functions.append(
                f'(func (export "{names[-1]}") (param $n i32) (param $a i32) (result i32)'
                f" (local $i i32) (local $q i32) (local $sum i32) (local $x i32)"
                f" (loop $l {body} {store} (local.set $q (i32.add (local.get $q) (i32.const 4)))"
                " (local.set $i (i32.add (local.get $i) (i32.const 1)))"
                " (br_if $l (i32.lt_u (local.get $i) (local.get $n)))) (local.get $sum))"
            )
    engine = Engine(Config(cpu=cpu, opt_level=opt_level))
    module = Module(engine, f"(module (memory 1) {' '.join(functions)})")
    assert lost_at_the_end(module, names, 4) == []


def lost_at_the_end(module: Module, names: list[str], size: int) -> list[tuple[str, int]]:
    """Which of these functions of a number of elements, and where the first is, do not trap for the first that is out
    of bounds, and for which number. None does for those before."""
    lost = []
    for name in names:
        for count in (1, 2, 3, 8, 9, 200):
            store = Store(module.engine)
            function = Instance(store, module, []).exports(store)[name]
            function(store, count, END - count * size)
            try:
                function(store, count, END - count * size + 1)
            except Trap as trap:
                assert "out of bounds memory access" in str(trap)
            else:
                lost.append((name, count))
    return lost


# Loads of loops that branch: LLVM repeats the loop, and finds of one copy that it does not need the value.
COPIED = {
    "the last is not used": (
        "(if (local.get $n) (then (i32.store (i32.add (i32.const 1024) (local.get $i)) (local.get $x))))"
        f" (local.set $x (i32.load {_THERE})) {_BARRIER}"
    ),
    "the last is not used on one way": (
        "(if (local.get $n) (then (i32.store (i32.add (i32.const 1024) (local.get $i)) (local.get $x))))"
        " (if (i32.load8_u (local.get $i)) (then (local.set $x (i32.const 3)))"
        f" (else (local.set $x (i32.load {_THERE})))) (i32.store {_MASKED} (i32.const 0))"
    ),
    "x ^ x": (
        "(if (i32.eqz (i32.xor (i32.load (i32.add (i32.shl (local.get $i) (i32.const 2)) (local.get $a)))"
        " (i32.load (local.get $q)))) (then (f64.store (i32.const 64) (f64.const 0)))"
        " (else (i32.store (local.get $q) (i32.reinterpret_f32 (f32.load (local.get $q))))))"
    ),
}


@pytest.mark.parametrize(("cpu", "opt_level"), DIAGONAL)
def test_copies_of_loops_that_branch_lose_no_trap(cpu: str | None, opt_level: str) -> None:
    functions = [
        f'(func (export "{name}") (param $n i32) (param $a i32) (local $i i32) (local $q i32) (local $x i32)'
        f" (local.set $q (local.get $a)) (block $exit (br_if $exit (i32.eqz (local.get $n)))"
        f" (loop $l {body} (local.set $q (i32.add (local.get $q) (i32.const 4)))"
        " (local.set $i (i32.add (local.get $i) (i32.const 1)))"
        " (br_if $l (i32.lt_s (local.get $i) (local.get $n))))))"
        for name, body in COPIED.items()
    ]
    engine = Engine(Config(cpu=cpu, opt_level=opt_level))
    assert lost_at_the_end(Module(engine, f"(module (memory 1) {' '.join(functions)})"), list(COPIED), 4) == []


@pytest.mark.parametrize("opt_level", ["speed", "speed_and_size"])
@pytest.mark.parametrize(
    "body",
    [
        "(local.set $p (i32.load (local.get $p)))",
        "(local.set $p (i32.load offset=8 (local.get $p)))",
        "(local.set $p (i32.load8_u (local.get $p))) (i32.store offset=4096 (local.get $i) (local.get $i))",
        "(local.set $p (i32.load (local.get $p))) (call $nothing)",
    ],
)
def test_what_leads_to_nothing_but_itself_loses_no_trap(body: str, opt_level: str) -> None:
    """A list is walked, and nothing done with its end: one load is there for the next."""
    engine = Engine(Config(opt_level=opt_level))
    module = Module(
        engine,
        f"""(module (memory 1) (func $nothing)
          (func (export "f") (param $p i32) (param $n i32) (local $i i32)
            (loop $l {body} (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $l (i32.lt_u (local.get $i) (local.get $n))))))""",
    )
    store = Store(engine)
    function = Instance(store, module, []).exports(store)["f"]
    function(store, END - 12, 9)
    for count in (1, 2, 9):
        with pytest.raises(Trap, match="out of bounds memory access"):
            function(store, END, count)


_HERE = "(i32.add (local.get $a) (i32.shl (local.get $i) (i32.const {shift})))"
_OVER_THERE = "(i32.add (i32.shl (local.get $i) (i32.const {shift})) (local.get $a))"
_FIXED = "(i32.const 64)"
_IS_SET = "({t}.ne ({t}.load " + _HERE + ") ({t}.load (i32.const 8)))"
_ITSELF = f"({{t}}.store {_OVER_THERE} ({{t}}.load {_HERE}))"
# Each does the same whether its condition holds or not.
CONDITIONS_OF_NOTHING = {
    "copied onto itself": f"(if {_IS_SET} (then {_ITSELF}))",
    "copied onto itself, or nothing": f"(if {_IS_SET} (then) (else {_ITSELF}))",
    "overwritten": (
        f"(if {_IS_SET} (then ({{t}}.store {_FIXED} ({{t}}.const 1)))) ({{t}}.store {_FIXED} ({{t}}.const 2))"
    ),
    "a value of one way, overwritten": (
        f"(if (local.get $n) (then ({{t}}.store {_FIXED} ({{t}}.load {_HERE})))"
        f" (else ({{t}}.store {_FIXED} ({{t}}.const 1)))) ({{t}}.store {_FIXED} ({{t}}.const 2))"
    ),
    "nested": (
        f"(if {_IS_SET} (then (if ({{t}}.ne ({{t}}.load (i32.const 16)) ({{t}}.load (i32.const 8))) (then {_ITSELF}))))"
    ),
    "by a table": (
        f"(block $done (block $one (block $two (br_table $one $two $done {_IS_SET})) {_ITSELF} (br $done)) {_ITSELF})"
    ),
    "by a table that has all": (
        "(block $done (block $a (block $b (block $c (block $d (br_table $a $b $c $d (i32.and (i32.load8_u "
        f"{_HERE}) (i32.const 3)))) {_ITSELF} (br $done)) {_ITSELF} (br $done)) {_ITSELF} (br $done)) {_ITSELF})"
    ),
    "both the same": (
        f"(if {_IS_SET} (then ({{t}}.store {_FIXED} ({{t}}.const 1))) (else ({{t}}.store {_FIXED} ({{t}}.const 1))))"
    ),
}


@pytest.mark.parametrize(
    ("copies", "opt_level"),
    [
        (4, "speed"),
        *(pytest.param(1, level, marks=pytest.mark.slow) for level in ("speed", "speed_and_size")),
        pytest.param(4, "speed_and_size", marks=pytest.mark.slow),
    ],
)
def test_conditions_that_decide_nothing_lose_no_trap(copies: int, opt_level: str) -> None:
    """LLVM empties the blocks that they lead to, and only the code generator finds that it needs no condition."""
    functions, sizes = [], {}
    step = "(local.set $i (i32.add (local.get $i) (i32.const 1)))"
    for kind, size in (("i32", 4), ("i64", 8), ("f32", 4), ("f64", 8)):
        for name, body in CONDITIONS_OF_NOTHING.items():
            text = body.format(t=kind, shift=size.bit_length() - 1)
            # A store that nothing of it may pass, so that each iteration is one of its own.
            masked = (
                f"({kind}.store (i32.add (i32.shl (i32.and (i32.sub (i32.const 7) (local.get $i)) (i32.const 127))"
                f" (i32.const {size.bit_length() - 1})) (local.get $a)) ({kind}.const 3))"
            )
            for store in ("", masked):
                key = f"{kind} {name}{' and a store' if store else ''}"
                functions.append(
                    f'(func (export "{key}") (param $n i32) (param $a i32) (local $i i32)'
                    f" (loop $l {copies * (text + store + step)}"
                    " (br_if $l (i32.lt_u (local.get $i) (local.get $n)))))"
                )
                sizes[key] = size
    engine = Engine(Config(opt_level=opt_level))
    module = Module(engine, f"(module (memory 1) {' '.join(functions)})")
    lost = []
    for name, size in sizes.items():
        store_ = Store(engine)
        function = Instance(store_, module, []).exports(store_)[name]
        start = END - 1600 * size
        function(store_, 1600, start)
        try:
            function(store_, 1604, start)
        except Trap as trap:
            assert "out of bounds memory access" in str(trap)
        else:
            lost.append(name)
    assert not lost, lost


@pytest.mark.parametrize("cpu", CPUS)
def test_equal_addresses_in_copies_of_a_loop_lose_no_trap(cpu: str | None) -> None:
    """Unrolling puts one iteration in front of the loop: there `$p` and `$q` are equal, and the first store goes."""
    skip_unless_runnable(cpu)
    engine = Engine(Config(cpu=cpu))
    module = Module(
        engine,
        """(module (memory 1) (func (export "f") (param $n i32) (param $p i32) (local $q i32)
          (local.set $q (local.get $p))
          (loop $again
            (loop $once
              (i32.store8 offset=1 (local.get $q)
                (select (i32.add (i32.const 1) (local.get $q)) (i32.load8_s offset=1 (i32.const 0))
                  (f64.ge (f64.load align=1 (local.get $p)) (f64.const 0))))
              (i32.store8 offset=1 (local.get $p) (i32.wrap_i64 (i64.load8_s (local.get $q))))
              (br_if $once (i32.const 0)))
            (local.set $p (i32.add (local.get $p) (i32.const 1)))
            (local.set $q (i32.add (local.get $q) (i32.const -1)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))""",
    )
    store = Store(engine)
    function = Instance(store, module, []).exports(store)["f"]
    function(store, 1, END - 8)
    with pytest.raises(Trap, match="out of bounds memory access"):
        function(store, 1, END - 4)


# Ways around a loop of which nobody knows that it ends, and most do not: (before, body, after).
_SETS_J = "(local.set $j (i32.add (local.get $j) (i32.const 3)))"
_STEP = "(local.set $i (i32.add (local.get $i) (i32.const {step})))"
_STEP_K = "(local.set $k (i32.add (local.get $k) (i32.const 1)))"
_INNER = f"(local.set $k (i32.const 0)) (loop $k {{}} {_STEP_K} (br_if $k (i32.lt_u (local.get $k) (i32.const 6))))"
ENDLESS = {
    "no exit": "(loop $l {} (br $l))",
    "a load": "(loop $l {} (br_if $l (i32.eqz (i32.load8_u (i32.const 0)))))",
    "a global": "(loop $l {} (br_if $l (global.get $yes)))",
    "a global, at the top": "(block $out (loop $l (br_if $out (i32.eqz (global.get $yes))) {} (br $l)))",
    "a table": "(block $out (loop $l {} (br_table $out $l (global.get $yes))))",
    "a parameter": "(loop $l {} (br_if $l (local.get $n)))",
    "a number that is never met": (
        f"(loop $l {{}} {_STEP.format(step=2)} (br_if $l (i32.ne (local.get $i) (i32.const 7))))"
    ),
    "a parameter that is never met": (
        f"(loop $l {{}} {_STEP.format(step=-4)} (br_if $l (i32.ne (local.get $i) (local.get $n))))"
    ),
    "a bound that is skipped": (
        f"(loop $l {{}} {_STEP.format(step=2)} (br_if $l (i32.lt_u (local.get $i) (i32.const -1))))"
    ),
    "a bound of all numbers": (
        f"(loop $l {{}} {_STEP.format(step=1)} (br_if $l (i32.le_s (local.get $i) (local.get $most))))"
    ),
    "a step now and then": (
        f"(loop $l {{}} (if (i32.eqz (global.get $yes)) (then {_STEP.format(step=1)}))"
        " (br_if $l (i32.ne (local.get $i) (local.get $n))))"
    ),
    "two steps": (
        f"(loop $l {{}} {_STEP.format(step=1)} {_STEP.format(step=1)} (br_if $l (i32.ne (local.get $i) (i32.const 7))))"
    ),
    "64 bits": (
        "(loop $l {} (local.set $w (i64.add (local.get $w) (i64.const 1)))"
        " (br_if $l (i64.ne (local.get $w) (i64.const -1))))"
    ),
    "a way back before the counter": (
        f"(loop $l {{}} (br_if $l (global.get $yes)) {_STEP.format(step=1)}"
        " (br_if $l (i32.ne (local.get $i) (local.get $n))))"
    ),
    "in a loop that ends": (
        f"(loop $o (loop $l {{}} (br_if $l (global.get $yes))) {_STEP.format(step=1)}"
        " (br_if $o (i32.ne (local.get $i) (i32.const 7))))"
    ),
    "before a loop in it": (
        f"(loop $o {{}} (loop $l (global.set $no (local.get $j)) {_SETS_J} (br_if $l (global.get $yes)))"
        f" {_STEP.format(step=1)} (br_if $o (i32.ne (local.get $i) (i32.const 7))))"
    ),
    "around a loop that ends": f"(loop $l {_INNER} (br_if $l (global.get $yes)))",
    "around a loop that ends, by a parameter": (
        f"(loop $l (local.set $k (i32.const 0)) (loop $k {{}} {_STEP_K}"
        " (br_if $k (i32.ne (local.get $k) (local.get $n)))) (br_if $l (global.get $yes)))"
    ),
    "overwritten behind": "(loop $l {} (br_if $l (global.get $yes))) {}",
}
ADDRESSES = {
    "constant": "(i32.const -1)",
    "constant over the end": f"(i32.const {END})",
    "parameter": "(local.get $p)",
    "computed": "(i32.add (local.get $p) (i32.shl (local.get $zero) (i32.const 2)))",
    "computed from nothing": "(i32.add (local.get $p) (i32.sub (local.get $j) (local.get $j)))",
    "from before": "(local.get $before)",
    "set in the loop": "(local.tee $set (i32.or (local.get $before) (i32.const 1)))",
    "one of two": "(select (local.get $p) (local.get $before) (global.get $yes))",
    "in a global": "(global.get $place)",
}
_AT = "(local.get $p)"
STORES = {
    "i32.store": f"(i32.store {_AT} (local.get $j))",
    "i32.store8": f"(i32.store8 {_AT} (local.get $j))",
    "i32.store16": f"(i32.store16 {_AT} (local.get $j))",
    "i64.store": f"(i64.store {_AT} (i64.extend_i32_u (local.get $j)))",
    "i64.store8": f"(i64.store8 {_AT} (i64.extend_i32_u (local.get $j)))",
    "i64.store16": f"(i64.store16 {_AT} (i64.extend_i32_u (local.get $j)))",
    "i64.store32": f"(i64.store32 {_AT} (i64.extend_i32_u (local.get $j)))",
    "f32.store": f"(f32.store {_AT} (f32.convert_i32_u (local.get $j)))",
    "f64.store": f"(f64.store {_AT} (f64.convert_i32_u (local.get $j)))",
    "v128.store": f"(v128.store {_AT} (i32x4.splat (local.get $j)))",
    "v128.store8_lane": f"(v128.store8_lane 3 {_AT} (i32x4.splat (local.get $j)))",
    "v128.store64_lane": f"(v128.store64_lane 1 {_AT} (i32x4.splat (local.get $j)))",
    "with an offset": f"(i32.store offset=12 {_AT} (local.get $j))",
    "of what does not change": f"(i32.store {_AT} (local.get $n))",
    "of a sum": f"(i32.store {_AT} (i32.add (i32.load {_AT}) (local.get $j)))",
    "two": f"(i32.store8 offset=1 {_AT} (local.get $j)) (i32.store8 {_AT} (local.get $k))",
    "on one way": f"(if (i32.ne (local.get $j) (i32.const 1)) (then (i32.store8 {_AT} (local.get $j))))",
}
_TIMEOUT_SECONDS = 5.0  # of a loop that should trap at once


@pytest.mark.parametrize(("cpu", "opt_level"), DIAGONAL)
def test_stores_of_loops_without_end_trap(cpu: str | None, opt_level: str) -> None:
    """LLVM stores once, behind the loop, what each iteration stores at the same address (`promotion`)."""
    bodies = {}
    for way, text in ENDLESS.items():
        for name, address in ADDRESSES.items():
            bodies[f"{way}; {name}"] = text.replace("{}", f"(i32.store8 {address} (local.get $j)) {_SETS_J}")
    for way in ("a global", "a number that is never met", "around a loop that ends"):
        for name, store in STORES.items():
            bodies[f"{way}; {name}"] = ENDLESS[way].replace("{}", f"{store} {_SETS_J}")
    functions = [
        f'(func (export "{name}") (param $p i32) (param $n i32) (param $most i32) (param $zero i32)'
        " (local $i i32) (local $j i32) (local $k i32) (local $w i64) (local $before i32) (local $set i32)"
        f" (local.set $before (i32.mul (local.get $p) (i32.const 3))) {body})"
        for name, body in bodies.items()
    ]
    engine = Engine(Config(cpu=cpu, opt_level=opt_level))
    module = Module(
        engine,
        "(module (memory 1) (global $yes (mut i32) (i32.const 1)) (global $no (mut i32) (i32.const 0))"
        f" (global $place (mut i32) (i32.const {FAR})) {' '.join(functions)})",
    )
    lost = []
    for name in bodies:
        store_ = Store(engine, timeout=_TIMEOUT_SECONDS)
        with pytest.raises(Trap) as caught:
            Instance(store_, module, []).exports(store_)[name](store_, FAR, 7, (1 << 31) - 1, 0)
        if caught.value.trap_code is not TrapCode.MEMORY_OUT_OF_BOUNDS:
            lost.append(name)
    assert not lost, lost


@pytest.mark.parametrize("count", [150, pytest.param(1500, marks=pytest.mark.slow)])
def test_random_functions_trap_as_wasmtime_says(count: int) -> None:
    """A short run of `python -m tests.fuzz.lost_traps`."""
    assert lost_traps.run(count, 5, ["optimized"], runnable(lost_traps.CPUS)[-1:], 60) == []


@pytest.mark.parametrize("opt_level", ["speed", "speed_and_size"])
def test_a_value_of_one_way_that_is_overwritten_loses_no_trap(opt_level: str) -> None:
    """LLVM joins both stores to one behind the branch, and only the code generator finds the next at the same place."""
    engine = Engine(Config(opt_level=opt_level))
    rows = []
    for kind, size in (("i32", 2), ("i64", 3), ("f32", 2), ("f64", 3)):
        at = f"(i32.shl (local.get $i) (i32.const {size}))"
        rows.append(
            f'(func (export "{kind}") (param $n i32) (param $a i32) (local $i i32) (loop $l'
            f" (if (local.get $n)"
            f" (then ({kind}.store offset=1024 {at} ({kind}.load (i32.add (local.get $a) (local.get $a)))))"
            f" (else ({kind}.store offset=1024 {at} ({kind}.const 0))))"
            f" ({kind}.store offset=1024 {at} ({kind}.const 0))"
            " (br_if $l (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))"
        )
    module = Module(engine, f"(module (memory 1) {' '.join(rows)})")
    for kind in ("i32", "i64", "f32", "f64"):
        store = Store(engine)
        function = Instance(store, module, []).exports(store)[kind]
        for count in (1, 3, 32):
            function(store, count, 1000)
            with pytest.raises(Trap, match="out of bounds memory access"):
                function(store, count, END // 2)


@pytest.mark.parametrize("cpu", CPUS)
def test_a_load_that_is_lost_once_another_is_kept_traps(cpu: str | None) -> None:
    """The first attempt loses what is stored where it was; kept, it has LLVM treat the loop in another way, and lose
    `*q` in the last iteration."""
    skip_unless_runnable(cpu)
    element = "(i32.shl (local.get $k) (i32.const 2))"
    inside = "(i32.and (local.get $a) (i32.const 0x1fff))"
    masked = "(i32.shl (i32.and (i32.sub (i32.const 7) (local.get $k)) (i32.const 127)) (i32.const 2))"
    text = f"""(module (memory 1) (func (export "f") (param $a i32) (param $n i32)
        (local $k i32) (local $q i32) (local $t f64)
        (local.set $q (local.get $a))
        (block $exit (loop $again
            (br_if $exit (i32.eqz (i32.lt_u (local.get $k) (local.get $n))))
            (i64.store offset=2 (i32.add {inside} {element})
                (i64.reinterpret_f64 (f64.load offset=2 (i32.add {element} {inside}))))
            (f64.store (local.get $q) (local.get $t))
            (local.set $t (f64.mul (f64.load offset=8 (local.get $q)) (f64.const 0)))
            (i32.store (i32.add {masked} {inside}) (i32.const 3))
            (local.set $k (i32.add (local.get $k) (i32.const 1)))
            (local.set $q (i32.add (local.get $q) (i32.const 4)))
            (br $again)))))"""
    store = Store(Engine(Config(cpu=cpu)))
    function = Instance(store, Module(store.engine, text), []).exports(store)["f"]
    for num_iterations in (1, 2, 8, 9):
        last = END - 4 * (num_iterations - 1) - 16
        function(store, last, num_iterations)
        with pytest.raises(Trap, match="out of bounds memory access"):
            function(store, last + 1, num_iterations)
