"""Hides from LLVM what it takes for an induction that cannot wrap: ``k[i & 3]``, ``k[i % 8]``, ``(uint8_t)i``.

The loop vectoriser of LLVM 20 to 22 assumes of an induction in few bits (``i & 3`` is a two-bit one, extended) that it
does not wrap, and forgets to check that if a wider induction of the loop is checked already (llvm-project#191382,
mended in LLVM 23): elements behind ``k[3]`` are loaded, or overwritten, in place of ``k[0]``. So the mask of such an
expression becomes a value that LLVM does not know to be constant, but knows the upper bits of: ``and i32 %i, %m`` where
``%m`` is ``3`` and-ed with -1 from an empty ``asm``. The loop may still be vectorised, with gathered loads. Where there
is no mask yet, but LLVM would make one (``i - (i & -4)``, ``i << 29 >> 29``), an operand passes such a mask of ones.

It is done on the text, before LLVM reads it, and where it can matter only. What is masked must come, by integer
arithmetic, from a local that is stepped in the innermost loop, the only one that is vectorised (or from a place in
memory, which LLVM may keep in a register): a hash of loaded data does not, and keeps its constant. And an address, a
condition or a local must come from what is masked. What a local holds is known as LLVM will know it: each load of one
is followed to the stores that reach it (`_Function`). Erring on the safe side costs a register.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .lines import INCOMING
from .patterns import late

_FUNCTION = late(r"^define [^\n]*\{\n.*?^\}", re.MULTILINE | re.DOTALL)
_CANDIDATE = late(
    r"= (?:and i(?:32|64) |or i(?:32|64) |[us]rem |[us]div |shl i|lshr i|ashr i|mul i|icmp s|sext i(?:8|16|32) "
    r"|zext i(?:8|16) |zext i32 )"
)
_LINE = late(r"  (%[\w.]+) = (\w+) (.*)")
_OPERAND = late(r"%[\w.]+")
_INTEGERS = late(r"i(\d+) (%[\w.]+|-?\d+), (%[\w.]+|-?\d+)")
_LOCAL = late(r"%l\d+")
_LOAD = late(r"(?:volatile )?(?:<[^>]*>|\w+), ptr (%[\w.]+)")
# Base and size of a memory, which may move: no loop without calls changes them.
_OF_MEMORY = late(r"(?:ptr|i64), ptr %memory\d+(?:\.size)?$")
_STORE = late(r"  store (?:volatile )?(?:<[^>]*>|\w+) ([^ ,]+), ptr (%[\w.]+)")
_CAST = late(r"i(\d+) (%[\w.]+) to i(\d+)")
_GEP_INDEX = late(r"i8, ptr (%[\w.]+), i64 (%[\w.]+|-?\d+)")
_TARGET = late(r"label %([\w.]+)")
_CALL = late(r"\bcall (?!.* @llvm\.)")
_ROTATION = late(r"@llvm\.fsh[lr]\.")
_KEEPS_ALIVE = late(r"^  call void (?:asm |@llvm\.)")  # for its traps, not for its value
_FIRST_BLOCK = late(r"^  br label %\w+\nstart:$", re.MULTILINE)
_LINEAR = frozenset(("add", "sub", "and", "urem", "srem"))
_OTHER_ARITHMETIC = frozenset(("mul", "shl", "lshr", "ashr", "udiv", "sdiv", "or", "xor"))
_CONVERSIONS = frozenset(("zext", "sext", "trunc", "freeze"))
_PASSED_ON = _LINEAR | _OTHER_ARITHMETIC | _CONVERSIONS | {"select", "icmp"}
_UP = frozenset(("shl", "mul", ""))  # "": not known
_DOWN = frozenset(("lshr", "ashr", "udiv", "sdiv", ""))

_MOST_NODES = 16  # that a value is said to come from; beyond, it is taken for an induction
_MOST_PASSES = 8  # over the lines of a function
_MOST_SEEN = 64  # of what may make a constant; beyond, it is taken for one
# How many values of locals are looked at where blocks meet, for each line; beyond, nothing is known of locals.
_MOST_STATES = 32
_MOST_INNER = 64  # loops within one that are looked at; beyond, they are taken for loops that LLVM gets rid of
_MOST_WRITTEN_OUT = (
    1200  # instructions of a loop that LLVM unrolls: 300, and four times that if many are constants then
)
_UNDEFINED = "undef"
_UNKNOWN = "%unknown"


class _Origin(NamedTuple):
    """What a value comes from: the phis of loops' headers, _PLACE for what was loaded from a place in memory."""

    nodes: frozenset[str]
    linear: frozenset[str]  # those with only linear operations in between


