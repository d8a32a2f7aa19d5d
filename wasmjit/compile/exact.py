"""Loads from linear memory stay what they are: no trap gets lost when LLVM deletes, moves or narrows a load.

To LLVM a load has no effect: it goes where its value makes no difference, it reads only those bytes that somebody looks
at, and with AVX-512 only those lanes that a mask leaves. An access over the end of the memory would not trap. Volatile
loads stay, but then no loop is vectorised, and what was stored is always read back. So:

- Each load is *kept*: an annotation that LLVM takes for something that happens, though it is nothing, uses its value.
  Optimisations that need the value, or show that it is known (an equal load or store before), work as ever.
- Loops that LLVM may vectorise must not have annotations: their loads are *released*. A comment says what they would
  have, and a marker stands beside each where the loop has no branches.
- When the optimiser is done, `finish` reads what it made. Annotations go; where one was the only use, an empty `asm`
  takes its place. Loads of which the code generator could leave out bytes become volatile, and what AVX-512 could mask
  passes an empty `asm`. Released loads that are not there, or less often than their markers, are kept, and the
  optimiser begins again.
- The code generator rewrites the addresses of loops, and may find two equal that the optimiser did not: `*p = *q` is
  nothing then, `*p - *q` is 0, of `*p = x; *q = y` the first is nothing. Accesses that this could rid of a load become
  volatile.
- The optimiser may leave a branch both of whose ways lead to the same place, through blocks that it has emptied late:
  the code generator takes it out, and the loads of its condition. An empty `asm` uses that condition.

Runs in the generator (`keep_text`, `released_text`) and in the worker processes, and imports nothing of either but
`lines` and `places`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .lines import LANE_BITS, hidden_load, opaque, operation, size_bytes, stem
from .places import Place, Places

_ANNOTATION = "@llvm.var.annotation.p0.p0"
_RELEASED = "; released "
# Does nothing, but where it stands the iterations that LLVM made of a loop can be counted.
_MARKER = "@llvm.sideeffect"
# A number for the annotation, which takes 32 bits.
_NUMBERS = {
    "i32": "",
    "i64": "  {1}k = trunc i64 {0} to i32\n",
    "float": "  {1}k = bitcast float {0} to i32\n",
    "double": "  {1}w = bitcast double {0} to i64\n  {1}k = trunc i64 {1}w to i32\n",
}


def keep_text(value: str, llvm: str, name: str = "") -> str:
    """Keeps a loaded value of type `llvm`, or with a new `name` what was computed from it."""
    name = name or value
    conversion = _NUMBERS[llvm].format(value, name)
    number = f"{name}k" if conversion else value
    return f"{conversion}  call void {_ANNOTATION}(ptr null, ptr null, ptr null, i32 {number}, ptr null)"


def marker_text(site: str) -> str:
    """Counts how often a load at `site`, its location, has to be there."""
    return f"  call void {_MARKER}(){site}"


def released_text(value: str, llvm: str, at: int) -> str:
    """Says that a load would be kept if it stood elsewhere."""
    return f"{_RELEASED}{value} {llvm} {at}"


# ---- in the worker ----

_DEFINITION = re.compile(r"^(?=define )", re.MULTILINE)
_FUNCTION_NAME = re.compile(r"define [^@]*@(\S+?)\(")
_RELEASED_LINE = re.compile(rf"^{_RELEASED}(\S+) (\S+) (\d+)$", re.MULTILINE)
_KEPT_LINES = re.compile(
    rf"^(?:  %[xw]\d+[kw] = (?:trunc|bitcast) .*\n)*  call void {re.escape(_ANNOTATION)}.*\n", re.MULTILINE
)
# Memory accesses are those that nothing is known of the alignment of.
_ANY_LOAD = re.compile(r"^(  %\S+ = load )((?:i\d+|float|double), ptr %\S+, align 1\b)", re.MULTILINE)
# A line with a result that does something besides: a call, but for what LLVM knows.
_HAS_EFFECT = re.compile(r" (?:call|load volatile|cmpxchg|atomicrmw) (?!.*@llvm\.|.* asm \"|asm \")")
_ANY_STORE = re.compile(r"^(  store )(i\d+ \S+, ptr %\S+, align 1\b)", re.MULTILINE)
_LOAD = re.compile(r"  (%\S+) = load (volatile )?(<[^>]*>|\w+), (ptr %\S+, align 1\b.*)")
_EXTENSION = re.compile(r"  (%\S+) = [sz]ext (?:nneg )?<\d+ x \w+> (%\S+) to <(\d+) x (\w+)>(?:, .*)?")
_DEBUG = re.compile(r"!dbg (!\d+)")
_NUMBER = re.compile(r".* i32 ([^,]+), ptr null\)")
_NAME = re.compile(r"%[-\w.$]+")
_LOCATION = re.compile(r"^(!\d+) = !DILocation\(line: (\d+),", re.MULTILINE)
_SUNK = re.compile(r"\.le\d*(?:\.|$)")  # how LLVM names what it moves behind a loop
_MOST_STEPS = 12
_MOST_SEEN = 100
_MAY_MASK = re.compile(r" select .* (?:float|double|<)| (?:and|or|xor) <")
_IN_LANES = re.compile(r" = .*<\d+ x ")
_COMPARES_LANES = re.compile(r" = [if]cmp .* <\d+ x ")
_BITWISE = ("and", "or", "xor")
_JOINS = ("or", "xor", "add")
# Where two equal operands, or one and what is made of the other, may give a constant, or make a third unimportant. The
# second do where an operand is a negation.
_CANCEL = frozenset("sub xor icmp fcmp and or add udiv sdiv urem srem select".split())
_CANCEL_NEGATED = frozenset("and or add".split())
_CANCEL_CALL = re.compile(r"@llvm\.(?:[us]sub\.sat|[us]cmp)\.")
_ACCESS = re.compile(r"  (?:(%\S+) = load |store )(volatile )?(<[^>]*>|\w+)(?: (\S+))?, ptr (%[-\w.$]+), align 1\b")
_MOST_SOURCES = 16
_MOST_LEAVES = 20
_FLOAT_ARITHMETIC = frozenset("fadd fsub fmul fdiv fneg sitofp uitofp".split())
_MOST_DEPTH = 100
_ARITHMETIC = frozenset("add sub mul shl lshr ashr and or xor zext sext trunc getelementptr icmp select".split())
# What gives a counter from counters, and what gives the next value of one.
_AFFINE = frozenset("add sub mul shl or zext sext trunc getelementptr".split())
_COUNTS = frozenset("add sub getelementptr".split())
_CHOICE = re.compile(r"  %\S+ = select i1 (%[-\w.$]+), \S+ (%[-\w.$]+), \S+ (%[-\w.$]+)(?:,|$)")
_FLAGS = re.compile(r" (?:nuw|nsw|nusw|nneg|exact|disjoint|inbounds|samesign)\b")
_SUM = re.compile(r"add i(\d+) (%\S+), (-?\d+)$")
_DISTANCE = re.compile(r"  %\S+ = getelementptr (?:[a-z]+ )*i8, ptr %[-\w.$]+, i64 (-?\d+)\b")
_COMPUTES = frozenset("add sub mul and or xor shl lshr ashr fadd fsub fmul fdiv".split())
_END_SEARCH = ("phi", "getelementptr", "load")

# Instructions for which all bits of their operands matter, and for which they do as far as those of the result do.
_WHOLE = frozenset("store ret phi insertvalue fptosi fptoui getelementptr switch".split())
# The same of those that make floats, or choose one, if more is needed of these than a sign.
_WHOLE_FLOATS = frozenset("fcmp fadd fsub fmul fdiv frem fneg fpext fptrunc sitofp uitofp".split())
_MAKES_FLOAT = re.compile(r" = select .* (?:float|double) | = phi (?:float|double) |@llvm\.copysign\.")
_SIGN = re.compile(r"@llvm\.copysign\.\w+\(.*, (?:float|double) (%[-\w.$]+)\)")
_AS_RESULT = frozenset("zext sext freeze bitcast shufflevector insertelement add sub mul or xor".split())
_WHOLE_OF_TWO = frozenset("udiv sdiv urem srem".split())
_CONVERSIONS = frozenset("trunc zext sext bitcast freeze".split())
_WHOLE_INTRINSICS = re.compile(r"@llvm\.(?:ct(?:pop|lz|tz)|fpto[su]i|masked\.(?:store|scatter))\.")
# Or an `asm` that has no effect.
_WHOLE_FLOAT_INTRINSICS = re.compile(
    r"@llvm\.(?:sqrt|floor|ceil|trunc|rint|roundeven|nearbyint|minimum|maximum|fma|fmuladd)\.| asm \""
)


_INTRINSICS_AS_RESULT = re.compile(r"@llvm\.(?:[us](?:min|max)|fsh[lr])\.")
_INCOMING = re.compile(r"\[ (%[-\w.$]+),")
_FROM = re.compile(r"\[ ([^,]+), %([-\w.$]+) \]")
_BLOCK = re.compile(r"([-\w.$]+):")
_JUMP = re.compile(r"  br label %([-\w.$]+)")
_COMPUTED = re.compile(r"  %\S+ = (?:add|sub|mul|shl|or|zext|sext|trunc|getelementptr) ")
_FORK = re.compile(r"  (?:br|switch) i(\d+) (%[-\w.$]+), label ")
_TARGET = re.compile(r"label %([-\w.$]+)")
_CONSTANT = re.compile(r" i(\d+) (?:%[-\w.$]+, |)(-?\d+)(?:,|$| )")


def is_edge(constant: int) -> bool:
    """Whether a comparison with this may be a comparison of some bits with zero."""
    number = abs(constant)
    return number & (number - 1) == 0 or number & (number + 1) == 0


def _outer_zeros(constant: int, bits: int) -> int:
    """How many bits at both ends of a constant are zero."""
    number = constant & ((1 << bits) - 1)
    return bits if number == 0 else bits - number.bit_length() + (number & -number).bit_length() - 1


# Of instructions with a constant: how many bits at the ends of the operand it makes unimportant.
_UNUSED_BITS: dict[str, Callable[[int, int], int]] = {
    "and": _outer_zeros,
    "or": lambda constant, bits: _outer_zeros(~constant, bits),
    "xor": lambda constant, bits: 0,
    "shl": lambda constant, bits: constant,
    "lshr": lambda constant, bits: constant,
    "ashr": lambda constant, bits: constant,
    "mul": lambda constant, bits: (constant & -constant).bit_length() - 1 if constant else bits,
    "add": lambda constant, bits: 0,
    "sub": lambda constant, bits: 0,
}


class Located(NamedTuple):
    """The loads of an optimised function that are where they were, by their offsets."""

    present: set[int]
    is_joined: bool  # LLVM made one load of several for vectors, which has the offset of one of them


def missing(text: str, located: dict[str, Located]) -> list[int]:
    """The offsets of loads that a generated module releases, and that optimisation may have lost (`located`)."""
    result: list[int] = []
    for part in _DEFINITION.split(text) if _RELEASED in text else ():
        offsets = {int(match[3]) for match in _RELEASED_LINE.finditer(part)}
        if offsets:
            name = _FUNCTION_NAME.match(part)
            known = located.get(name[1]) if name else None
            result += sorted(offsets - known.present if known else offsets)
    return result


def keep(text: str, offsets: Iterable[int]) -> str:
    """A generated module in which these loads are not released, but kept."""
    wanted = set(offsets)

    def kept(match: re.Match[str]) -> str:
        at = int(match[3])
        return keep_text(match[1], match[2]) if at in wanted else match[0]

    return _RELEASED_LINE.sub(kept, text)


def is_wanted(text: str, *, masked: bool) -> bool:
    """Whether a generated module has loads that might not trap. Without guard pages it has none."""
    return (
        _ANNOTATION in text
        or _RELEASED in text
        or _ANY_LOAD.search(text) is not None
        or (masked and " = load volatile " in text)
    )


def unoptimised(text: str, *, masked: bool) -> str:
    """A generated module for few passes, none of which a volatile load stands in the way of.

    Nor does it in the code generator's, if bits of what was loaded are changed and stored: stores are volatile too.
    """
    if not is_wanted(text, masked=masked):
        return text
    text = _ANY_LOAD.sub(r"\1volatile \2", _KEPT_LINES.sub("", text))
    text = _ANY_STORE.sub(r"\1volatile \2", text)
    if not masked:
        return text
    parts = _DEFINITION.split(text)
    for index, part in enumerate(parts):
        if ", align 1" in part and _MAY_MASK.search(part):
            parts[index] = _Function(part, masked).text()
    return "".join(parts)


def finish(text: str, *, masked: bool) -> tuple[str, dict[str, Located]]:
    """An optimised module, ready for the code generator; and of each function what `missing` wants to know.

    `masked`: the processor has AVX-512. Raises nothing: what is not understood counts as a use of no bytes.
    """
    lines = {name: int(number) for name, number in _LOCATION.findall(text)}
    located = {}
    parts = _DEFINITION.split(text)
    for index, part in enumerate(parts):
        name = _FUNCTION_NAME.match(part)
        if name and (", align 1" in part or _ANNOTATION in part):
            function = _Function(part, masked)
            parts[index] = function.text()
            present = {lines[mark] for mark in function.complete() if mark in lines}
            located[name[1]] = Located(present, function.is_joined)
    return "".join(parts), located


class _Function:
    """A function of an optimised module: which of its values use what of which."""

    def __init__(self, text: str, masked: bool) -> None:
        self.lines = text.split("\n")
        self.masked = masked and _MAY_MASK.search(text) is not None
        self.users: dict[str, list[tuple[str, list[str]]]] = {}  # lines, and the names in them
        self.definitions: dict[str, tuple[str, list[str]]] = {}
        self.places: dict[str, int] = {}  # the lines of definitions
        self.annotations: list[int] = []
        self.loads: list[int] = []
        self.choices: list[int] = []  # selects
        self.conversions: list[int] = []
        self.markers: list[str] = []  # their locations
        self.located: list[str] = []
        self.is_joined = False  # LLVM made one load of several
        self.used: set[str] = set()  # see `find_used`
        self.whole: dict[tuple[str, int], bool] = {}
        self.has_signs = "@llvm.copysign." in text
        self.has_floats = " = fmul " in text or " = fadd " in text
        self.needed: set[str] | None = None  # see `is_more_than_sign`
        self.addresses: dict[str, tuple[str, bool]] = {}
        self.counted: dict[tuple[str, bool], bool] = {}
        self.numbers: dict[str, str] = {}  # forms of computations with forms
        self.sums: dict[str, tuple[str, int]] = {}  # of forms that are sums with a constant: both terms
        self.distinct: set[str] = set()  # loads that must not become one with another
        users = self.users
        for index, line in enumerate(self.lines):
            if line[:2] != "  ":
                continue
            if _ANNOTATION in line:
                self.annotations.append(index)
                continue
            if _MARKER in line:
                self.markers += _DEBUG.findall(line)
                self.lines[index] = ""
                continue
            names = _NAME.findall(line)
            operands = names
            if line[2] == "%":
                self.definitions[names[0]] = (line, names)
                self.places[names[0]] = index
                operands = names[1:]
                if len(operands) == 1 and operation(line) in _CONVERSIONS:
                    self.conversions.append(index)
                if "@llvm.masked." in line:  # a gather, or a load under the condition of its block
                    self.located += _DEBUG.findall(line)
                elif " = load " in line and ", align 1" in line:
                    self.loads.append(index)
                elif " = select i1 %" in line:
                    self.choices.append(index)
            for name in operands:
                if name in users:
                    users[name].append((line, names))
                else:
                    users[name] = [(line, names)]

    def text(self) -> str:
        """The function as it goes to the code generator."""
        lines = self.lines
        if self.annotations:
            self.find_used()
        for index in self.annotations:
            match = _NUMBER.match(lines[index])
            number = match[1] if match else ""
            lines[index] = ""
            if number[:1] == "%" and not self.is_computed(number):
                line, names = self.definitions[number]
                is_part = " = trunc i64 %" in line  # of which less may be needed to compute it
                kind, number = ("i64", names[1]) if is_part else ("i32", number)
                lines[index] = line = f'  call void asm sideeffect "", "r"({kind} {number})'
                self.users.setdefault(number, []).append((line, [number]))
                self.note_used([number])
        self.remove_conversions()
        self.part_equals()
        self.part_accesses()
        for index in self.loads:
            lines[index] = self.exact_load(lines[index])
        self.use_choices()
        self.use_conditions()
        return "\n".join(lines)

    def use_conditions(self) -> None:
        """Uses what branches depend on whose ways all lead to the same place."""
        labels = {match[1]: index for index, line in enumerate(self.lines) if (match := _BLOCK.match(line))}
        onward: dict[str, str] = {}  # from a block that does nothing, but count, to the next
        never = set()  # blocks that are not reached
        for label, index in labels.items():
            following = next((line for line in self.lines[index + 1 :] if line and not _COMPUTED.match(line)), "")
            match = _JUMP.match(following)
            if match:
                onward[label] = match[1]
            elif following == "  unreachable":
                never.add(label)
        if not onward:
            return
        block = ""
        for index, line in enumerate(self.lines):
            match = _BLOCK.match(line)
            if match:
                block = match[1]
                continue
            fork = _FORK.match(line)
            if fork is None:
                continue
            ways = {self.follow(block, target, onward) for target in self.targets(index)}
            ways = {(before, end) for before, end in ways if end not in never}
            ends = {end for _, end in ways}
            if len(ends) == 1 and self.brings_the_same(labels.get(ends.pop(), -1), {before for before, _ in ways}):
                self.use_condition(index, fork[2], fork[1])

    def targets(self, index: int) -> Iterator[str]:
        """The blocks that the branch or table at a line leads to."""
        yield from _TARGET.findall(self.lines[index])
        if self.lines[index][-1:] == "[":
            for line in itertools.takewhile(lambda line: line[:3] != "  ]", self.lines[index + 1 :]):
                yield from _TARGET.findall(line)

    @staticmethod
    def follow(block: str, target: str, onward: dict[str, str]) -> tuple[str, str]:
        """The first block that does something, from `block` to `target` on, and the block before it."""
        seen = {target}
        while target in onward and onward[target] not in seen:
            block, target = target, onward[target]
            seen.add(target)
        return block, target

    def brings_the_same(self, index: int, blocks: set[str]) -> bool:
        """Whether the phis of the block at `index` are the same for all these ways to it."""
        for line in self.lines[index + 1 :]:
            if not line:
                continue
            if " = phi " not in line:
                break
            incoming = {label: value for value, label in _FROM.findall(line)}
            first, *rest = {incoming.get(block, "") for block in blocks}
            if not all(self.may_be_equal(first, other) for other in rest):
                return False
        return True

    def use_choices(self) -> None:
        """Uses what a choice between two values depends on that the code generator may find equal."""
        for index in self.choices:
            match = _CHOICE.match(self.lines[index])
            if match and self.may_be_equal(match[2], match[3]) and self.comes_from_load(match[1]):
                self.use_condition(index, match[1])

    def use_condition(self, index: int, value: str, bits: str = "1") -> None:
        """Has an integer be computed in front of a line."""
        name = f"{stem(value)}.u{index}"
        number = f"  {name} = zext i1 {value} to i32\n" if bits == "1" else ""
        used = f"i32 {name}" if number else f"i{bits} {value}"
        self.lines[index] = f'{number}  call void asm sideeffect "", "r"({used})\n{self.lines[index]}'

    def comes_from_load(self, name: str, through_phis: bool = False) -> bool:
        """Whether a value is computed from a load, without a phi in between or also with such."""
        seen = {name}
        waiting = [name]
        while waiting:
            line, names = self.definitions.get(waiting.pop(), ("", []))
            kind = operation(line) if line else "phi"
            if kind == "load" or len(seen) > _MOST_SEEN:
                return True
            if kind != "phi" or through_phis:
                waiting += [other for other in names[1:] if other not in seen]
                seen.update(names)
        return False

    def may_be_equal(self, one: str, other: str) -> bool:
        """Whether the code generator may find two values equal: computed equally, or by counters of a loop."""
        if one == other:
            return True
        if one[:1] != "%" or other[:1] != "%":
            return False
        (form, is_moving), (other_form, is_other_moving) = self.address(one), self.address(other)
        if form == other_form:
            return True
        (term, distance), (other_term, other_distance) = (self.sums.get(each, (each, 0)) for each in (form, other_form))
        if term == other_term and distance != other_distance:
            return False
        if self.are_alike(one, other):
            return True
        return is_moving and is_other_moving and self.is_counted(one) and self.is_counted(other)

    def are_alike(self, one: str, other: str) -> bool:
        """Whether two values are computed of the same with floats: the code generator knows that `x * 2` is `x + x`,
        which the optimiser does not."""
        leaves = self.leaves(one) if self.has_floats else set()
        return bool(leaves) and leaves == self.leaves(other)

    def leaves(self, name: str) -> set[str]:
        """What a value is computed from with floats; nothing if without, or from much."""
        found, has_floats = self.leaves_of(name)
        return found if has_floats else set()

    def leaves_of(self, name: str) -> tuple[set[str], bool]:
        """What a value is computed from, nothing if from much; and whether with floats."""
        found: set[str] = set()
        has_floats = False
        seen = {name}
        waiting = [name]
        while waiting and len(seen) < _MOST_LEAVES:
            value = waiting.pop()
            line, names = self.definitions.get(value, ("", []))
            kind = operation(line) if line else ""
            if kind in ("", "phi", "load") or (kind == "call" and "@llvm." not in line):
                found.add(value)
            else:
                has_floats |= kind in _FLOAT_ARITHMETIC
                waiting += [other for other in names[1:] if other not in seen]
                seen.update(names)
        return (set(), False) if waiting else (found, has_floats)

    def is_counted(self, name: str, of_loads: bool = False, steps: int = 0) -> bool:
        """Whether a value is computed from nothing but what loops count, and what stays the same in them.

        With `of_loads`, from these and loads, in any way.
        """
        known = self.counted.get((name, of_loads))
        if known is None:
            self.counted[name, of_loads] = True  # a cycle
            line, names = self.definitions.get(name, ("", []))
            kind = operation(line) if line else ""
            if kind == "phi":
                known = any(self.counts(other, steps + 1) for other in _INCOMING.findall(line))
            elif kind == "load":
                known = of_loads
            elif kind in _AFFINE or of_loads:
                known = steps < _MOST_DEPTH and all(self.is_counted(other, of_loads, steps + 1) for other in names[1:])
            else:
                known = not kind
            self.counted[name, of_loads] = known
        return known

    def counts(self, name: str, steps: int) -> bool:
        """Whether a value of a phi is the phi's next one, of a counter."""
        line, names = self.definitions.get(name, ("", []))
        is_next = bool(line) and operation(line) in _COUNTS and steps < _MOST_DEPTH
        return is_next and all(self.is_counted(other, False, steps + 1) for other in names[1:])

    def remove_conversions(self) -> None:
        """Removes what was only there for annotations."""
        removed: Counter[str] = Counter()  # how many users of a value
        for index in reversed(self.conversions):
            result, operand = _NAME.findall(self.lines[index])[:2]
            if len(self.users.get(result, ())) == removed[result]:
                self.lines[index] = ""
                removed[operand] += 1

    def part_equals(self) -> None:
        """Makes volatile what could go if the code generator found two values of one load equal, wherever that is: LLVM
        computes behind a loop what is used there only."""
        for line, names in self.definitions.values():
            if len(names) != 3 or operation(line) not in _CANCEL:
                continue
            loads = self.loads_of(names[1])
            loads = loads and loads & self.loads_of(names[2])
            if loads and (self.all_count(names[1:]) or self.are_alike(names[1], names[2])):
                self.distinct |= loads

    def loads_of(self, name: str) -> set[str]:
        """The loads that a value is computed from; nothing if it is one, or from much."""
        if self.is_load(name):
            return set()
        found, _ = self.leaves_of(name)
        return {leaf for leaf in found if self.is_load(leaf)}

    def is_load(self, name: str) -> bool:
        line, _ = self.definitions.get(name, ("", []))
        return " = load " in line

    def part_accesses(self) -> None:
        """Makes volatile what could go if the code generator found two addresses of a block equal."""
        block: list[int] = []
        num_accesses = 0
        for index, line in enumerate(self.lines):
            if line[:2] == "  ":
                block.append(index)
                num_accesses += ", align 1" in line
            elif line:  # a label, or the end; empty lines were taken out
                if num_accesses > 1:
                    self.part_block(block)
                block, num_accesses = [], 0

    def part_block(self, block: list[int]) -> None:
        """The same for one block."""
        lines = self.lines
        loads: dict[str, Place] = {}
        stores: list[tuple[int, str, Place, int]] = []  # line, value; bytes
        for index in block:
            match = _ACCESS.match(lines[index]) if ", align 1" in lines[index] else None
            if match is not None and match[1]:
                loads[match[1]] = self.place(match[5])
            elif match is not None and match[4] and not match[2]:  # volatile ones take none away
                stores.append((index, match[4], self.place(match[5]), size_bytes(match[3])))
        sources, direct = self.sources(block, loads) if loads else ({}, {})
        following = Places()
        for index, value, place, size in reversed(stores):
            is_back = value in direct and place.may_be(loads[direct[value]])
            if is_back or (following.may_cover(place, size) and (value in sources or self.is_only_stored(value))):
                lines[index] = lines[index].replace("  store ", "  store volatile ", 1)
            following.add(place, size)

    def is_only_stored(self, value: str) -> bool:
        """Whether a value has one user, and is of a load, of whatever block."""
        return len(self.users.get(value, ())) == 1 and self.comes_from_load(value, through_phis=True)

    def sources(self, block: list[int], loads: dict[str, Place]) -> tuple[dict[str, frozenset[str]], dict[str, str]]:
        """Of which of these loads the values of a block are made, and which are one, converted.

        Loads that may become one with another, and cancel it, get volatile. A value of many counts as one of all.
        """
        places = Places()
        for place in loads.values():
            places.add(place)
        alike = {load for load, place in loads.items() if places.may_have(place, times=2)}
        all_loads = frozenset(loads)
        sources = {load: frozenset((load,)) for load in loads}
        direct = {load: load for load in loads}
        for index in block:
            line = self.lines[index]
            if line[:3] != "  %":
                continue
            names = _NAME.findall(line)
            if names[0] in loads:
                continue
            operands = [sources[name] for name in names[1:] if name in sources]
            if not operands:
                continue
            kind = operation(line)
            if kind in _CONVERSIONS and names[1] in direct:
                direct[names[0]] = direct[names[1]]
            is_of_many = any(len(one) > _MOST_SOURCES for one in operands)
            union = all_loads if is_of_many else frozenset().union(*operands)
            if len(operands) > 1 and self.may_cancel(kind, line, names):
                self.distinct |= alike.intersection(union if is_of_many else frozenset().union(*operands[:-1]))
                shared = operands[0].intersection(*operands[1:])
                if shared and self.all_count(names[1:]):
                    self.distinct |= shared
            sources[names[0]] = all_loads if len(union) > _MOST_SOURCES else union
        return sources, direct

    def all_count(self, names: list[str]) -> bool:
        """Whether the code generator may find values equal that are made of loads and what loops count."""
        return all(self.address(name)[1] and self.is_counted(name, of_loads=True) for name in names)

    def may_cancel(self, kind: str, line: str, names: list[str]) -> bool:
        """Whether what an instruction gives is known if some of its operands are equal."""
        if kind in _CANCEL_NEGATED:
            lines = [self.definitions[name][0] for name in names[1:] if name in self.definitions]
            return any(operation(line) in ("xor", "sub") for line in lines)
        return kind in _CANCEL or (kind == "call" and _CANCEL_CALL.search(line) is not None)

    def place(self, pointer: str) -> Place:
        """Where a pointer points to."""
        offset = 0
        while True:
            line, names = self.definitions.get(pointer, ("", []))
            distance = _DISTANCE.match(line) if len(names) == 2 else None
            if distance is None:
                form, is_moving = self.address(pointer)
                return Place(form, offset, is_moving)
            pointer = names[1]
            offset += int(distance[1])

    def address(self, name: str, steps: int = 0) -> tuple[str, bool]:
        """What stands for a value, and for all that are computed in the same way; and whether it may differ from one
        iteration to the next, as what is computed from a phi does."""
        known = self.addresses.get(name)
        if known is None:
            self.addresses[name] = (name, False)  # a cycle has a phi in it, but for code that is never reached
            line, names = self.definitions.get(name, ("", []))
            kind = operation(line) if line else ""
            if kind in ("", "phi", "load") or (kind == "call" and "@llvm." not in line) or steps > _MOST_DEPTH:
                known = (name, kind == "phi" or steps > _MOST_DEPTH)
            else:
                operands = {other: self.address(other, steps + 1) for other in names[1:]}
                form = self.form(line, operands) if kind in _ARITHMETIC else name
                known = (form, any(is_moving for _, is_moving in operands.values()))
            self.addresses[name] = known
        return known

    def form(self, line: str, operands: dict[str, tuple[str, bool]]) -> str:
        """The form of what a line computes from operands with theirs."""
        computation = _FLAGS.sub("", line.split(" = ", 1)[1].partition(", !")[0])
        key = _NAME.sub(lambda match: operands[match[0]][0], computation)
        match = _SUM.match(key)
        if match is not None:  # of a sum with a constant: one sum
            term, inner = self.sums.get(match[2], (match[2], 0))
            total = (int(match[3]) + inner) % (1 << int(match[1]))
            key = f"add i{match[1]} {term}, {total}"
            self.sums[self.numbers.setdefault(key, f"%#{len(self.numbers)}")] = (term, total)
        return self.numbers.setdefault(key, f"%#{len(self.numbers)}")

    def complete(self) -> set[str]:
        """The locations of loads that happen as often as they are marked."""
        times = Counter(self.located)
        marked = Counter(self.markers)
        return {mark for mark, number in times.items() if number >= marked[mark]}

    def is_computed(self, name: str) -> bool:
        """Whether what an annotation uses is computed without it."""
        while True:
            line, names = self.definitions.get(name, ("", []))
            if not line:
                return True  # a parameter
            kind = operation(line)
            if kind not in _CONVERSIONS:
                break
            name = names[1]
        if name in self.used:
            return True
        return operation(line) == "phi" and self.dissolve(name, line)

    def dissolve(self, name: str, line: str) -> bool:
        """Removes a phi that only annotations use, if what it joins is computed without it; whether it is gone.

        LLVM joins what two paths end with, annotations too.
        """
        if not self.lines[self.places[name]]:
            return True
        incoming = dict.fromkeys(_INCOMING.findall(line))
        if name not in incoming and all(not self.is_phi(other) and self.is_computed(other) for other in incoming):
            for other in incoming:
                self.users[other] = [user for user in self.users[other] if user[0] is not line]
            self.lines[self.places[name]] = ""
            return True
        return False

    def is_phi(self, name: str) -> bool:
        line, _ = self.definitions.get(name, ("", []))
        return bool(line) and operation(line) == "phi"

    def find_used(self) -> None:
        """Finds the values that something is done with, but for annotations: not those that only lead to each other."""
        for line in self.lines:
            is_effect = line[:2] == "  " and (line[2] != "%" or _HAS_EFFECT.search(line))
            if is_effect and _ANNOTATION not in line and "@llvm.assume" not in line:
                self.note_used(_NAME.findall(line))

    def note_used(self, names: Iterable[str]) -> None:
        """Notes that something is done with values, and so with what they are computed from."""
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self.used:
                self.used.add(name)
                waiting += self.definitions.get(name, ("", []))[1]

    def exact_load(self, line: str) -> str:
        """A load whose bytes are all read."""
        match = _LOAD.match(line)
        if match is None:
            return line
        name, volatile, llvm, rest = match.groups()
        mark = _DEBUG.search(rest)
        if mark and not _SUNK.search(name):
            self.located.append(mark[1])
        self.is_joined |= "wide.vec" in name
        is_exact = self.is_more_than_sign(name) and not self.is_chosen(name) if llvm == "i8" else self.is_whole(name)
        if name in self.distinct or not is_exact:
            volatile = "volatile "
        if llvm[0] == "i" and llvm != "i8" and self.is_changed_in_place(name):
            site = f", !dbg {mark[1]}" if mark else ""
            return (
                f"  {stem(name)}.m = load {volatile or ''}{llvm}, {rest}\n"
                f'  {name} = call {llvm} asm "", "=r,0"({llvm} {stem(name)}.m) nounwind willreturn memory(none){site}'
            )
        if self.masked and llvm[0] != "i" and self.reaches_mask(name):
            if self.hide_extension(name):
                return f"  {name} = load {volatile or ''}{llvm}, {rest}"
            pointer, _, marks = rest.partition(", align 1")
            return hidden_load(name, f"load {volatile or ''}", llvm, pointer, f", align 1{marks}", mark)
        return f"  {name} = load {volatile or ''}{llvm}, {rest}"

    def hide_extension(self, name: str) -> bool:
        """Hides what a vector is extended to, if it fits a register and nothing else uses it; whether that was done.

        x86-64 extends what it loads, which is as good as a load that is hidden itself, in one instruction less.
        """
        users = self.users.get(name, ())
        line, names = users[0] if len(users) == 1 else ("", [])
        extension = _EXTENSION.fullmatch(line)
        if extension is None or int(extension[3]) * LANE_BITS[extension[4]] not in (128, 256, 512):
            return False
        place = self.places[names[0]]
        if self.lines[place] != line:
            return False
        kind = f"<{extension[3]} x {extension[4]}>"
        wide = f"{stem(names[0])}.m"
        wider = line.replace(f"  {names[0]} = ", f"  {wide} = ", 1)
        self.lines[place] = f"{wider}\n{opaque(names[0], kind, wide, _DEBUG.search(line))}"
        return True

    def is_changed_in_place(self, name: str) -> bool:
        """Whether some bits are changed, or others put in their place, and the result is stored: the code generator
        stores the bytes that change, and has instructions that change them in memory."""
        return any(
            operation(line) in _BITWISE
            and len(names) == 2
            and any(self.is_stored_or_joined(user, user_names) for user, user_names in self.users.get(names[0], ()))
            for line, names in self.users.get(name, ())
        )

    def is_stored_or_joined(self, line: str, names: list[str]) -> bool:
        """Whether a line stores, or joins bits that are stored."""
        kind = operation(line)
        if kind not in _JOINS:
            return kind == "store"
        return any(operation(user) == "store" for user, _ in self.users.get(names[0], ()))

    def is_chosen(self, name: str) -> bool:
        """Whether a select has the value, converted or not: of two loads the code generator makes one."""
        return any(
            operation(line) == "select" or (operation(line) in _CONVERSIONS and self.is_chosen(names[0]))
            for line, names in self.users.get(name, ())
        )

    def has_copies(self, name: str) -> bool:
        """Whether of the copies that unrolling made of an instruction the one before this is there too."""
        stem, _, number = name.rpartition(".")
        if not number.isdigit():
            return True
        return (stem if number == "1" else f"{stem}.{int(number) - 1}") in self.definitions

    def is_whole(self, name: str, unused_bits: int = 0, steps: int = 0) -> bool:
        """Whether some instruction needs all bytes of a value, so that the code generator must load them.

        Of the value, `unused_bits` at its ends are not needed already.
        """
        known = self.whole.get((name, unused_bits))
        if known is None:
            self.whole[name, unused_bits] = False  # a cycle has a phi in it, which ends the search
            known = steps < _MOST_STEPS and any(
                self.needs_whole(name, line, names, unused_bits, steps + 1) for line, names in self.users.get(name, ())
            )
            self.whole[name, unused_bits] = known
        return known

    def needs_whole(self, name: str, line: str, names: list[str], unused_bits: int, steps: int) -> bool:
        kind = operation(line)
        if kind in _WHOLE_FLOATS or " = phi float " in line or " = phi double " in line:
            return self.is_more_than_sign(names[0])
        if kind in _WHOLE:
            return True
        if kind == "call":
            if _WHOLE_FLOAT_INTRINSICS.search(line):
                return self.is_more_than_sign(names[0])
            if "@llvm." not in line or _WHOLE_INTRINSICS.search(line):
                return True
            is_amount = len(names) == 4 and names[3] == name
            as_result = len(names) > 2 and not is_amount and not unused_bits and _INTRINSICS_AS_RESULT.search(line)
            return bool(as_result) and self.is_whole(names[0], 0, steps)
        if line[2] != "%":
            return False
        if _IN_LANES.search(line):  # the code generator leaves out lanes, but no bits of a lane
            return kind not in ("extractelement", "select") and self.is_whole(names[0], unused_bits, steps)
        constant = _CONSTANT.search(line) if len(names) == 2 else None
        if kind == "icmp":
            is_edge_ = constant is not None and " eq " not in line and " ne " not in line and is_edge(int(constant[2]))
            return (len(names) == 3 or not is_edge_) and self.is_more_than_sign(names[0])
        if kind in _WHOLE_OF_TWO:
            return len(names) == 3
        if constant and kind in _UNUSED_BITS:
            unused_bits += _UNUSED_BITS[kind](int(constant[2]), int(constant[1]))
        elif kind in ("and", "shl", "lshr", "ashr"):
            if len(names) != 3 or names[1] != name or kind == "and":
                return False  # an amount, of which only the lowest bits count; the other operand may have few
        elif kind not in _AS_RESULT:
            return False
        return unused_bits < 8 and self.is_whole(names[0], unused_bits, steps)

    def is_more_than_sign(self, name: str) -> bool:
        """Whether a value is needed for more than signs of floats, which nobody may look at."""
        if not self.has_signs:
            return True
        if self.needed is None:
            self.needed = set()
            waiting = [
                value
                for value, users in self.users.items()
                if any(not passes_on(line) and sign_operand(line) != value for line, _ in users)
            ]
            while waiting:
                value = waiting.pop()
                if value not in self.needed:
                    self.needed.add(value)
                    line, names = self.definitions.get(value, ("", []))
                    sign = sign_operand(line)
                    waiting += [other for other in names[1:] if passes_on(line) and other != sign]
        return name in self.needed

    def reaches_mask(self, name: str) -> bool:
        """Whether an instruction under a mask may take the value from memory: then lanes that it masks are not read.

        A comparison may itself be under a mask, but what is computed before it, from the value, is not.
        """
        computed = {name: False}  # whether it is more than the value in another form
        waiting = [name]
        while waiting:
            source = waiting.pop()
            for line, names in self.users.get(source, ()):
                kind = operation(line)
                if kind in ("icmp", "fcmp") and computed[source]:
                    continue
                if kind == "select" or (kind in _BITWISE and self.is_mask(names)) or len(computed) > _MOST_SEEN:
                    return True
                if line[2] == "%" and kind not in _END_SEARCH:
                    is_more = computed[source] or kind in _COMPUTES
                    if names[0] not in computed or (computed[names[0]] and not is_more):
                        computed[names[0]] = is_more
                        waiting.append(names[0])
        return False

    def is_mask(self, names: list[str]) -> bool:
        """Whether an operand of a bitwise instruction is made of a comparison of lanes."""
        lines = [self.definitions[name][0] for name in names if name in self.definitions]
        return any(" x i1>" in line or _COMPARES_LANES.search(line) for line in lines)


def passes_on(line: str) -> bool:
    """Whether a line needs its operands only if its result is needed: where that may be a sign, or is made of one."""
    kind = operation(line) if line else ""
    is_float = _MAKES_FLOAT.search(line) or _WHOLE_FLOAT_INTRINSICS.search(line)
    return kind in _WHOLE_FLOATS or kind in _CONVERSIONS or kind == "icmp" or is_float is not None


def sign_operand(line: str) -> str:
    """The value of which a line needs the sign, and nothing else; or none."""
    match = _SIGN.search(line)
    return match[1] if match is not None and line.count(f"{match[1]},") == 0 else ""
