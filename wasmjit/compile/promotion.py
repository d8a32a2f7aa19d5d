"""Stores stay in their iteration where nobody knows that the loop ends: no trap waits for an end that never comes.

LLVM keeps what a loop stores at an address that does not change in a register, and stores once, behind the loop
(promotion, in LICM). If the address is out of bounds the trap comes late, and never if the loop has no end. So stores
that this may happen to become volatile, but for those in loops that end soon: *counted* ones, in which a local that
each iteration changes by a constant is compared with what does not change, so that at most 2^32 iterations follow. What
those promote is what sums of vectors need; if the number of iterations is not a constant, they must also access memory
at an address that varies, as such loops do, which is out of bounds before long.

It is done on the text, before LLVM reads it. A store stays as it is if its address surely *varies*: it is computed from
a local that is stepped, or from what was loaded at such an address, and by nothing that LLVM could find to be constant.
Values in doubt do not vary; a volatile store costs next to nothing in loops that are not counted, as none of them is
vectorised. Each line is looked at in the innermost loop that it is in, and in the one around that.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from .lines import INCOMING
from .patterns import late

_FUNCTION = late(r"^define [^\n]*\{\n.*?^\}", re.MULTILINE | re.DOTALL)
_MEMORY_STORE = late(r"  store (?!volatile )(?:<[^>]*>|\w+) (?:<[^>]*>|[^ ,]+), ptr (%[\w.]+), align 1\b")
_STORE = late(r"  store (?:volatile )?(?:<[^>]*>|\w+) (<[^>]*>|[^ ,]+), ptr (%[\w.]+)(, align 1\b)?")
_LINE = late(r"  (%[\w.]+) = (\w+) ([^!;]*)")
_OPERAND = late(r"%[\w.]+")
_INTEGERS = late(r"i(\d+) (%[\w.]+|-?\d+|true|false), (%[\w.]+|-?\d+|true|false)")
_COMPARED = late(r"(\w+) i(\d+) (%[\w.]+|-?\d+), (%[\w.]+|-?\d+)")
_GEP = late(r"i8, ptr (%[\w.]+), i64 (%[\w.]+|-?\d+)")
_LOAD = late(r"(?:volatile )?(?:<[^>]*>|\w+), ptr (%[\w.]+)(, align 1\b)?")
_EXTENDED_BIT = late(r"i1 (%[\w.]+) to i32")
_EXTENDED = late(r"i32 (%[\w.]+) to i64")
_AMOUNT = late(r"i\d+ (\d+), (31|63)\b")
_NEGATION = late(r"i1 (%[\w.]+), true\b")
_LOCAL = late(r"%l\d+")
_TARGET = late(r"label %([\w.]+)")
_FLOATING = late(r"  %[\w.]+ = f(?:add|sub|mul|div) ")
_COUNTED = late(r"  (?:%[\w.]+ = (?!getelementptr|zext|load|phi|call)|br i1 )")  # what costs LLVM something
_FORK = late(r"  br i1 (%[\w.]+), label %([\w.]+), label %([\w.]+)")

_NEGATED = {
    "eq": "ne",
    "ne": "eq",
    "ult": "uge",
    "uge": "ult",
    "ugt": "ule",
    "ule": "ugt",
    "slt": "sge",
    "sge": "slt",
    "sgt": "sle",
    "sle": "sgt",
}
_SWAPPED = {
    "eq": "eq",
    "ne": "ne",
    "ult": "ugt",
    "ugt": "ult",
    "ule": "uge",
    "uge": "ule",
    "slt": "sgt",
    "sgt": "slt",
    "sle": "sge",
    "sge": "sle",
}
_SIGN = 1 << 31
_ONES = (1 << 32) - 1
_MOST_TRACED = 8  # instructions from a comparison to what it compares
_MOST_ATOMS = 16
_MOST_PASSES = 4  # over the lines of a loop, until it is known which locals vary
_MOST_SIZES = 8  # lines of loops that are looked at to see what each iteration passes, by those of the function
_MOST_NEIGHBOURS = 4  # that are looked at for each store
_MOST_UNROLLED = 300  # instructions of a loop that LLVM may write out (`-unroll-threshold-default`)
_TOO_MANY = 1 << 33
_LEAST_TRIPS = 2  # of a loop that its number of iterations is known of: so few can be nested


def keep_stores(text: str) -> str:
    """The text of an LLVM module in which no store can be promoted out of a loop that may have no end."""
    return _FUNCTION.sub(lambda match: _keep_in(match[0]), text) if _MEMORY_STORE.search(text) else text


def _keep_in(text: str) -> str:
    if _MEMORY_STORE.search(text) is None:
        return text
    function = _Function(text.split("\n"))
    wanted = function.promotable()
    if not wanted:
        return text
    for number in wanted:
        function.lines[number] = function.lines[number].replace("  store ", "  store volatile ", 1)
    return "\n".join(function.lines)


class _Value(NamedTuple):
    """What is known of a value in a loop."""

    varies: bool  # surely
    step: int | None  # how much it changes in each iteration, modulo 2^32, if that is known
    # Locals and values that it is computed from; None: anything. What has none in common with another cannot cancel it.
    atoms: frozenset[str] | None
    is_any: bool = False  # 32 bits of which LLVM cannot know any: another address may always be equal


_FIXED = _Value(False, 0, frozenset())
_UNKNOWN = _Value(False, None, None)


class _Comparison(NamedTuple):
    """On which the next iteration of a loop depends."""

    counter: str  # a local
    distance: int  # of what is compared from the local, as it is when the iteration begins
    relation: str
    bound: int | None  # if it is a constant


class _Loop:
    """Lines from a label to the last branch back to it."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.parent: _Loop | None = None
        self.inner: list[_Loop] = []
        self.own: list[int] = []  # lines that are in no inner loop
        self.is_counted = False
        self.trips: int | None = None  # iterations, those of inner loops too, if their number is known
        self.may_be_unrolled = False
        self.starts: dict[str, str] | None = None  # see `_Function._starts`
        self.starts_with: str | None = None  # the local that the start of its counter depends on
        self.promoted: set[int] = set()  # of a counted loop: lines of stores that do not vary in it

    def __contains__(self, number: int) -> bool:
        return self.start <= number <= self.end