_PLACE = "place"
_ANY = "any"  # taken for an induction always
_NOTHING = _Origin(frozenset(), frozenset())
_FROM_PLACE = _Origin(frozenset((_PLACE,)), frozenset((_PLACE,)))
_FROM_ANY = _Origin(frozenset((_ANY,)), frozenset((_ANY,)))


def hide(text: str) -> str:
    """The text of an LLVM module in which no narrow induction can be recognised."""
    return _FUNCTION.sub(lambda match: _hide_in(match[0]), text) if _CANDIDATE.search(text) else text


def _hide_in(text: str) -> str:
    if _CANDIDATE.search(text) is None or _FIRST_BLOCK.search(text) is None:
        return text
    function = _Function(text.split("\n"))
    loops = function.vectorisable_loops()
    if not loops:
        return text
    rewriter = _Rewriter(function)
    left = _MOST_PASSES * len(function.lines)
    for loop in loops:
        left -= loop.end - loop.start
        if left < 0:  # nested very deeply: as if all were one loop
            loop = _Loop("", 0, len(function.lines) - 2)
        rewriter.rewrite(loop)
        if left < 0:
            break
    return rewriter.text()


class _Loop:
    """Lines from a label to the last branch back to it. Loops of wasm are properly nested, and so is our text."""

    def __init__(self, label: str, start: int, end: int) -> None:
        self.label = label  # "": no loop, but all of a function
        self.start = start
        self.end = end
        self.inner: list[_Loop] = []

    def __contains__(self, number: int) -> bool:
        return self.start <= number <= self.end


