"""Functions of which little is left once LLVM is done, and which trap all the same: for `tests.fuzz.lost_traps`.

What statements do vanishes: a value is stored to where it came from, or overwritten, by neighbours of all widths; the
ways of a condition or table do the same; two accesses are of one place that is computed differently (a sum turned
around, a second counter), so that their difference is nothing; bits are put among those of memory; bytes are joined to
words, or words taken apart; of counted bits one matters, of floats the sign. Some stand in loops of no, one or some
iterations, behind stores that may be of the same place, and several times over, as optimisers leave them: much is found
to be nothing by the last passes only. Beside them are calls, bulk instructions, growth, globals, divisions and
conversions that trap, two memories and addresses of 64 bits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

SIZES = {"i32": (4, 2, 1), "i64": (8, 4, 2, 1), "f32": (4,), "f64": (8,)}
WORDS = ("i32", "i32", "i64", "i64", "f32", "f64")
LOCALS = "(local $q i32) (local $out i32) (local $ti32 i32) (local $ti64 i64) (local $tf32 f32) (local $tf64 f64)"
# What is beside the functions of a module that has some of these.
SURROUNDINGS = """(type $one (func (param i32) (result i32)))
(func $same (type $one) (local.get 0)) (func $nothing) (table 2 funcref) (elem (i32.const 0) $same $same)"""


class Vanishing:
    """Makes function bodies from a source of chance."""

    def __init__(self, source: random.Random, is_64: bool, has_two_memories: bool) -> None:
        self.source = source
        self.is_64 = is_64  # whether memory 0 is
        self.has_two_memories = has_two_memories
        self.element_bytes = 4
        self.is_inside = False  # whether what is made next accesses places that are in memory

    def pick(self, choices: Sequence[Any]) -> Any:
        return self.source.choice(choices)

    def chance(self, share: float) -> bool:
        return self.source.random() < share

    # ---- addresses ----

    def place(self) -> str:
        """An i32: where the element is, computed in one of several ways."""
        shift = self.element_bytes.bit_length() - 1
        index = self.pick((f"(i32.shl (local.get $k) (i32.const {shift}))",) * 3 + (self.scaled(),))
        if self.is_inside:
            base = "(i32.and (local.get $a) (i32.const 0x1fff))"
            return str(self.pick((f"(i32.add {base} {index})", f"(i32.add {index} {base})")))
        return str(
            self.pick(
                (
                    f"(i32.add (local.get $a) {index})",
                    f"(i32.add {index} (local.get $a))",
                    "(local.get $q)",
                    f"(i32.sub (i32.add (local.get $a) (i32.add {index} (i32.const 8))) (i32.const 8))",
                )
            )
        )

    def scaled(self) -> str:
        return f"(i32.mul (local.get $k) (i32.const {self.element_bytes}))"

    def elsewhere(self) -> str:
        """An i32: a place in memory, which may differ from one iteration to the next."""
        return str(
            self.pick(
                (
                    "(i32.const 64)",
                    "(i32.const 64)",
                    "(i32.const 72)",
                    f"(i32.add (i32.const 1024) {self.scaled()})",
                    "(i32.add (i32.const 4096) (i32.and (local.get $a) (i32.const 255)))",
                )
            )
        )

    def access(self, instruction: str, address: str, offset: int = 0, *values: str) -> str:
        if self.has_two_memories and self.chance(0.2):
            instruction += " $other"
        elif self.is_64:
            address = f"(i64.extend_i32_u {address})"
        where = f" offset={offset}" if offset else ""
        return f"({instruction}{where} {' '.join((address, *values))})"

    def offset(self) -> int:
        return int(self.pick((0, 0, 0, 0, 0, 1, 2, 4, 8)))

    def load(self, valtype: str, address: str = "", offset: int | None = None, size: int = 0) -> str:
        size = size or self.pick((SIZES[valtype][0], SIZES[valtype][0], *SIZES[valtype]))
        offset = self.offset() if offset is None else offset
        suffix = "" if size == SIZES[valtype][0] else f"{8 * size}_{self.pick('su')}"
        return self.access(f"{valtype}.load{suffix}", address or self.place(), offset)

    def store(self, valtype: str, value: str, address: str = "", offset: int | None = None, size: int = 0) -> str:
        size = size or self.pick((SIZES[valtype][0], SIZES[valtype][0], *SIZES[valtype]))
        offset = self.offset() if offset is None else offset
        suffix = "" if size == SIZES[valtype][0] else str(8 * size)
        return self.access(f"{valtype}.store{suffix}", address or self.place(), offset, value)

    # ---- values ----

    def constant(self, valtype: str) -> str:
        return f"({valtype}.const {self.pick((0, 1, 2, 7, 255, 65535) if valtype[0] == 'i' else (0, 1, 'nan', 'inf'))})"

    def other(self, valtype: str) -> str:
        return str(
            self.pick(
                (
                    self.constant(valtype),
                    f"(local.get ${valtype})",
                    self.load(valtype, self.elsewhere(), 0),
                    self.load(valtype),
                    f"(local.get $v{valtype})",
                )
            )
        )

    def value(self, valtype: str) -> str:
        """Mostly of one load."""
        load = self.load(valtype)
        if self.chance(0.5):
            return load
        self.is_inside = self.is_inside or self.chance(0.5)
        if valtype[0] == "f":
            return f"({valtype}.{self.pick(('add', 'mul', 'min', 'copysign', 'sub'))} {load} {self.other(valtype)})"
        kind = self.pick(("add", "xor", "and", "or", "shl", "shr_u", "mul", "rotl", "sub"))
        return f"({valtype}.{kind} {load} {self.other(valtype)})"

    def cancelled(self, valtype: str) -> str:
        """What is nothing if two places are one."""
        offset, size = self.offset(), self.pick(SIZES[valtype])
        one, two = (self.load(valtype, offset=offset, size=size) for _ in range(2))
        if valtype[0] == "f":
            return f"({valtype}.sub {one} {two})"
        if self.chance(0.3):
            one, two = (f"({valtype}.add {each} ({valtype}.const 3))" for each in (one, two))
        kind = self.pick(("sub", "xor", "and", "or", "div_u", "rem_u"))
        return f"({valtype}.{kind} {one} {two})"

    def condition(self) -> str:
        """An i32 that depends on a load."""
        before, self.is_inside = self.is_inside, self.chance(0.5)
        text = self.compared()
        self.is_inside = before
        return text

    def compared(self) -> str:
        valtype = self.pick(WORDS)
        if valtype[0] == "f":
            return f"({valtype}.{self.pick(('lt', 'eq', 'ne', 'ge'))} {self.load(valtype)} {self.other(valtype)})"
        compare = self.pick(("eq", "ne", "lt_u", "lt_s", "gt_u", "ge_s"))
        choice = self.source.random()
        if choice < 0.2:
            counted = f"({valtype}.{self.pick(('clz', 'ctz', 'popcnt'))} {self.load(valtype)})"
            return f"({valtype}.{compare} {counted} ({valtype}.const {self.pick((0, 1, 8, 16, 24, 31, 32, 63))}))"
        if choice < 0.3:
            return f"({valtype}.eqz {self.cancelled(valtype)})"
        if choice < 0.35:
            number = self.pick(("f32", "f64"))
            one, two = (self.load(number, offset=0) for _ in range(2))
            less = f"({number}.{self.pick(('lt', 'gt', 'ne', 'le'))} {one} {two})"
            return f"(i32.eqz {less})" if self.chance(0.5) else less
        if choice < 0.4:
            return f"(i32.{self.pick(('and', 'or'))} {self.condition()} {self.condition()})"
        if choice < 0.55 and valtype == "i32":
            return self.load(valtype)
        mask = f"({valtype}.const {self.pick((1, 255, 128, 65280, 32768, 65535))})"
        loaded = f"({valtype}.and {self.load(valtype)} {mask})" if self.chance(0.25) else self.load(valtype)
        return f"({valtype}.{compare} {loaded} {self.other(valtype)})"

    # ---- statements ----

    def nothing(self) -> str:
        """A statement that does nothing, or nothing that is there behind the next."""
        valtype = self.pick(WORDS)
        size = self.pick(SIZES[valtype])
        offset = self.offset()

        def itself() -> str:
            return self.store(valtype, self.load(valtype, offset=offset, size=size), offset=offset, size=size)

        def as_integer() -> str:
            bits = 32 if valtype in ("i32", "f32") else 64
            loaded = f"(i{bits}.reinterpret_f{bits} {self.load(f'f{bits}', offset=offset)})"
            return self.store(f"i{bits}", loaded, offset=offset, size=bits // 8)

        def fixed() -> str:
            return self.store(valtype, self.constant(valtype), "(i32.const 64)", 0)

        return str(self.pick((itself, itself, itself, as_integer, fixed, lambda: ""))())

    def overwritten(self) -> str:
        first, second = self.pick(WORDS), self.pick(WORDS)
        one, two = self.pick(((self.place(), self.place()), ("(i32.const 64)", "(i32.const 64)")))
        low = self.pick((0, 0, 0, 4, 1, -4))
        between = self.pick(("", "", "", self.small()))
        stores = (
            self.store(first, self.value(first), one, max(0, low)),
            between,
            self.store(second, self.pick((self.constant(second), self.other(second))), two, max(0, -low)),
        )
        return " ".join(stores)

    def branch(self, depth: int = 0) -> str:
        condition = self.condition()
        self.is_inside = self.chance(0.7)
        ways = [self.nothing(), self.pick((self.nothing(), ""))]
        if depth < 2 and self.chance(0.3):
            ways[self.pick((0, 1))] = self.branch(depth + 1)
        if self.chance(0.15):
            ways[1] = ways[0]
        self.source.shuffle(ways)
        text = f"(if {condition} (then {ways[0]}) (else {ways[1]}))"
        if self.chance(0.2):
            text += f" {self.store('i64', '(i64.const 5)', '(i32.const 64)', 0, 8)}"
        return text

    def table(self) -> str:
        """Some ways, or all that there are, do nothing."""
        count = self.pick((2, 4, 4))
        valtype = self.pick(("i32", "i32", "i64"))
        loaded = self.load(valtype)
        loaded = loaded if valtype == "i32" else f"(i32.wrap_i64 {loaded})"
        chosen = self.pick(
            (
                f"(i32.and {loaded} (i32.const {count - 1}))",
                f"(i32.and {loaded} (i32.const {count - 1}))",
                f"(i32.rem_u {loaded} (i32.const {count}))",
                loaded,
                f"(i32.shr_u {self.load('i32', size=1)} (i32.const {9 - count.bit_length()}))",
            )
        )
        labels = [f"$w{number}" for number in range(count)]
        default = self.pick((labels[-1], "$done"))
        text = f"(br_table {' '.join(labels)} {default} {chosen})"
        self.is_inside = self.chance(0.7)
        for label in labels:
            text = f"(block {label} {text}) {self.nothing()} (br $done)"
        return f"(block $done {text})"

    def bits(self) -> str:
        """Bits are put among those in memory, which may be found to be a store of fewer bytes."""
        valtype = self.pick(("i32", "i64"))
        size = self.pick(SIZES[valtype][:-1])
        width = 8 * size
        bits = self.pick((8, 8, 16, 4, 1))
        low = self.pick(range(0, width - bits + 1, self.pick((8, 8, bits))))
        mask = ((1 << 8 * SIZES[valtype][0]) - 1) ^ (((1 << bits) - 1) << low)
        offset = self.offset()
        old = f"({valtype}.and {self.load(valtype, offset=offset, size=size)} ({valtype}.const {mask}))"
        new = f"({valtype}.and {self.other(valtype)} ({valtype}.const {(1 << bits) - 1}))"
        if self.chance(0.3):
            new = self.load(valtype, self.elsewhere(), 0, 1)
        new = f"({valtype}.shl {new} ({valtype}.const {low}))"
        kind = self.pick(("or", "or", "or", "xor", "add"))
        joined = self.pick((f"({valtype}.{kind} {old} {new})", f"({valtype}.{kind} {new} {old})", old))
        if self.chance(0.2):
            constant = ((1 << bits) - 1) << low
            joined = f"({valtype}.{self.pick(('or', 'xor', 'add'))} {self.load(valtype, offset=offset, size=size)} "
            joined += f"({valtype}.const {constant}))"
        return self.store(valtype, joined, self.pick(("", "", "", self.elsewhere())), offset, size)

    def swap(self) -> str:
        valtype = self.pick(WORDS)
        size, offset = SIZES[valtype][0], self.offset()
        one, two = self.place(), self.pick((self.place(), self.elsewhere()))
        loaded = self.load(valtype, two, offset, size)
        moved = self.store(valtype, loaded, self.pick((one, self.place())), offset, size)
        return (
            f"(local.set $t{valtype} {self.load(valtype, one, offset, size)}) {moved} "
            f"{self.store(valtype, f'(local.get $t{valtype})', two, offset, size)}"
        )

    def joined_bytes(self) -> str:
        """Bytes of a number in either order; some may be left out, or not be needed."""
        valtype = self.pick(("i32", "i64"))
        most = SIZES[valtype][0]
        count = self.pick((2, 3, 4, 4, most, most))
        size = self.pick((1, 1, 2)) if count * 2 <= most else 1
        order = list(range(count))
        if self.chance(0.4):
            order.reverse()
        place = self.place()
        parts = []
        for number, position in enumerate(order):
            suffix = f"{8 * size}_{'s' if self.chance(0.05) else 'u'}"
            part = self.access(f"{valtype}.load{suffix}", place, size * number)
            parts.append(f"({valtype}.shl {part} ({valtype}.const {8 * size * position}))")
        if self.chance(0.1):
            parts.pop()
        if self.chance(0.3):
            self.source.shuffle(parts)
        joined = parts[0]
        for part in parts[1:]:
            joined = f"({valtype}.{self.pick(('or', 'or', 'or', 'add', 'xor'))} {joined} {part})"
        if self.chance(0.3):
            joined = f"({valtype}.{self.pick(('and', 'shr_u', 'shl', 'popcnt'))} {joined}"
            joined += ")" if "popcnt" in joined[:12] else f" ({valtype}.const {self.pick((8, 16, 255, 65535, 24))}))"
        return self.used(valtype, joined)

    def parts(self) -> str:
        """Parts of a number are stored, side by side; or constants."""
        valtype = self.pick(("i32", "i64"))
        most = SIZES[valtype][0]
        size = self.pick((1, 1, 2))
        count = self.pick((2, 3, most // size, most // size))
        count = min(count, most // size)
        target = self.pick((self.place(), self.elsewhere()))
        kind = self.pick(("number", "number", "constants", "copied"))
        source = self.place()
        text = f"(local.set $t{valtype} {self.value(valtype)})" if kind == "number" else ""
        order = list(range(count))
        if self.chance(0.3):
            order.reverse()
        for number, position in enumerate(order):
            if kind == "number":
                value = f"({valtype}.shr_u (local.get $t{valtype}) ({valtype}.const {8 * size * position}))"
            elif kind == "constants":
                value = f"({valtype}.const {number})"
            else:
                value = self.access(f"{valtype}.load{8 * size}_u", source, size * position)
            text += " " + self.access(f"{valtype}.store{8 * size}", target, size * number, value)
        return text

    def used(self, valtype: str, value: str) -> str:
        """Something becomes of a value; most do not last."""
        name = f"$v{valtype}"
        return str(
            self.pick(
                (
                    lambda: f"(drop {value})",
                    lambda: f"(local.set {name} {value})",
                    lambda: f"(local.set {name} ({valtype}.{self.pick(('add', 'mul'))} (local.get {name}) {value}))",
                    lambda: f"(global.set $g{valtype} {value})",
                    lambda: self.store(valtype, value, self.elsewhere(), 0),
                    lambda: self.store(valtype, value),
                )
            )()
        )

    def chosen_address(self) -> str:
        valtype = self.pick(WORDS)
        condition = self.pick((self.condition(), "(local.get $i32)", "(i32.and (local.get $k) (i32.const 1))"))
        address = f"(select {self.place()} {self.elsewhere()} {condition})"
        return (
            self.used(valtype, self.load(valtype, address))
            if self.chance(0.6)
            else self.store(valtype, self.value(valtype), address)
        )

    def small(self) -> str:
        """Something that happens beside accesses."""
        address = "i64" if self.is_64 and not self.has_two_memories else "i32"
        near, far = self.place(), self.elsewhere()
        if address == "i64":
            near, far = f"(i64.extend_i32_u {near})", f"(i64.extend_i32_u {far})"
        length = f"({address}.const {self.pick((0, 1, 4, 8, 16))})"
        of = " $other" if self.has_two_memories else ""
        of_two = f"{of}{of}"
        page = f"({address}.const 0)"
        return str(
            self.pick(
                (
                    f"(memory.fill{of} {self.pick((near, far))} (i32.const 1) {length})",
                    f"(memory.copy{of_two} {self.pick((near, far))} {self.pick((near, far))} {length})",
                    f"(drop (memory.grow{of} {page}))",
                    f"(drop (memory.size{of}))",
                    "(call $nothing)",
                    f"(drop (call $same {self.load('i32')}))",
                    f"(local.set $vi32 (call $same {self.load('i32')}))",
                    f"(drop (call_indirect (type $one) {self.load('i32')} (i32.and {self.load('i32')} (i32.const 1))))",
                    f"(global.set $gi64 {self.load('i64')}) (global.set $gi64 (i64.const 4))",
                    "(if (i32.eq (local.get $n) (i32.const 12345)) (then (unreachable)))",
                    f"(if {self.condition()} (then (br $end)))",
                )
            )
        )

    def trapping(self) -> str:
        """A division or conversion that traps by itself."""
        valtype = self.pick(("i32", "i64"))
        if self.chance(0.4):
            number = self.pick(("f32", "f64"))
            value = f"({valtype}.trunc_{number}_{self.pick('su')} {self.load(number)})"
        else:
            kind = self.pick(("div_s", "div_u", "rem_s", "rem_u"))
            value = f"({valtype}.{kind} {self.load(valtype)} {self.other(valtype)})"
        if self.chance(0.3):
            value = f"({valtype}.and {value} {self.constant(valtype)})"
        return self.used(valtype, value)

    def exit(self) -> str:
        return f"(br_if {self.pick(('$end', '$exit', '$exit'))} {self.condition()})"

    def cancelling(self) -> str:
        valtype = self.pick(WORDS)
        return self.used(valtype, self.cancelled(valtype))

    def counters(self) -> str:
        """A choice by what was loaded, or an operation on it, where both operands are the same in two counters."""
        shift = self.element_bytes.bit_length() - 1
        one, two = "(local.get $q)", f"(i32.add (local.get $a) (i32.shl (local.get $k) (i32.const {shift})))"
        if self.chance(0.5):
            one, two = two, one
        if self.chance(0.3):
            step = self.pick((3, 7))
            one, two = (f"(i32.mul (i32.add {each} (i32.const {step})) (local.get $i32))" for each in (one, two))
        masked = f"(i32.and {one} (i32.const 0xfff))", f"(i32.and {two} (i32.const 0xfff))"
        loaded = self.load("i32")
        choice = self.source.random()
        if choice < 0.25:
            return self.used("i32", f"(select {one} {two} {self.condition()})")
        if choice < 0.4:
            return self.used("i32", self.load("i32", f"(select {masked[0]} {masked[1]} {self.condition()})"))
        if choice < 0.55:
            ways = [self.store("i32", "(i32.const 1)", each, 0, 4) for each in masked]
            return f"(if {self.condition()} (then {ways[0]}) (else {ways[1]}))"
        if choice < 0.7:
            return self.used("i32", f"(if (result i32) {self.condition()} (then {one}) (else {two}))")
        kind = self.pick(("add", "xor", "mul", "shl", "rotl", "and"))
        both = [f"(i32.{kind} (local.get $ti32) {each})" for each in (one, two)]
        kind = self.pick(("sub", "xor", "eq", "lt_u", "div_u", "and", "or"))
        return f"(local.set $ti32 {loaded}) {self.used('i32', f'(i32.{kind} {both[0]} {both[1]})')}"

    def doubled(self) -> str:
        """What is equal in floats: `x * 2` and `x + x`."""
        valtype = self.pick(("f32", "f64"))
        name = f"(local.get $t{valtype})"
        one, two = f"({valtype}.mul {name} ({valtype}.const 2))", f"({valtype}.add {name} {name})"
        loaded = f"(local.set $t{valtype} {self.load(valtype)})"
        if self.chance(0.4):
            less = self.pick(("lt", "ne", "gt"))
            return f"{loaded} {self.used('i32', f'({valtype}.{less} {one} {two})')}"
        if self.chance(0.5):
            return self.used(valtype, f"(select {one} {two} {self.condition()})")
        bits = f"i{valtype[1:]}"
        one, two = f"({bits}.reinterpret_{valtype} {one})", f"({bits}.reinterpret_{valtype} {two})"
        kind = self.pick(("sub", "xor", "and"))
        return f"{loaded} {self.used(bits, f'({bits}.{kind} {one} {two})')}"

    def walk(self) -> str:
        """A list is walked, for the sake of its end, or for nothing."""
        load = self.access(f"i32.load{self.pick(('', '8_u', '16_u'))}", "(local.get $ti32)", self.offset())
        first = f"(if (i32.eqz (local.get $k)) (then (local.set $ti32 {self.place()})))"
        return f"{first} (local.set $ti32 {load})"

    def sign(self) -> str:
        """A float with the sign of another, of which other bits are used."""
        valtype, bits = self.pick((("f32", 32), ("f64", 64)))
        other = self.pick(
            (
                lambda: self.value(valtype),
                lambda: f"({valtype}.{self.pick(('sqrt', 'neg', 'abs', 'floor'))} {self.value(valtype)})",
                lambda: f"({valtype}.convert_{self.pick(('i32', 'i64'))}_s {{}})",
                lambda: (
                    f"(if (result {valtype}) {self.condition()} (then {self.value(valtype)}) "
                    f"(else {self.load(valtype)}))"
                ),
            )
        )()
        if "{}" in other:
            other = other.format(self.load("i32" if "i32" in other else "i64"))
        signed = f"({valtype}.copysign {self.other(valtype)} {other})"
        if self.chance(0.2):
            return self.used(valtype, signed)
        number = f"(i{bits}.reinterpret_{valtype} {signed})"
        if bits == 64 and self.chance(0.5):
            return self.used("i32", f"(i32.wrap_i64 {number})")
        kind = self.pick((f"(i{bits}.and {number} (i{bits}.const 255))", f"(i{bits}.shl {number} (i{bits}.const 1))"))
        return self.used(f"i{bits}", kind)

    def carried(self) -> str:
        """What was loaded in the iteration before, and perhaps used."""
        valtype = self.pick(WORDS)
        use = self.store(valtype, f"(local.get $t{valtype})", self.pick((self.elsewhere(), self.place())), 0)
        if self.chance(0.4):
            use = f"(if {self.pick((self.condition(), '(local.get $i32)'))} (then {use}))"
        loaded = f"(local.set $t{valtype} {self.value(valtype)})"
        return f"{use} {loaded}" if self.chance(0.6) else f"{loaded} {use}"

    def counted(self) -> str:
        """A loop inside, of no or few iterations, that may not be entered."""
        times = self.pick(("(i32.const 1)", "(i32.const 4)", "(i32.and (local.get $n) (i32.const 3))"))
        guard = self.pick(("(i32.and (local.get $n) (i32.const 3))", self.condition(), "(local.get $i32)"))
        body = self.pick((self.nothing, self.overwritten, self.cancelling, self.branch))()
        return (
            f"(local.set $out (i32.const 0)) (if {guard} (then (loop $inner {body} "
            f"(br_if $inner (i32.lt_u (local.tee $out (i32.add (local.get $out) (i32.const 1))) {times})))))"
        )

    def statement(self) -> str:
        makers: tuple[Callable[[], str], ...] = (
            self.nothing,
            self.overwritten,
            self.overwritten,
            self.branch,
            self.branch,
            self.branch,
            self.table,
            self.bits,
            self.bits,
            self.swap,
            self.joined_bytes,
            self.parts,
            self.chosen_address,
            self.small,
            self.trapping,
            self.exit,
            self.cancelling,
            self.cancelling,
            self.carried,
            self.counted,
            self.counters,
            self.counters,
            self.sign,
            self.doubled,
            self.walk,
        )
        maker = self.pick(makers)
        self.is_inside = self.chance(0.4)  # if all were outside, one that is lost would not be missed
        text = str(maker())
        self.is_inside = False
        return text

    def barrier(self) -> str:
        """A store that may be of the same place as anything."""
        masked = "(i32.shl (i32.and (i32.sub (i32.const 7) (local.get $k)) (i32.const 127)) (i32.const 2))"
        behind = f"(i32.add {masked} (i32.and (local.get $a) (i32.const 0x1fff)))"
        return self.store("i32", "(i32.const 3)", self.pick((behind, masked)), 0, 4)

    def body(self) -> str:
        """Statements, most of them in a loop. `$k` begins at 0, `$q` at `$a`."""
        self.element_bytes = self.pick((1, 2, 4, 4, 8, 8))
        statements = " ".join(self.statement() for _ in range(self.pick((1, 1, 1, 2, 2, 3))))
        start = "(local.set $q (local.get $a))"
        if self.chance(0.25):
            return f"{start} (block $end (block $exit {statements}))"
        step = "(local.set $k (i32.add (local.get $k) (i32.const 1)))"
        step += f" (local.set $q (i32.add (local.get $q) (i32.const {self.element_bytes})))"
        once = f"{statements} {self.barrier() if self.chance(0.4) else ''} {step}"
        if self.chance(0.25):
            once = f"{step} {statements}"
        copies = " ".join([once] * self.pick((1, 1, 1, 2, 4)))
        end = self.pick(("(local.get $n)", "(local.get $n)", "(local.get $n)", "(i32.const 1)", "(i32.const 8)"))
        test = f"(i32.{self.pick(('lt_u', 'lt_u', 'lt_s'))} (local.get $k) {end})"
        if self.chance(0.3):
            loop = f"(loop $again (br_if $exit (i32.eqz {test})) {copies} (br $again))"
        else:
            loop = f"(loop $again {copies} (br_if $again {test}))"
        guard = f"(br_if $exit (i32.eqz {self.pick((end, '(local.get $i32)'))}))" if self.chance(0.3) else ""
        behind = self.statement() if self.chance(0.15) else ""
        return f"{start} (block $end (block $exit {guard} {loop} {behind}))"