class _Function:
    """The lines of a function, and its loops."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.labels: dict[str, int] = {}
        self.branches: dict[int, list[str]] = {}
        self.arrivals: dict[str, int] = {}  # label -> branches to it
        for number, line in enumerate(lines):
            if "label %" in line:
                self.branches[number] = targets = _TARGET.findall(line)
                for label in targets:
                    self.arrivals[label] = self.arrivals.get(label, 0) + 1
            elif line.endswith(":") and line[0] not in " ;":
                self.labels[line[:-1]] = number
        self.label_lines = sorted(self.labels.values())
        self.labels_at = set(self.label_lines)
        self.loops = self._find_loops()
        self.left = _MOST_SIZES * len(lines)
        if not self.loops:
            return
        self.definitions: dict[str, tuple[str, str]] = {}  # name -> operation and the rest of its line
        self.constants: dict[str, int] = {}  # amounts of shifts
        self.places: dict[str, int] = {}  # name -> line
        self.names: dict[int, str] = {}
        self.stores: dict[int, tuple[str, str]] = {}  # what is stored, and where
        self.local_stores: dict[str, list[int]] = {}  # their lines
        self.memory_stores: list[int] = []
        self.accesses: set[int] = set()  # the same
        for number, line in enumerate(lines):
            if (match := _LINE.match(line)) is not None:
                self.names[number] = match[1]
                self.places[match[1]] = number
                self.definitions[match[1]] = match[2], match[3]
                if match[2] == "and" and (amount := _AMOUNT.match(match[3])) is not None:
                    self.constants[match[1]] = int(amount[1]) & int(amount[2])
            elif (store := _STORE.match(line)) is not None:
                self.stores[number] = store[1], store[2]
                if _LOCAL.fullmatch(store[2]):
                    self.local_stores.setdefault(store[2], []).append(number)
                elif store[3]:
                    self.memory_stores.append(number)
        self.accesses.update(self.memory_stores)

    def is_inside(self, number: int) -> bool:
        """Whether a store is at a constant address that every such memory has (`memory.pointer`)."""
        place = self.stores[number][1]
        operation, rest = self.definitions.get(place, ("", ""))
        index = _GEP.match(rest) if operation == "getelementptr" else None
        return index is not None and index[1].startswith("%base") and index[2][0] != "%" and not place.endswith(".far")

    def _find_loops(self) -> list[_Loop]:
        """All loops, outer ones first, with the lines that are their own."""
        found: dict[int, _Loop] = {}
        for number, targets in self.branches.items():
            for label in targets:
                start = self.labels.get(label, number)
                if start < number:
                    found.setdefault(start, _Loop(start, number)).end = number
        open_loops: list[_Loop] = []
        for number in range(len(self.lines) if found else 0):
            if (loop := found.get(number)) is not None:
                if open_loops:
                    loop.parent = open_loops[-1]
                    loop.parent.inner.append(loop)
                open_loops.append(loop)
            if open_loops:
                open_loops[-1].own.append(number)
                while open_loops and open_loops[-1].end <= number:
                    open_loops.pop()
        return sorted(found.values(), key=lambda loop: loop.start)

    def promotable(self) -> set[int]:
        """The lines of stores that have to be kept."""
        wanted: set[int] = set()
        for loop in reversed(self.loops):
            self._count(loop)
        for loop in reversed(self.loops):
            if not _has_any(self.memory_stores, loop):
                continue
            values = _Values(self, loop)
            promoted = values.promotable()
            if not loop.is_counted or (promoted and loop.trips is None and not values.has_varying_access()):
                wanted.update(promoted)
            else:
                loop.promoted = set(promoted)
        return wanted

    # ---- what each iteration does ----

    def always_passed(self, loop: _Loop, numbers: list[int]) -> set[int]:
        """Those of some lines of a loop that each iteration passes, unless it leaves the loop."""
        self.left -= loop.end - loop.start
        if self.left < 0:
            return set()
        passed = set()
        behind = loop.start  # a branch before leads so far
        waiting = iter(sorted(numbers))
        wanted = next(waiting, None)
        for number in range(loop.start, loop.end + 1):
            while wanted is not None and wanted <= number:
                if behind <= wanted:
                    passed.add(wanted)
                wanted = next(waiting, None)
            for label in self.branches.get(number, ()):
                line = self.labels.get(label, -1)
                if line == loop.start:
                    behind = loop.end + 1
                elif line in loop:
                    behind = max(behind, line)
        return passed

    def steps(self, loop: _Loop) -> dict[str, int]:
        """The locals that each iteration of a loop changes once, by a constant: by how much."""
        found: dict[str, tuple[int, int]] = {}
        for number in loop.own:
            if number in self.stores and _LOCAL.fullmatch(self.stores[number][1]):
                value, local = self.stores[number]
                if _number_in(self.local_stores[local], loop) == 1:
                    base, distance = self.plus_constant(value, loop)
                    if base == local and distance:
                        found[local] = number, distance
        passed = self.always_passed(loop, [number for number, _ in found.values()]) if found else set()
        return {local: distance for local, (number, distance) in found.items() if number in passed}

    def plus_constant(self, name: str, loop: _Loop) -> tuple[str, int]:
        """A value as one that is loaded from a local (which stands for it), and a constant, modulo 2^32."""
        distance = 0
        for _ in range(_MOST_TRACED):
            operation, rest = self.definitions.get(name, ("", ""))
            if operation == "load" and self.places[name] in loop:
                load = _LOAD.match(rest)
                return (load[1] if load and _LOCAL.fullmatch(load[1]) else name), distance & _ONES
            integers = _INTEGERS.match(rest) if operation in ("add", "sub") else None
            if integers is None or integers[1] != "32":
                break
            first, second = integers[2], integers[3]
            if operation == "add" and first[0] != "%":
                first, second = second, first
            if first[0] != "%" or second[0] == "%":
                break
            distance += int(second) if operation == "add" else -int(second)
            name = first
        return name, distance & _ONES

    # ---- counted loops ----

    def _count(self, loop: _Loop) -> None:
        """Finds out whether a loop ends soon. One that has others in it must have a number of iterations that is known,
        and so must they."""
        inner_trips = sum(inner.trips or _TOO_MANY for inner in loop.inner)
        if inner_trips > _ONES:
            return
        forks = []
        for number in loop.own:
            fork = _FORK.match(self.lines[number]) if number in self.branches else None
            if fork is not None:
                leaves = [self.labels.get(label, -1) not in loop for label in fork.groups()[1:]]
                if leaves[0] != leaves[1]:
                    forks.append((number, fork[1], leaves[1]))
        steps = self.steps(loop) if forks else {}
        if not steps:
            return
        passed = self.always_passed(loop, [number for number, _, _ in forks])
        for number, condition, stays_if in forks:
            found = self._comparison(condition, stays_if, loop, steps) if number in passed else None
            if found is None:
                continue
            trips = self._trips(found, loop, steps)
            if trips is not None and trips >= _LEAST_TRIPS and trips * max(1, inner_trips) <= _ONES:
                loop.trips = trips * max(1, inner_trips)
                loop.is_counted = True
            elif not loop.inner and _ends(found.relation, steps[found.counter], found.bound):
                loop.is_counted = True
            if loop.inner:
                continue
            if trips is not None:
                loop.may_be_unrolled |= self._may_be_unrolled(loop, trips, steps)
            elif found.bound is not None:
                loop.may_be_unrolled |= self._may_start_with_constant(found.counter, loop)

    def _may_be_unrolled(self, loop: _Loop, trips: int, steps: dict[str, int]) -> bool:
        """Whether LLVM may write out a loop of so many iterations: the more of what it does becomes constants then, the
        longer it may get, up to four times."""
        num_left = num_instructions = 0
        starts = self._starts(loop)
        folded = {local for local in steps if starts.get(local, "%")[0] != "%"}
        for number in loop.own:
            line = self.lines[number]
            is_access = ", align 1" in line
            if not is_access and _COUNTED.match(line) is None:
                name = self.names.get(number)
                if name is not None and folded.issuperset(_OPERAND.findall(self.definitions[name][1])):
                    folded.add(name)
                continue
            num_instructions += 1
            name = self.names.get(number)
            if name is None or is_access or not folded.issuperset(_OPERAND.findall(self.definitions[name][1])):
                num_left += number not in self.branches
            else:
                folded.add(name)
        return trips * num_left * max(num_left, num_instructions / 4) <= _MOST_UNROLLED * num_instructions

    def _starts(self, loop: _Loop) -> dict[str, str]:
        """What is stored to locals just before a loop begins."""
        if loop.starts is None:
            loop.starts = {}
            for number in range(loop.start - 1, -1, -1):
                if number in self.labels_at or (number in self.branches and number < loop.start - 1):
                    break
                value, place = self.stores.get(number, ("", ""))
                loop.starts.setdefault(place, value)
        return loop.starts

    def _may_start_with_constant(self, counter: str, loop: _Loop) -> bool:
        """Whether LLVM may know what a local has when a loop begins: not if that was loaded, or is a parameter.

        If it depends on another local, which loops around this one may change, that is noted.
        """
        value = self._starts(loop).get(counter, "")
        for _ in range(_MOST_TRACED):
            operation, rest = self.definitions.get(value, ("", ""))
            if operation == "load":
                load = _LOAD.match(rest)
                if load is None or _LOCAL.fullmatch(load[1]) is None:
                    return load is None
                stores = self.local_stores.get(load[1], [])
                before = bisect_left(stores, self.places[value])
                line = stores[before - 1] if before else -1
                if len(stores) > 1 and (before == 0 or self._is_parted(line, self.places[value])):
                    loop.starts_with = load[1]
                    return True
                value = self.stores[line][0] if before else ""
            elif operation in ("add", "sub", "mul", "udiv", "sdiv", "urem", "srem", "zext", "sext", "trunc"):
                value = next(iter(_OPERAND.findall(rest)), "")
            else:
                return re.fullmatch(r"%p\d+", value) is None
        return True

    def _is_parted(self, first: int, last: int) -> bool:
        """Whether other ways lead in between two lines."""
        return bisect_left(self.label_lines, first) != bisect_left(self.label_lines, last)

    def _trips(self, found: _Comparison, loop: _Loop, steps: dict[str, int]) -> int | None:
        """How many iterations a loop has, if it begins with a constant."""
        start = self._starts(loop).get(found.counter)
        if start is None or start[0] == "%" or found.bound is None:
            return None
        step = steps[found.counter]
        step -= (step & _SIGN) << 1
        first = int(start) + found.distance
        distance = (found.bound - first) * (1 if step > 0 else -1) & _ONES
        if found.relation == "ne":
            return distance // abs(step) + 1 if distance % abs(step) == 0 else None
        if found.relation in (("ult", "slt", "ule", "sle") if step > 0 else ("ugt", "sgt", "uge", "sge")):
            return distance // abs(step) + 2 if distance < _SIGN and _ends(found.relation, step, found.bound) else None
        return None

    def _comparison(self, condition: str, stays_if: bool, loop: _Loop, steps: dict[str, int]) -> _Comparison | None:
        """How the next iteration depends on a counter."""
        for _ in range(_MOST_TRACED):
            operation, rest = self.definitions.get(condition, ("", ""))
            if operation == "xor" and (negated := _NEGATION.match(rest)) is not None:
                condition, stays_if = negated[1], not stays_if
                continue
            compared = _COMPARED.match(rest) if operation == "icmp" else None
            if compared is None or compared[2] != "32":
                return None
            relation, first, second = compared[1], compared[3], compared[4]
            bit = _EXTENDED_BIT.match(self.definitions.get(first, ("", ""))[1]) if second == "0" else None
            if bit is not None and self.definitions[first][0] == "zext" and relation in ("eq", "ne"):
                condition, stays_if = bit[1], stays_if == (relation == "ne")
                continue
            if not stays_if:
                relation = _NEGATED[relation]
            if first[0] != "%" or self.plus_constant(first, loop)[0] not in steps:
                relation, first, second = _SWAPPED[relation], second, first
            counter, distance = self.plus_constant(first, loop)
            if counter not in steps or not self._is_fixed(second, loop):
                return None
            if self._is_loaded_behind_step(first, counter, loop):
                distance += steps[counter]
            return _Comparison(counter, distance, relation, None if second[0] == "%" else int(second) & _ONES)
        return None

    def _is_loaded_behind_step(self, name: str, counter: str, loop: _Loop) -> bool:
        """Whether a value that is made of a counter is made of what the counter's step has stored."""
        for _ in range(_MOST_TRACED):
            operation, rest = self.definitions[name]
            if operation == "load":
                break
            name = _OPERAND.findall(rest)[0]
        stores = self.local_stores[counter]
        return self.places[name] > stores[bisect_left(stores, loop.start)]

    def _is_fixed(self, operand: str, loop: _Loop) -> bool:
        """Whether a value does not change in a loop, as far as few instructions tell."""
        if operand[0] != "%":
            return True
        base, _ = self.plus_constant(operand, loop)
        if _LOCAL.fullmatch(base):
            return not _has_any(self.local_stores.get(base, []), loop)
        return self.places.get(base, -1) not in loop