class _Function:
    """A function as LLVM will see it: without the stack slots of locals.

    A load of a local has another name for what was stored there (`resolve`), or for a phi where several stores reach
    it. These phis are not in the text; they are named like the locals.
    """

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.labels: dict[int, str] = {}  # by line
        self.branches: dict[int, list[str]] = {}
        self.stores: dict[int, tuple[str, str]] = {}  # what is stored, and where
        self.definitions: dict[str, tuple[str, str]] = {}  # name -> operation and the rest of its line
        self.places: dict[str, int] = {}  # name -> line
        self.names: dict[int, str] = {}
        self.phis: dict[str, list[str]] = {}  # name -> operands
        self.phis_at: dict[int, list[str]] = {}  # line of a label -> those of locals
        self.aliases: dict[str, str] = {}
        self.stores_constants = False  # to memory
        self._calls, self._effects = [0], [0]  # in all lines before one
        self._trip_counts: dict[str, list[set[str]]] = {}
        self._left = _MOST_PASSES * len(lines)
        for number, line in enumerate(lines):
            if "label %" in line:
                self.branches[number] = list(dict.fromkeys(_TARGET.findall(line)))
            elif line.endswith(":") and line[0] not in " ;":
                self.labels[number] = line[:-1]
            self._calls.append(self._calls[-1] + ("call " in line and _CALL.search(line) is not None))
        self.label_lines = {label: number for number, label in self.labels.items()}
        self.loops = self._find_loops()
        self.headers = {loop.label: loop for loop in self.loops}
        if not all(map(self.has_calls, self.loops)):
            self._read()
            self._follow_locals()

    def _read(self) -> None:
        for number, line in enumerate(self.lines):
            match = _LINE.match(line)
            is_effect = self._calls[number + 1] > self._calls[number]
            if match is not None:
                name, operation, rest = match[1], match[2], match[3].partition(", !")[0]
                self.names[number] = name
                self.places[name] = number
                self.definitions[name] = operation, rest
                if operation == "phi":
                    self.phis[name] = INCOMING.findall(rest)
            elif (store := _STORE.match(line)) is not None:
                self.stores[number] = store[1], store[2]
                if _LOCAL.fullmatch(store[2]) is None:
                    is_effect = True
                    self.stores_constants |= store[1][0] != "%"
            self._effects.append(self._effects[-1] + is_effect)

    def has_calls(self, loop: _Loop) -> bool:
        return self._calls[loop.end + 1] > self._calls[loop.start]

    def _find_loops(self) -> list[_Loop]:
        """All loops, inner ones first."""
        found: dict[str, _Loop] = {}
        for number, targets in self.branches.items():
            for label in targets:
                start = self.label_lines.get(label, number)
                if start < number:
                    found.setdefault(label, _Loop(label, start, number)).end = number
        ordered: list[_Loop] = []
        open_loops: list[_Loop] = []
        for loop in sorted(found.values(), key=lambda loop: (loop.start, -loop.end)):
            while open_loops and open_loops[-1].end < loop.start:
                ordered.append(open_loops.pop())
            if open_loops:
                open_loops[-1].inner.append(loop)
            open_loops.append(loop)
        return ordered + open_loops[::-1]

    def vectorisable_loops(self) -> list[_Loop]:
        """Loops without calls, which have no inner loops, or inner loops that LLVM may unroll or delete altogether."""
        return [loop for loop in self.loops if not self.has_calls(loop) and self._may_be_innermost(loop)]

    def _may_be_innermost(self, loop: _Loop) -> bool:
        work = list(loop.inner)
        for inner in work:  # it grows
            if not self.has_no_effect(inner) and not self.may_be_unrolled(inner, loop):
                return False
            if len(work) > _MOST_INNER:
                return True
            work += inner.inner
        return True

    # ---- locals ----

    def _follow_locals(self) -> None:
        """Finds what reaches each load of a local that loops without calls have to do with.

        Branches lead downwards, but for those back to loops' headers: there are phis of all that is stored in the loop.
        """
        left = _MOST_STATES * len(self.lines)
        tracked, stored_in = self._locals_of_loops()
        left -= sum(map(len, stored_in.values()))
        state: dict[str, str] = {}
        is_own = True  # else it is another block's, too
        arriving: dict[str, list[dict[str, str]]] = {}
        phis_of: dict[str, dict[str, str]] = {}  # label of a header -> local -> phi
        for number in range(len(self.lines)):
            if number in self.names:
                name = self.names[number]
                operation, rest = self.definitions[name]
                local = _LOAD.match(rest) if operation == "load" else None
                if local is not None and _LOCAL.fullmatch(local[1]):
                    known = local[1] in tracked and left >= 0
                    self.aliases[name] = state.get(local[1], _UNDEFINED) if known else _UNKNOWN
            elif number in self.stores:
                value, place = self.stores[number]
                if place in tracked:
                    if not is_own:
                        state, is_own = state.copy(), True
                        left -= len(state)
                    state[place] = self.aliases.get(value, value)
            elif number in self.branches:
                for target in self.branches[number]:
                    if target in phis_of:
                        for local_name, phi in phis_of[target].items():
                            self.phis[phi].append(state.get(local_name, _UNDEFINED))
                    else:
                        arriving.setdefault(target, []).append(state)
            elif number in self.labels:
                label = self.labels[number]
                states = arriving.pop(label, [])
                left -= len(states) * len(tracked)
                if left < 0:
                    state, states = {}, []
                phis = dict.fromkeys(stored_in.get(label, ())) if left >= 0 else {}
                for other in states[1:]:
                    if other is not states[0]:
                        phis.update(
                            dict.fromkeys(
                                key for key in other.keys() | states[0] if other.get(key) != states[0].get(key)
                            )
                        )
                state, is_own = (states[0] if states else {}), False
                if phis:
                    state, is_own = state.copy(), True
                for local_name in phis:
                    phi = f"{local_name}.{label}"
                    self.phis[phi] = list(dict.fromkeys(one.get(local_name, _UNDEFINED) for one in states))
                    self.definitions[phi] = "phi", ""
                    self.places[phi] = number
                    self.phis_at.setdefault(number, []).append(phi)
                    state[local_name] = phi
                if label in self.headers:
                    phis_of[label] = {name: state[name] for name in stored_in.get(label, ()) if name in phis}
        if left < 0:
            self.phis = {name: operands for name, operands in self.phis.items() if not _LOCAL.match(name)}
            self.phis_at.clear()
            self.aliases = dict.fromkeys(self.aliases, _UNKNOWN)

    def _locals_of_loops(self) -> tuple[set[str], dict[str, list[str]]]:
        """The locals that are used in loops without calls, and those that each loop stores to."""
        tracked: set[str] = set()
        stored_in: dict[str, list[str]] = {}
        outermost_end = -1
        for loop in sorted(self.loops, key=lambda loop: loop.start):
            if loop.start > outermost_end and not self.has_calls(loop):
                outermost_end = loop.end
                for number in range(loop.start, loop.end + 1):
                    if number in self.stores:
                        tracked.add(self.stores[number][1])
                    elif number in self.names and (match := _LOAD.match(self.definitions[self.names[number]][1])):
                        tracked.add(match[1])
        tracked = {name for name in tracked if _LOCAL.fullmatch(name)}
        left = _MOST_STATES * len(self.lines)
        for loop in self.loops:
            if left < 0:
                break
            stored = dict.fromkeys(name for inner in loop.inner for name in stored_in[inner.label])
            covered = sorted((inner.start, inner.end) for inner in loop.inner)
            number = loop.start
            for start, end in [*covered, (loop.end + 1, loop.end + 1)]:
                for at in range(number, start):
                    if at in self.stores and self.stores[at][1] in tracked:
                        stored[self.stores[at][1]] = None
                number = end + 1
            stored_in[loop.label] = list(stored)
            left -= len(stored)
        return tracked, stored_in

    def resolve(self, operand: str) -> str:
        """What an operand is, if it was loaded from a local."""
        return self.aliases.get(operand, operand)

    def operation(self, operand: str) -> str:
        """By which an operand is made; empty if that is not known."""
        resolved = self.resolve(operand)
        return self.definitions.get(resolved, (("" if resolved == _UNKNOWN else "none"), ""))[0]

    def operands(self, name: str) -> list[str]:
        """What a value is made of, locals followed."""
        if name in self.phis:
            return self.phis[name]
        _, rest = self.definitions[name]
        return [self.resolve(operand) for operand in _OPERAND.findall(rest)]

    # ---- what LLVM may find out ----

    def has_no_effect(self, loop: _Loop) -> bool:
        return self._effects[loop.end + 1] == self._effects[loop.start]

    def may_be_unrolled(self, loop: _Loop, within: _Loop) -> bool:
        """Whether the trip count of a loop may be a constant in each iteration of an outer one that stays a loop."""
        if loop.label not in self._trip_counts:
            self._trip_counts[loop.label] = self._find_trip_counts(loop)
        return any(within.label not in headers for headers in self._trip_counts[loop.label])

    def _find_trip_counts(self, loop: _Loop) -> list[set[str]]:
        """For each comparison that may make the trip count a constant, if outer loops are unrolled: their labels."""
        self._left -= loop.end - loop.start
        if self._left < 0:
            return [set()]
        found: list[set[str]] = []
        work: list[str] = []
        for number in range(loop.start, loop.end + 1):
            lines = [self.label_lines.get(label, -1) for label in self.branches.get(number, ())]
            if not all(loop.start < line <= loop.end for line in lines):
                conditions = _OPERAND.findall(self.lines[number].partition("label")[0])
                if self._is_check(number):
                    continue  # no constant, as long as anything is left of it
                if not conditions and loop.start not in lines:
                    return [set()]  # it depends on another branch whether the loop is left here
                work += conditions
                if (
                    self.lines[number].startswith("  switch ")
                    and (headers := self._headers_of(conditions, loop)) is not None
                ):
                    found.append(headers)
        seen: set[str] = set()
        while work:
            name = self.resolve(work.pop())
            if name == _UNKNOWN:
                return [set()]
            if name in seen or self.places.get(name, -1) not in loop:
                continue
            seen.add(name)
            operation, rest = self.definitions[name]
            if operation == "phi" and self.places.get(name) == loop.start:
                work += self.phis[name]
            elif operation == "phi" or len(seen) > _MOST_SEEN:
                return [set()]  # more than can be followed
            if operation == "icmp":
                integers = _INTEGERS.search(rest)
                compared = integers.groups()[1:] if integers else ()
                headers = self._headers_of(compared, loop)
                if headers is not None and not self._is_long(compared, int(integers[1]) if integers else 0, loop):
                    found.append(headers)
            if operation in _PASSED_ON:
                work += _OPERAND.findall(rest)
        return found

    def _is_check(self, number: int) -> bool:
        """Whether a branch is taken where an address is beyond the end of a memory."""
        condition = _OPERAND.findall(self.lines[number].partition("label")[0])
        if len(condition) != 1 or self.operation(condition[0]) != "icmp":
            return False
        operand = self.definitions[self.resolve(condition[0])][1].rpartition(" ")[2]
        operation, rest = self.definitions.get(operand, ("", ""))
        if operation == "sub":
            operation, rest = self.definitions.get(rest.split()[-2].rstrip(","), ("", ""))
        return operation == "load" and ".size" in rest and _is_of_memory(rest)

    def _headers_of(self, operands: Iterable[str], loop: _Loop) -> set[str] | None:
        """The outer loops that have to be unrolled for values to be constants in each iteration of a loop that is.

        None if they are not, even then.
        """
        headers: set[str] = set()
        seen: set[str] = set()
        work = list(operands)
        while work:
            name = self.resolve(work.pop())
            if name[0] != "%" or name == _UNKNOWN or name in seen:
                continue
            if len(seen) == _MOST_SEEN:
                return set()
            seen.add(name)
            operation, rest = self.definitions.get(name, ("", ""))
            place = self.places.get(name, -1)
            if operation == "phi":
                header = self.headers.get(self.labels.get(place, ""))
                if header is not None and loop.start in header:
                    work += [one for one in self.phis[name] if self.places.get(self.resolve(one), -1) not in header]
                    if header is not loop:
                        headers.add(header.label)
            elif operation == "load":  # a place in memory that may be a register
                load = _LOAD.match(rest)
                if load is None:
                    return None
                if not _is_of_memory(rest):
                    work.append(load[1])
                elif load[1].endswith(".size"):  # no constant
                    return None
            elif operation == "getelementptr" or operation in _PASSED_ON:
                work += self.operands(name)
            elif not name.startswith("%base"):
                return None
        return headers

    def _is_long(self, compared: Iterable[str], width: int, loop: _Loop) -> bool:
        """Whether a comparison of a counter with a constant is one after which LLVM has no loop written out."""
        counters = [name for name in map(self.resolve, compared) if name[0] == "%"]
        constants = [int(number) for number in compared if number[0] not in "%u"]
        if len(counters) != 1 or len(constants) != 1:
            return False
        counter, offset = self._plus_constant(counters[0])
        if self.places.get(counter) != loop.start or len(phi := list(map(self.resolve, self.phis[counter]))) != 2:
            return False
        steps = [step for one, step in map(self._plus_constant, phi) if one == counter]
        starts = [int(one) for one in phi if one[0] not in "%u"]
        if len(steps) != 1 or len(starts) != 1 or steps[0] == 0:
            return False
        distance = (constants[0] - offset - starts[0]) * (1 if steps[0] > 0 else -1) % (1 << width)
        num_accesses = 1
        for number in range(loop.start, loop.end):
            if number in self.branches and not self._is_check(number):
                break  # more may happen seldom
            num_accesses += ", align 1" in self.lines[number]
        trips = distance // abs(steps[0])
        return trips < 1 << (width - 2) and trips * num_accesses > _MOST_WRITTEN_OUT

    def _plus_constant(self, name: str) -> tuple[str, int]:
        """A value as another one and a constant that is added to it."""
        operation, rest = self.definitions.get(name, ("", ""))
        integers = _INTEGERS.search(rest) if operation == "add" else None
        if integers is None or integers[2][0] != "%" or integers[3][0] == "%":
            return name, 0
        return self.resolve(integers[2]), int(integers[3])

    def may_be_constant(self, operand: str) -> bool:
        """Whether LLVM may find a value to be a constant."""
        seen: set[str] = set()
        work = [operand]
        while work:
            name = self.resolve(work.pop())
            if name[0] != "%" or name == _UNKNOWN or name in seen:
                continue
            if len(seen) == _MOST_SEEN:
                return True
            seen.add(name)
            operation, _ = self.definitions.get(name, ("", ""))
            if operation == "phi" or operation in _PASSED_ON:
                work += self.operands(name)
            elif operation != "load" or not self.stores_constants:
                return False
        return True


