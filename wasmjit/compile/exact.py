"""Loads from linear memory stay what they are: no trap gets lost when LLVM deletes, moves or narrows a load.

To LLVM a load has no effect: it goes where its value makes no difference, it reads only those bytes that somebody looks
at, and with AVX-512 only those lanes that a mask leaves. An access over the end of the memory would not trap. Volatile
loads stay, but then no loop is vectorised, and what was stored is always read back. So:

- Each load is *kept*: an annotation that LLVM takes for something that happens, though it is nothing, uses its value.
  Optimisations that need the value, or show that it is known (an equal load or store before), work as ever.
- Loops that LLVM may vectorise must not have annotations: their loads are *released*. A comment says what they would
  have, and a marker stands beside each where the loop has no branches.
- When the optimiser is done, `finish` reads what it made. Annotations go, and *all* loads become volatile: whatever the
  code generator finds out, it leaves none out and narrows none. It would still store, and load, only the bytes of a
  value that change, so stores of what comes from loads become volatile, too; and mask them with AVX-512, so an empty
  `asm` hides them. Vectors that are extended while they are loaded, and gathers, which cannot be volatile, have an
  empty `asm` that uses all of their lanes.
- Released loads that are not there, or in some part of the function less often than their markers, are kept, and the
  optimiser begins again.

Runs in the generator (`keep_text`, `released_text`) and in the worker processes, and imports nothing of either but
`lines`.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from .lines import hidden_load, operation, use_of_lanes
from .patterns import late

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

_DEFINITION = late(r"^(?=define )", re.MULTILINE)
_FUNCTION_NAME = late(r"define [^@]*@(\S+?)\(")
_RELEASED_LINE = late(rf"^{_RELEASED}(\S+) (\S+) (\d+)$", re.MULTILINE)
_KEPT_LINES = late(
    rf"^(?:  %[xw]\d+[kw] = (?:trunc|bitcast) .*\n)*  call void {re.escape(_ANNOTATION)}.*\n", re.MULTILINE
)
# Memory accesses are those that nothing is known of the alignment of.
_ANY_LOAD = late(r"^(  %\S+ = load )((?:i\d+|float|double), ptr %\S+, align 1\b)", re.MULTILINE)
_ANY_STORE = late(r"^(  store )((?:i\d+|float|double) \S+, ptr %\S+, align 1\b)", re.MULTILINE)
_STORE = late(r"  store (?:i\d+|float|double) (%\S+), ptr \S+, align 1\b")
_STORE_OF_FLOATS = late(r"  store (<\d+ x (?:float|double)>) (%\S+), ptr \S+, align 1\b")
# Without flags that let it be another number.
_ARITHMETIC_OF_FLOATS = late(r"  %\S+ = f(?:add|sub|mul|div) <")
_NO_NUMBER = late(r"nan|0x[7F]FF|undef|poison|zeroinitializer")
_LOAD = late(r"  (%\S+) = load (volatile )?(<[^>]*>|\w+), (ptr %\S+, align 1\b.*)")
# Of a vector to one with wider lanes, and of a number to a vector.
_EXTENSION = late(r"  %\S+ = [sz]ext (?:nneg )?<\d+ x \w+> %\S+ to (<\d+ x \w+>)(?:, .*)?")
_IN_FRONT = late(r"  %\S+ = insertelement (<\d+ x \w+>) (?:zeroinitializer|<[^%]*>), \w+ %\S+, i64 0(?:, .*)?")
_MOST_TOGETHER = 64  # lines
_MOST_WAITING = 4
_ENDS_COMPUTING = late(
    r"  (?:(?:store|br|switch|ret|unreachable)\b|(?:%\S+ = )?(?:tail |musttail |notail )?call (?!.*@llvm\.))"
)
# A gather, or a load under the condition of its block.
_MASKED_LOAD = late(r"  (%\S+) = (?:tail )?call (<[^>]*>) @llvm\.masked\.(?:gather|load|expandload)\.")
_DEBUG = late(r"!dbg (!\d+)")
_NAME = late(r"%[-\w.$]+")
_LOCATION = late(r"^(!\d+) = !DILocation\(line: (\d+),", re.MULTILINE)
_SUNK = late(r"\.le\d*(?:\.|$)")  # how LLVM names what it moves behind a loop
_MOST_SEEN = 100
_MAY_MASK = late(r" select .* (?:float|double|<)| (?:and|or|xor) <")
_COMPARES_LANES = late(r" = [if]cmp .* <\d+ x ")
_BITWISE = ("and", "or", "xor")
_COMPUTES = frozenset("add sub mul and or xor shl lshr ashr fadd fsub fmul fdiv".split())
_END_SEARCH = ("phi", "getelementptr", "load")


class Located(NamedTuple):
    """The loads of an optimised function that are where they were, by their offsets."""

    present: set[int]
    # Those that may be: LLVM made one load of several for vectors, which has the offset of one of them.
    joined: set[int]

    def as_in(self, scalar: Located) -> Located:
        """With those that may be there, and are where nothing is vectorised."""
        return Located(self.present | (self.joined & scalar.present), set())


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


def keep(text: str, offsets: Iterable[int] | None) -> str:
    """A generated module in which these loads, or all, are not released, but kept."""
    wanted = None if offsets is None else set(offsets)

    def kept(match: re.Match[str]) -> str:
        at = int(match[3])
        return keep_text(match[1], match[2]) if wanted is None or at in wanted else match[0]

    return _RELEASED_LINE.sub(kept, text)


class VectorRegisters(NamedTuple):
    """Those of an x86-64 processor, which `asm` may have operands in; none of other processors."""

    bits: int
    have_masks: bool  # as with AVX-512: instructions leave out lanes that they would read from memory


def is_wanted(text: str, registers: VectorRegisters) -> bool:
    """Whether a generated module has loads that might not trap. Without guard pages it has none."""
    return (
        _ANNOTATION in text
        or _RELEASED in text
        or _ANY_LOAD.search(text) is not None
        or (registers.have_masks and " = load volatile " in text)
    )


def unoptimised(text: str, registers: VectorRegisters) -> str:
    """A generated module for few passes, none of which a volatile load stands in the way of.

    Nor does it in the code generator's, if bits of what was loaded are changed and stored: stores are volatile too.
    """
    if not is_wanted(text, registers):
        return text
    text = _ANY_LOAD.sub(r"\1volatile \2", _KEPT_LINES.sub("", text))
    text = _ANY_STORE.sub(r"\1volatile \2", text)
    if not registers.have_masks:
        return text
    parts = _DEFINITION.split(text)
    for index, part in enumerate(parts):
        if ", align 1" in part and _MAY_MASK.search(part):
            parts[index] = _Function(part, registers).text()
    return "".join(parts)


def finish(text: str, registers: VectorRegisters) -> tuple[str, dict[str, Located]]:
    """An optimised module, ready for the code generator; and of each function what `missing` wants to know.

    Raises nothing.
    """
    parts = _DEFINITION.split(text)
    found = {index: _Function(parts[index], registers) for index in _with_accesses(parts)}
    for index, function in found.items():
        parts[index] = function.text()
    return "".join(parts), _located(text, found.values())


def located(text: str, registers: VectorRegisters) -> dict[str, Located]:
    """The second of these, of a module that goes nowhere."""
    parts = _DEFINITION.split(text)
    return _located(text, [_Function(parts[index], registers) for index in _with_accesses(parts)])


def _with_accesses(parts: list[str]) -> list[int]:
    """The indices of functions that have accesses to memory."""
    return [
        index
        for index, part in enumerate(parts)
        if (" align 1" in part or _ANNOTATION in part) and _FUNCTION_NAME.match(part)
    ]


def _located(text: str, functions: Iterable[_Function]) -> dict[str, Located]:
    lines = {name: int(number) for name, number in _LOCATION.findall(text)}
    found = {}
    for function in functions:
        sets = (function.complete(), function.complete(function.joined))
        present, joined = ({lines[mark] for mark in marks if mark in lines} for marks in sets)
        found[function.name] = Located(present, joined - present)
    return found


class _Function:
    """A function of an optimised module: which of its values use what of which."""

    def __init__(self, text: str, registers: VectorRegisters) -> None:
        name = _FUNCTION_NAME.match(text)
        self.name = name[1] if name else ""
        self.lines = text.split("\n")
        self.register_bits = registers.bits
        self.may_mask = registers.have_masks and _MAY_MASK.search(text) is not None
        self.users: dict[str, list[tuple[str, list[str]]]] = {}  # lines, and the names in them
        self.definitions: dict[str, tuple[str, list[str]]] = {}
        self.places: dict[str, int] = {}  # the lines of definitions
        self.loads: list[int] = []
        self.masked_loads: list[int] = []
        self.stores: list[tuple[int, str]] = []  # and what they store
        self.from_load: dict[str, bool] = {}  # see `comes_from_load`
        self.entered: set[str] = set()
        self.computed: set[str] = set()  # see `find_computed`
        self.passed: set[str] = set()
        self.ends: list[int] = []  # the lines that `_ENDS_COMPUTING` matches
        self.uses: dict[int, list[str]] = defaultdict(list)  # what is to be added in front of lines
        self.marked: Counter[str] = Counter()  # locations, by how often there have to be loads
        self.located: Counter[str] = Counter()  # by how often there are
        self.joined: Counter[str] = Counter()  # by how often they may be part of another
        self._read()

    def _read(self) -> None:
        users = self.users
        marked: Counter[str] = Counter()  # of the block
        located: Counter[str] = Counter()
        is_joined = False  # whether LLVM made one load of several
        for index, line in enumerate(self.lines):
            if line[:2] != "  ":
                if marked or located:
                    self._count(marked, located, is_joined)
                is_joined = False
                continue
            if _ANNOTATION in line:
                self.lines[index] = ""
                continue
            if _MARKER in line:
                marked.update(_DEBUG.findall(line))
                self.lines[index] = ""
                continue
            if _ENDS_COMPUTING.match(line):
                self.ends.append(index)
            names = _NAME.findall(line)
            operands = names
            if line[2] == "%":
                self.definitions[names[0]] = (line, names)
                self.places[names[0]] = index
                operands = names[1:]
                if "@llvm.masked." in line:
                    self.masked_loads.append(index)
                    located.update(_DEBUG.findall(line))
                elif " = load " in line and ", align 1" in line:
                    self.loads.append(index)
                    is_joined |= "wide.vec" in names[0]
                    if not _SUNK.search(names[0]):
                        located.update(_DEBUG.findall(line))
            elif match := _STORE.match(line):
                self.stores.append((index, match[1]))
            for name in operands:
                if name in users:
                    users[name].append((line, names))
                else:
                    users[name] = [(line, names)]
        self._count(marked, located, is_joined)

    def _count(self, marked: Counter[str], located: Counter[str], is_joined: bool) -> None:
        """At the end of a block that has some: adds what is marked in it, and located, which it then forgets.

        A vectorised loop has one marker for several loads, which say nothing about those that are not in its rest.
        """
        for mark, number in located.items():
            self.located[mark] += min(number, marked[mark]) if mark in marked else number
        self.marked += marked
        if is_joined:
            self.joined += marked - located
        marked.clear()
        located.clear()

    def text(self) -> str:
        """The function as it goes to the code generator."""
        self.find_computed()
        for index in self.loads:
            self.lines[index] = self.exact_load(self.lines[index])
        for index, value in self.stores:
            if self.comes_from_load(value):
                self.lines[index] = self.lines[index].replace("  store ", "  store volatile ", 1)
        for index in self.masked_loads:
            self.lines[index] = self.used(self.lines[index])
        for index, uses in self.uses.items():
            self.lines[index] = "\n".join((*uses, self.lines[index]))
        return "\n".join(self.lines)

    def complete(self, others: Counter[str] | None = None) -> set[str]:
        """The locations of loads that happen as often as they are marked, together with others."""
        times = self.located + others if others else self.located
        return {mark for mark, number in times.items() if number >= self.marked[mark]}

    def find_computed(self) -> None:
        """Finds the vectors of floats of which each lane makes a difference to what the same block stores.

        No arithmetic of floats gives anything without an operand, unless a constant is not a number. What is stored is
        used, so that the store may go, but not what it stores. Volatile loads would be one behind the other, and loops
        that LLVM repeats could not be interleaved (heat3d: 1.04).
        """
        if not self.register_bits:
            return
        block: dict[str, tuple[str, list[str]]] = {}
        waiting_uses: list[str] = []
        last = 0  # the last line of the block that stores such
        for index, line in enumerate(self.lines):
            if line[:2] != "  ":
                if waiting_uses:
                    self.uses[last] += waiting_uses
                block, waiting_uses = {}, []
            elif line[2] == "%":
                name = line[2 : line.index(" ", 2)]
                if name in self.definitions:
                    block[name] = self.definitions[name]
            elif match := _STORE_OF_FLOATS.match(line):
                before = len(self.computed)
                waiting = [match[2]]
                while waiting:
                    value = waiting.pop()
                    computation, names = block.get(value, ("", []))
                    if " = load <" in computation:
                        self.computed.add(value)
                    elif _ARITHMETIC_OF_FLOATS.match(computation) and not _NO_NUMBER.search(computation):
                        waiting += (name for name in names[1:] if name not in self.passed)
                        self.passed.update(names)
                last = index
                if len(self.computed) > before:
                    waiting_uses.append(use_of_lanes(match[2], match[1], self.register_bits))
                if len(waiting_uses) == _MOST_WAITING:
                    self.uses[index] += waiting_uses
                    waiting_uses = []

    def exact_load(self, line: str) -> str:
        """A load whose bytes are all read."""
        match = _LOAD.match(line)
        if match is None:
            return line
        name, volatile, llvm, rest = match.groups()
        mark = _DEBUG.search(rest)
        is_masked = self.may_mask and llvm[0] != "i" and self.reaches_mask(name)
        # What was volatile before is to stay in order with stores, too (Config.exact_traps).
        if not volatile and ((name in self.computed and not is_masked) or self.is_extended(name)):
            return f"  {name} = load {llvm}, {rest}"
        if is_masked:
            pointer, _, marks = rest.partition(", align 1")
            return hidden_load(name, "load volatile ", llvm, pointer, f", align 1{marks}", mark)
        return f"  {name} = load volatile {llvm}, {rest}"

    def used(self, line: str) -> str:
        """A gather, or a load under a mask, and behind it what uses all of its lanes."""
        match = _MASKED_LOAD.match(line)
        if match is None or not self.register_bits:
            return line
        return f"{line}\n{use_of_lanes(match[1], match[2], self.register_bits)}"

    def is_extended(self, name: str) -> bool:
        """Whether nothing uses what is loaded but one extension; of that then all lanes are used.

        x86-64 extends what it loads, if that is not volatile, in one instruction; a number in front of zeros, too.
        """
        users = self.users.get(name, ())
        line, names = users[0] if len(users) == 1 else ("", [])
        extension = _EXTENSION.fullmatch(line) or _IN_FRONT.fullmatch(line)
        place = self.places.get(names[0], -1) if names else -1
        if extension is None or not self.register_bits or self.lines[place] != line:
            return False
        # Behind what is computed, so that the code generator may order the loads; and not of too many at once, which
        # it would have to keep in registers.
        end = self.ends[bisect.bisect_right(self.ends, place)]
        end = min(end, place - place % _MOST_TOGETHER + _MOST_TOGETHER)
        self.uses[end].append(use_of_lanes(names[0], extension[1], self.register_bits))
        return True

    def comes_from_load(self, name: str) -> bool:
        """Whether a value is computed from a load, without a phi or call in between."""
        waiting = [name]
        while waiting:
            value = waiting[-1]
            line, names = self.definitions.get(value, ("", []))
            kind = operation(line) if line else "phi"
            if value in self.from_load or kind in ("phi", "load") or (kind == "call" and "@llvm." not in line):
                self.from_load.setdefault(value, kind == "load")
                waiting.pop()
                continue
            unknown = [other for other in names[1:] if other not in self.from_load]
            if unknown and value not in self.entered:
                self.entered.add(value)
                waiting += unknown
                continue
            self.from_load[value] = any(self.from_load.get(other) for other in names[1:])
            waiting.pop()
        return self.from_load[name]

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