def _ends(relation: str, step: int, bound: int | None) -> bool:
    """Whether a counter that is in a relation to a bound will not be so after 2^32 steps.

    A counter with an odd step comes by all numbers, others by all that are equal modulo the power of two in it.
    """
    if relation == "eq":
        return True
    stride = step & -step
    if bound is None:  # the counter comes by the bound itself
        return stride == 1 and relation in ("ne", "ult", "ugt", "slt", "sgt")
    if relation == "ne":
        return stride == 1
    if relation[0] == "s":  # the same numbers, in the order of unsigned ones
        bound ^= _SIGN
    # `stride` numbers in a row have one that the counter comes by.
    without = {"ult": _ONES + 1 - bound, "ule": _ONES - bound, "ugt": bound + 1, "uge": bound}
    return without[relation[-3:] if relation[0] == "u" else "u" + relation[1:]] >= stride


def _number_in(lines: list[int], loop: _Loop) -> int:
    return bisect_right(lines, loop.end) - bisect_left(lines, loop.start)


def _has_any(lines: list[int], loop: _Loop) -> bool:
    return _number_in(lines, loop) > 0


class _Values:
    """What is known of the values of a loop, and of those that it has in loops which are counted or written out.

    What a local holds is followed from line to line. Where branches meet it is any of what the loop stores there, or
    what was there before: it varies if all that is stored does, which is taken to be so until something does not.
    """

    def __init__(self, function: _Function, loop: _Loop) -> None:
        self.function = function
        self.loop = loop
        self.steps = function.steps(loop)
        lines = list(loop.own)
        self.candidates = _memory_stores(function, loop)
        self.doubtful: list[tuple[str, set[int]]] = []  # others, if a local is the same in each iteration
        self.passed_over: set[int] = set()  # steps of locals in loops that are written out
        for inner in loop.inner:
            if not (inner.is_counted or inner.may_be_unrolled):
                continue
            lines += inner.own
            self.candidates |= inner.promoted
            if inner.may_be_unrolled:
                written_out = _memory_stores(function, inner)
                if inner.starts_with is None:
                    self.candidates |= written_out
                else:
                    self.doubtful.append((inner.starts_with, written_out))
                for number in inner.own:
                    value, local = function.stores.get(number, ("", ""))
                    if local and function.plus_constant(value, inner)[0] == local:
                        self.passed_over.add(number)
        self.lines = sorted(lines) if len(lines) > len(loop.own) else lines
        self.values: dict[str, _Value] = {}
        self.locals: dict[str, _Value] = {}  # where branches meet
        # Something is stored to memory that does not vary: what is loaded may be that.
        self.num_stores: dict[str, int] = {}  # to locals, in these lines
        num_memory_stores = 0
        for number in self.lines:
            place = function.stores.get(number, ("", ""))[1]
            if _LOCAL.fullmatch(place):
                self.num_stores[place] = self.num_stores.get(place, 0) + 1
            num_memory_stores += number in function.accesses
        self.stores_fixed = num_memory_stores < _number_in(function.memory_stores, loop)

    def promotable(self) -> list[int]:
        """The lines of stores whose address may not vary."""
        if not self.candidates and not self.doubtful:
            return []
        for _ in range(_MOST_PASSES):
            if not self._pass():
                stores = self.function.stores
                for local, lines in self.doubtful:
                    if not self._depends_on_varying(local):
                        self.candidates |= lines
                region = set(self.lines)
                found = [number for number in self.candidates & region if not self.of(stores[number][1]).varies]
                kept = self._without_neighbours(sorted(found)) if found else []
                return sorted([*kept, *(self.candidates - region)])
        return sorted(self.candidates.union(*(lines for _, lines in self.doubtful)))  # more than can be followed

    def has_varying_access(self) -> bool:
        """Whether the loop accesses memory at addresses that vary. Else LLVM gains nothing by promotion, and if they do
        they are out of bounds before long."""
        lines = self.function.lines
        return any(", align 1" in lines[n] and (at := self._place(n)[1]) is not None and at.varies for n in self.lines)

    def _depends_on_varying(self, local: str) -> bool:
        """Whether a local is computed from one that varies, by whatever."""
        return any(self.local(atom).varies for atom in self.local(local).atoms or () if atom[:2] == "%l")

    def _without_neighbours(self, numbers: list[int]) -> list[int]:
        """Those of some lines of stores which nothing keeps in place that is done in each iteration that they are.

        That is a call, or another access that may be to the same address. LLVM knows that two are not to the same only
        of those computed from the same values, and of numbers some bits of which it knows.
        """
        function = self.function
        always: list[int] = []
        run = 0  # of lines without branches
        runs: dict[int, int] = {}  # of the stores
        beside: dict[int, list[int]] = {}
        wanted = set(numbers)
        previous = -1
        for number in self.lines:
            if number != previous + 1 or number in function.branches or function.lines[number].endswith(":"):
                run += 1
            previous = number
            if number in wanted:
                runs[number] = run
            if self._may_be_in_the_way(number):
                always.append(number)
                beside.setdefault(run, []).append(number)
        passed = function.always_passed(self.loop, always) if always else set()
        always = [number for number in always if number in passed][:_MOST_NEIGHBOURS]
        return [
            number
            for number in numbers
            if not any(
                self._is_in_the_way(other, number)
                for other in (*always, *beside.get(runs[number], ())[:_MOST_NEIGHBOURS])
            )
        ]

    def _may_be_in_the_way(self, number: int) -> bool:
        """Whether a line is a call, or an access whose address may be any."""
        function = self.function
        line = function.lines[number]
        if "call " in line and " @llvm." not in line and " asm " not in line:
            return True
        if ", align 1" not in line:
            return False
        _, address = self._place(number)
        return address is not None and address.is_any

    def _is_in_the_way(self, other: int, number: int) -> bool:
        if "call " in self.function.lines[other]:
            return True
        distance, address = self._place(number)
        other_distance, other_address = self._place(other)
        if address is None or other_address is None or other_distance > distance:
            return False
        return address.atoms is not None and address.atoms.isdisjoint(other_address.atoms or address.atoms)

    def _place(self, number: int) -> tuple[int, _Value | None]:
        """Where an access to memory is: a constant offset, and the address that it is added to."""
        function = self.function
        name = function.names.get(number)
        load = _LOAD.match(function.definitions[name][1]) if name else None
        place = load[1] if load else function.stores.get(number, ("", ""))[1]
        distance = 0
        for _ in range(2):
            operation, rest = function.definitions.get(place, ("", ""))
            index = _GEP.match(rest) if operation == "getelementptr" else None
            if index is None:
                break
            if index[2][0] == "%":
                extended = _EXTENDED.match(function.definitions.get(index[2], ("", ""))[1])
                return distance, self.of(extended[1]) if extended else None
            distance += int(index[2])
            place = index[1]
            if place.startswith("%base"):
                return distance, _FIXED
        return distance, None

    def _pass(self) -> bool:
        """Goes over all lines once; whether something was found not to be as it was taken to be."""
        function = self.function
        state: dict[str, _Value] = {}
        stored: dict[str, _Value] = {}  # all that the loop stores to a local
        stores_fixed = self.stores_fixed
        previous = -1
        for number in self.lines:
            line = function.lines[number]
            if number in function.names:
                name = function.names[number]
                self.values[name] = self._value(name, *function.definitions[name], state)
            elif number in function.stores:
                operand, place = function.stores[number]
                value = self.of(operand)
                if _LOCAL.fullmatch(place):
                    state[place] = value
                    if number not in self.passed_over:
                        before = stored.get(place)
                        stored[place] = value if before is None else _either(before, value)
                elif number in function.accesses:
                    stores_fixed |= not value.varies
            elif line.endswith(":") and line[0] not in " ;":
                label = line[:-1]
                comes_from_above = previous == number - 1 and label in function.branches.get(previous, ())
                if not comes_from_above or function.arrivals[label] > 1:
                    state = {}
            previous = number
        changed = stores_fixed != self.stores_fixed
        self.stores_fixed = stores_fixed
        for local, value in stored.items():
            before = self.local(local)
            now = before
            if local not in self.steps:
                atoms = _union(before.atoms, value.atoms)
                now = _Value(before.varies and value.varies, None, atoms, before.is_any and value.is_any)
            if now != before:
                self.locals[local] = now
                changed = True
        return changed

    def local(self, local: str) -> _Value:
        """What a local holds where branches meet, as far as is known."""
        known = self.locals.get(local)
        if known is None:
            stores = self.function.local_stores.get(local, [])
            number = _number_in(stores, self.loop)
            if not number:
                known = _FIXED
            elif number > self.num_stores.get(local, 0):
                known = _UNKNOWN  # another loop leaves something there
            else:
                known = _Value(True, self.steps.get(local), frozenset((local,)), True)
            self.locals[local] = known
        return known

    def of(self, operand: str) -> _Value:
        """What is known of an operand."""
        if operand[0] != "%":
            return _FIXED
        known = self.values.get(operand)
        if known is None:
            known = _UNKNOWN if self.function.places.get(operand, -1) in self.loop else _FIXED
        return known

    def _value(self, name: str, operation: str, rest: str, state: dict[str, _Value]) -> _Value:
        if operation == "load":
            return self._loaded(name, rest, state)
        if operation == "getelementptr":
            index = _GEP.match(rest)
            return _sum(self.of(index[1]), self.of(index[2]), 1) if index else _UNKNOWN
        if operation == "phi":
            incoming = [self.of(operand) for operand in INCOMING.findall(rest)]
            value = incoming[0]
            for other in incoming[1:]:
                value = _either(value, other)
            return value
        if operation == "call" and " @llvm." not in rest and " asm " not in rest:
            return _Value(True, None, frozenset((name,)), rest.startswith("i32 "))
        integers = _INTEGERS.match(rest)
        operands = [self.of(operand) for operand in _OPERAND.findall(rest)]
        if all(value == _FIXED for value in operands) and operation != "call":
            return _FIXED
        if operation == "select":
            return _either(operands[-2], operands[-1]) if len(operands) > 2 else _doubtful(operands)
        if operation in ("zext", "sext", "trunc", "freeze"):
            value = operands[0]
            return value if value.step == 0 or operation == "freeze" else value._replace(step=None, is_any=False)
        if integers is not None:
            return self._computed(operation, integers, operands)
        return _doubtful(operands)

    def _computed(self, operation: str, integers: re.Match[str], operands: list[_Value]) -> _Value:
        """The result of integer arithmetic."""
        first, second = self.of(integers[2]), self.of(integers[3])
        if operation in ("add", "sub"):
            return _sum(first, second, 1 if operation == "add" else -1)
        if operation == "xor":
            return _sum(first._replace(step=None), second._replace(step=None), 1)._replace(step=None)
        constant = integers[3]
        if operation == "shl" and constant in self.function.constants:
            constant = str(self.function.constants[constant])
        if operation in ("mul", "shl") and constant[0] != "%":
            factor = int(constant) if operation == "mul" else 1 << (int(constant) & 63)
            step = None if first.step is None else first.step * factor & _ONES
            return _Value(first.varies and factor & _ONES != 0 and step != 0, step, first.atoms)
        if operation == "and" and constant[0] != "%" and first.step:
            # The lowest bit that changes does so each time.
            return _Value(first.step & -first.step & int(constant) != 0, None, first.atoms)
        return _doubtful(operands)

    def _loaded(self, name: str, rest: str, state: dict[str, _Value]) -> _Value:
        load = _LOAD.match(rest)
        if load is None:
            return _UNKNOWN
        if _LOCAL.fullmatch(load[1]):
            return state.get(load[1]) or self.local(load[1])
        if ", !invariant.load" in self.function.lines[self.function.places[name]]:
            return self.of(load[1])._replace(step=None)
        varies = load[2] is not None and self.of(load[1]).varies and not self.stores_fixed
        return _Value(varies, None, frozenset(("load",)), varies and rest.startswith("i32"))