def _is_of_memory(rest: str) -> bool:
    """Whether such a load is of a memory's base or size."""
    return _OF_MEMORY.match(rest.partition(", align")[0]) is not None


class _Values:
    """Where the values of a loop come from. What was computed before it comes from nothing."""

    def __init__(self, function: _Function, loop: _Loop) -> None:
        self.function = function
        self.loop = loop
        self.origins: dict[str, _Origin | None] = {}  # None: no induction, such as an element of an array
        self.steps: dict[str, set[str]] = {}  # node -> nodes that linear operations on it lead to
        self.flows: dict[str, set[str]] = {}  # the same for all operations
        self.headers: dict[str, bool] = {}  # phis of loops' headers -> whether they stay phis
        self.stores_to_places = False  # something that is computed, at an address that does not change in the loop
        self.varying: set[str] | None = None  # nodes that change in the loop; None: not yet known
        self.trace()
        # Now it is known which addresses change from one iteration to the next.
        self.varying = self.changing()
        self.trace()
        if _PLACE in _in_cycles(self.flows):  # nor does what lies behind a pointer in memory that is stepped
            self.varying = _closure({*self.varying, _PLACE}, self.flows)
            self.trace()

    def changing(self) -> set[str]:
        """The nodes that are computed from themselves, or from such."""
        if not self.loop.label:
            return set()
        cyclic = _in_cycles(self.flows)
        return _closure({name for name, stays in self.headers.items() if stays and name in cyclic}, self.flows)

    def inductions(self) -> set[str]:
        """Nodes that may be inductions or computed from them, _ANY, and _PLACE if places in memory may."""
        found = {*_in_cycles(self.steps), _ANY}
        if self.stores_to_places:
            found.add(_PLACE)
        return _closure(found, self.flows)

    def trace(self) -> None:
        """One pass over the lines: definitions stand before uses, but for what comes to a loop's header."""
        function, origins = self.function, self.origins
        self.steps, self.flows = {}, {}
        self.stores_to_places = False
        header: _Loop | None = None
        for number in range(self.loop.start, self.loop.end + 1):
            name = function.names.get(number)
            if name is not None:
                operation, rest = function.definitions[name]
                if operation == "phi":
                    origins[name] = self.phi(name, header)
                elif name not in function.aliases:
                    origins[name] = self.origin(operation, rest)
            elif number in function.stores:
                self.store(*function.stores[number])
            elif number in function.labels:
                header = function.headers.get(function.labels[number])
                for phi in function.phis_at.get(number, ()):
                    origins[phi] = self.phi(phi, header)
        for phi in self.headers:
            for operand in function.phis[phi]:
                if function.resolve(operand) != phi:
                    self.flow(self.of(operand), phi)

    def phi(self, name: str, header: _Loop | None) -> _Origin | None:
        if header is None:
            return _union(self.of(operand) for operand in self.function.phis[name])
        if name not in self.headers:
            self.headers[name] = header is self.loop or not self.function.may_be_unrolled(header, self.loop)
        node = frozenset((name,))
        return _Origin(node, node)

    def flow(self, origin: _Origin | None, node: str) -> None:
        for source in origin.nodes if origin else ():
            self.flows.setdefault(source, set()).add(node)
        for source in origin.linear if origin else ():
            self.steps.setdefault(source, set()).add(node)

    def origin(self, operation: str, rest: str) -> _Origin | None:
        if operation == "load":
            if _is_of_memory(rest):
                return _NOTHING
            load = _LOAD.match(rest)
            return self.loaded(self.of(load[1]) if load else None)
        if operation in _LINEAR or operation in _OTHER_ARITHMETIC:
            return self.arithmetic(operation, rest)
        if operation in _CONVERSIONS:
            operand = _OPERAND.search(rest)
            return self.of(operand[0]) if operand else _NOTHING
        if operation == "getelementptr":
            index = _GEP_INDEX.match(rest)
            return self.joined((index[1], index[2])) if index else _NOTHING
        if operation == "select":
            return _union(self.of(operand) for operand in _OPERAND.findall(rest)[1:])
        if operation == "call" and _ROTATION.search(rest):
            return _not_linear(self.joined(_OPERAND.findall(rest)))
        return None

    def arithmetic(self, operation: str, rest: str) -> _Origin | None:
        integers = _INTEGERS.search(rest)
        if integers is None:  # vectors
            return None
        joined = self.joined((integers[2], integers[3]))
        is_constant = integers[2][0] != "%" or integers[3][0] != "%"
        if operation in _LINEAR or (is_constant and operation in ("or", "xor")):
            return joined
        return _not_linear(joined)

    def loaded(self, address: _Origin | None) -> _Origin | None:
        """The origin of what is loaded from memory."""
        if address is None:
            return None
        if self.varying is None:
            return _Origin(address.nodes | {_PLACE}, frozenset())
        return None if self.varies(address) else _FROM_PLACE

    def store(self, operand: str, place: str) -> None:
        value, address = self.of(operand), self.of(place)
        if _LOCAL.fullmatch(place) or value is None or address is None or not value.nodes or self.varies(address):
            return
        self.stores_to_places = True
        self.flow(_not_linear(value), _PLACE)

    def varies(self, address: _Origin) -> bool:
        """Whether an address changes from one iteration to the next, as far as is known."""
        return self.varying is not None and not self.varying.isdisjoint(address.nodes)

    def of(self, operand: str) -> _Origin | None:
        """The origin of an operand: parameters and constants come from nothing."""
        resolved = self.function.resolve(operand)
        return _FROM_ANY if resolved == _UNKNOWN else self.origins.get(resolved, _NOTHING)

    def joined(self, operands: Iterable[str]) -> _Origin | None:
        """The origin of what is computed from all of these."""
        origins = [self.of(operand) for operand in operands]
        return None if None in origins else _union(origins)


def _union(origins: Iterable[_Origin | None]) -> _Origin | None:
    """The origin of what is one of these; None if all are."""
    known = [origin for origin in origins if origin is not None]
    if not known:
        return None
    nodes = frozenset().union(*(origin.nodes for origin in known))
    if len(nodes) > _MOST_NODES:
        return _FROM_ANY
    return _Origin(nodes, frozenset().union(*(origin.linear for origin in known)))


def _not_linear(origin: _Origin | None) -> _Origin | None:
    return origin and _Origin(origin.nodes, frozenset())


def _closure(nodes: set[str], edges: dict[str, set[str]]) -> set[str]:
    """These nodes, and all that can be reached from them."""
    found = set(nodes)
    work = list(nodes)
    while work:
        for node in edges.get(work.pop(), ()):
            if node not in found:
                found.add(node)
                work.append(node)
    return found


def _in_cycles(edges: dict[str, set[str]]) -> set[str]:
    """The nodes that can be reached from themselves (Tarjan's components, without recursion)."""
    found: set[str] = set()
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for root in edges:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        work = [(root, iter(edges[root]))]
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    path.append(successor)
                    on_path.add(successor)
                    work.append((successor, iter(edges.get(successor, ()))))
                    break
                if successor in on_path:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[str] = []
                    while not component or component[-1] != node:
                        component.append(path.pop())
                        on_path.discard(component[-1])
                    if len(component) > 1 or node in edges.get(node, ()):
                        found.update(component)
    return found