def _memory_stores(function: _Function, loop: _Loop) -> set[int]:
    """The lines of stores of a loop itself that may be out of bounds."""
    return {number for number in loop.own if number in function.accesses and not function.is_inside(number)}


def _union(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    if first is None or second is None:
        return None
    both = first | second
    return both if len(both) <= _MOST_ATOMS else None


def _sum(first: _Value, second: _Value, factor: int) -> _Value:
    """The sum of two values, or their difference."""
    atoms = _union(first.atoms, second.atoms)
    if first.step is not None and second.step is not None:
        step = (first.step + factor * second.step) & _ONES
        return _Value(step != 0, step, atoms, step != 0 and (first.is_any or second.is_any))
    are_apart = first.atoms is not None and second.atoms is not None and first.atoms.isdisjoint(second.atoms)
    varies = are_apart and (first.varies or second.varies)
    return _Value(varies, None, atoms, are_apart and (first.is_any or second.is_any))


def _either(first: _Value, second: _Value) -> _Value:
    """One of two values."""
    if first == second:
        return first
    atoms = _union(first.atoms, second.atoms)
    return _Value(first.varies and second.varies, None, atoms, first.is_any and second.is_any)


def _doubtful(values: list[_Value]) -> _Value:
    """What is computed from some values, and may be a constant."""
    atoms: frozenset[str] | None = frozenset()
    for value in values:
        atoms = _union(atoms, value.atoms)
    return _Value(False, None, atoms)