class _Rewriter:
    """Writes a function anew, with opaque masks."""

    def __init__(self, function: _Function) -> None:
        self.function = function
        self.rewritten = function.lines.copy()
        self.masks: dict[tuple[int, int], str] = {}  # width and constant -> name
        # A narrowing of 64 bits to 32 is only wrong beside an induction of 64 bits that is widened itself.
        self.has_wide = any(" i128 " in line for line in function.lines)

    def rewrite(self, loop: _Loop) -> None:
        """Hides the inductions of a loop."""
        lines = self.function.lines
        numbers = [
            number
            for number in range(loop.start, loop.end + 1)
            if number in self.function.names
            and self.rewritten[number] is lines[number]
            and _CANDIDATE.search(lines[number])
        ]
        if not numbers:
            return
        self.values = _Values(self.function, loop)
        self.inductions = self.values.inductions()
        self.wanted, self.subtracted = _wanted(self.values)
        for number in numbers:
            self.rewritten[number] = self.line(lines[number], self.function.names[number])

    def text(self) -> str:
        text = "\n".join(self.rewritten)
        if not self.masks:
            return text
        head = []
        for width in sorted({width for width, _ in self.masks}):
            head.append(f'  %opaque{width} = call i{width} asm "", "=r,0"(i{width} -1) #2')
        for (width, constant), name in self.masks.items():
            if constant != -1:
                head.append(f"  {name} = and i{width} %opaque{width}, {constant}")
        return _FIRST_BLOCK.sub(lambda match: "\n".join((*head, match[0])), text, count=1)

    def mask(self, width: int, constant: int) -> str:
        name = f"%opaque{width}" if constant == -1 else f"%opaque{width}.{len(self.masks)}"
        return self.masks.setdefault((width, constant), name)

    def may_be_induction(self, operand: str) -> bool:
        origin = self.values.of(operand)
        return origin is not None and not self.inductions.isdisjoint(origin.nodes)

    def line(self, line: str, name: str) -> str:
        if name not in self.wanted:
            return line
        operation, rest = self.function.definitions[name]
        if operation in ("zext", "sext"):
            return self.extension(line, name, operation, rest)
        integers = _INTEGERS.search(rest)
        if integers is None:
            return line
        width, first, second = int(integers[1]), integers[2], integers[3]
        if operation in ("and", "or"):
            return self.masked(line, name, operation, width, first, second)
        if not self.may_be_induction(first):
            return line
        made_by = self.function.operation(first)
        if (
            (operation in ("urem", "srem") and self.may_be_mask(second))
            or (operation in ("lshr", "ashr", "udiv", "sdiv", "icmp") and made_by in _UP)
            or (operation in ("shl", "mul") and made_by in _DOWN and name in self.subtracted)
        ):
            return self.hidden_operand(line, name, width, first)
        return line

    def may_be_mask(self, divisor: str) -> bool:
        """Whether a remainder is one of a power of two."""
        return self.function.may_be_constant(divisor) and (divisor[0] == "%" or int(divisor).bit_count() == 1)

    def masked(self, line: str, name: str, operation: str, width: int, first: str, second: str) -> str:
        """What `and` and `or` with a constant become."""
        if first[0] != "%" and second[0] == "%":
            line = line.replace(f" {first}, {second}", f" {second}, {first}", 1)
            first, second = second, first
        if first[0] != "%":
            return line
        if second[0] == "%":
            for operand, other in ((first, second), (second, first)):
                if self.may_be_induction(operand) and self.function.may_be_constant(other):
                    return self.hidden_operand(line, name, width, operand)
            return line
        # A mask with its top bit is no narrower than the operand, but the difference of both is; so with `or`.
        constant = int(second)
        is_high = constant < 0 or constant >> (width - 1) > 0
        is_narrow = is_high if operation == "or" else not is_high or name in self.subtracted
        if not is_narrow or not self.may_be_induction(first):
            return line
        return line.replace(f" {first}, {second}", f" {first}, {self.mask(width, constant)}", 1)

    def extension(self, line: str, name: str, operation: str, rest: str) -> str:
        cast = _CAST.match(rest)
        if cast is None or not self.may_be_induction(cast[2]):
            return line
        source, operand, width = int(cast[1]), cast[2], int(cast[3])
        made_by = self.function.definitions.get(operand, ("", ""))[0]
        if made_by not in ("trunc", "load") or (source == 32 and (made_by == "load" or not self.has_wide)):
            return line
        # The extended value is hidden: its upper bits are known no more, where they are zeros the mask says so.
        constant = (1 << source) - 1 if operation == "zext" else -1
        wide = line.replace(f"  {name} = ", f"  {name}.narrow = ", 1)
        return f"{wide}\n  {name} = and i{width} {name}.narrow, {self.mask(width, constant)}"

    def hidden_operand(self, line: str, name: str, width: int, operand: str) -> str:
        hidden = f"{name}.operand"
        head, _, tail = line.partition(" = ")
        changed = re.sub(rf" {re.escape(operand)}(?=,|$)", f" {hidden}", tail, count=1)
        return f"  {hidden} = and i{width} {operand}, {self.mask(width, -1)}\n{head} = {changed}"


def _wanted(values: _Values) -> tuple[set[str], set[str]]:
    """The values that LLVM may look for inductions: addresses, locals, conditions on which the loop is left or begins
    anew, and what these are computed from. And those of them that something is subtracted from, or the other way.

    Numbers that are stored, or are amounts of shifts, are none.
    """
    function, loop = values.function, values.loop
    labels = {function.labels[number] for number in range(loop.start + 1, loop.end + 1) if number in function.labels}
    wanted: set[str] = set()
    subtracted: set[str] = set()
    for number in range(loop.end, loop.start - 1, -1):
        line = function.lines[number]
        if number in function.names:
            name = function.names[number]
            operation, rest = function.definitions[name]
            if operation in ("phi", "call", "getelementptr") or (name in wanted and operation in _PASSED_ON):
                if operation in ("shl", "lshr", "ashr"):
                    rest = rest.partition(",")[0]
                elif operation == "select":
                    rest = rest.partition(",")[2]
                operands = _OPERAND.findall(rest)
                wanted.update(operands)
                if operation in ("sub", "xor"):
                    subtracted.update(map(function.resolve, operands))
        elif number in function.branches:
            targets = function.branches[number]
            if not loop.label or loop.label in targets or not labels.issuperset(targets):
                wanted.update(_OPERAND.findall(line))
        elif number in function.stores:
            _, place = function.stores[number]
            address = _NOTHING if _LOCAL.fullmatch(place) else values.of(place)
            if address is not None and not values.varies(address):
                wanted.update(_OPERAND.findall(line))  # locals, and what may be read from memory again
        elif number not in function.labels and _KEEPS_ALIVE.match(line) is None:
            wanted.update(_OPERAND.findall(line))
    return wanted, subtracted
