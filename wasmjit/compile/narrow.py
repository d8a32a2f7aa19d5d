"""Hides from LLVM what it takes for an induction that cannot wrap: ``k[i & 3]``, ``k[i % 8]``, ``(uint8_t)i``.

The loop vectoriser of LLVM 20 to 22 assumes of an induction in few bits (``i & 3`` is a two-bit one, extended) that it
does not wrap, and forgets to check that if a wider induction of the loop is checked already (llvm-project#191382,
mended in LLVM 23): elements behind ``k[3]`` are loaded, or overwritten, in place of ``k[0]``. So the mask of such an
expression becomes a value that LLVM does not know to be constant, but knows the upper bits of: ``and i32 %i, %m`` where
``%m`` is ``3`` and-ed with -1 from an empty ``asm``. The loop may still be vectorised, with gathered loads.

It is done on the text, before LLVM reads it, and where it can matter only. What is masked must come, by integer
arithmetic, from a local that is stepped in the innermost loop, the only one that is vectorised (or from a place in
memory, which LLVM may keep in a register): a hash of loaded data does not, and keeps its constant. And an address, a
condition or a local must come from what is masked. Erring on the safe side costs a register.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FUNCTION = re.compile(r"^define [^\n]*\{\n.*?^\}", re.MULTILINE | re.DOTALL)
_CANDIDATE = re.compile(
    r"= (?:and i(?:32|64) %\w+, -?\d|[us]rem |udiv |lshr i|ashr i|sext i(?:8|16|32) |zext i(?:8|16) |zext i32 )"
)
_LINE = re.compile(r"  (%[\w.]+) = (\w+) (.*)")
_OPERAND = re.compile(r"%[\w.]+")
_INTEGERS = re.compile(r"i(\d+) (%[\w.]+|-?\d+), (%[\w.]+|-?\d+)")
_LOCAL = re.compile(r"%l(\d+)")
_LOCAL_LOAD = re.compile(r"(?:volatile )?\w+, ptr %l(\d+)$")
_LOAD = re.compile(r"(?:volatile )?(?:<[^>]*>|\w+), ptr (%[\w.]+)")
_STORE = re.compile(r"  store (?:volatile )?(?:<[^>]*>|\w+) ([^ ,]+), ptr (%[\w.]+)")
_CAST = re.compile(r"i(\d+) (%[\w.]+) to i(\d+)")
_GEP_INDEX = re.compile(r"i8, ptr (%[\w.]+), i64 (%[\w.]+|-?\d+)")
_TARGET = re.compile(r"label %([\w.]+)")
_CALL = re.compile(r"\bcall (?!.* @llvm\.)")
_EFFECT = re.compile(r"^  store (?!.*, ptr %l\d+$)|call (?!.* @llvm\.)", re.MULTILINE)
_KEEPS_ALIVE = re.compile(r"^  call void (?:asm |@llvm\.)")  # for its traps, not for its value
_FIRST_BLOCK = re.compile(r"^  br label %\w+\nstart:$", re.MULTILINE)
_LINEAR = frozenset(("add", "sub", "and", "urem", "srem"))
_OTHER_ARITHMETIC = frozenset(("mul", "shl", "lshr", "ashr", "udiv", "sdiv", "or", "xor"))
_PASSED_ON = _LINEAR | _OTHER_ARITHMETIC | {"zext", "sext", "trunc", "freeze", "select", "icmp"}

_MOST_LOCALS = 16  # that a value is said to come from; beyond, it is taken for an induction
_MOST_PASSES = 8  # over the lines of a function

# What a value comes from: locals by number, and _PLACE for what was loaded from a place in memory; with whether only
# linear operations lie in between. None: from something that is no induction, such as an element of an array.
_PLACE = -1
_PHI = -2  # of a block's results or a loop's parameters: taken for an induction always
_Origin = tuple[frozenset[int], bool] | None
_NOTHING: _Origin = (frozenset(), True)
_SOME_PLACE: _Origin = (frozenset((_PLACE,)), True)
_SOME_PHI: _Origin = (frozenset((_PHI,)), True)


def hide(text: str) -> str:
    """The text of an LLVM module in which no narrow induction can be recognised."""
    return _FUNCTION.sub(lambda match: _hide_in(match[0]), text) if _CANDIDATE.search(text) else text


def _hide_in(text: str) -> str:
    if _CANDIDATE.search(text) is None or _FIRST_BLOCK.search(text) is None:
        return text
    lines = text.split("\n")
    rewriter = _Rewriter(lines)
    left = _MOST_PASSES * len(lines)
    for loop in _vectorisable_loops(lines):
        left -= loop.end - loop.start
        if left < 0:  # nested very deeply: as if all were one loop
            loop = _Loop(0, len(lines) - 1)
        rewriter.rewrite(loop.start, loop.end + 1)
        if left < 0:
            break
    return rewriter.text()


# ---- loops ----


class _Loop:
    """Lines from a label to the last branch back to it. Loops of wasm are properly nested, and so is our text."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.inner: list[_Loop] = []


def _loops(lines: list[str]) -> list[_Loop]:
    """All loops, inner ones first."""
    labels: dict[str, int] = {}
    found: dict[str, _Loop] = {}
    for number, line in enumerate(lines):
        if line.endswith(":") and line[0] not in " ;":
            labels[line[:-1]] = number
        elif "label %" in line:
            for label in _TARGET.findall(line):
                if label in labels:
                    found.setdefault(label, _Loop(labels[label], number)).end = number
    ordered: list[_Loop] = []
    open_loops: list[_Loop] = []
    for loop in sorted(found.values(), key=lambda loop: (loop.start, -loop.end)):
        while open_loops and open_loops[-1].end < loop.start:
            ordered.append(open_loops.pop())
        if open_loops:
            open_loops[-1].inner.append(loop)
        open_loops.append(loop)
    return ordered + open_loops[::-1]


def _vectorisable_loops(lines: list[str]) -> list[_Loop]:
    """Loops without calls, which have no inner loops, or inner loops that LLVM may unroll or delete altogether."""
    loops = _loops(lines)
    if not loops:
        return []
    removable = _Removable(lines)
    vectorisable: set[int] = set()
    for loop in loops:
        if all(inner.start in vectorisable and removable.is_removable(inner) for inner in loop.inner):
            vectorisable.add(loop.start)
    return [
        loop
        for loop in loops
        if loop.start in vectorisable and not any(map(_CALL.search, lines[loop.start : loop.end + 1]))
    ]


class _Removable:
    """Which loops LLVM may get rid of: those with no effect, and those that may have a constant trip count."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.definitions: dict[str, tuple[str, str]] = {}
        self.stores: dict[int, list[tuple[int, bool]]] = {}  # local -> lines, and whether what is stored is a constant
        for number, line in enumerate(lines):
            match = _LINE.match(line)
            if match is not None:
                self.definitions[match[1]] = match[2], match[3].partition(", !")[0]
            elif (store := _STORE.match(line)) is not None and (local := _LOCAL.fullmatch(store[2])) is not None:
                self.stores.setdefault(int(local[1]), []).append((number, store[1][0] != "%"))

    def is_removable(self, loop: _Loop) -> bool:
        lines = self.lines[loop.start : loop.end + 1]
        if not any(_EFFECT.search(line) for line in lines):
            return True
        for line in lines:
            match = _LINE.match(line)
            if match is not None and match[2] == "icmp":
                integers = _INTEGERS.search(match[3])
                if integers is None or all(self.is_constant(operand, loop, 8) for operand in integers.groups()[1:]):
                    return True
        return False

    def is_constant(self, operand: str, loop: _Loop, depth: int) -> bool:
        """Whether a value may be a constant, or start with one and be stepped in the loop."""
        if operand[0] != "%":
            return True
        operation, rest = self.definitions.get(operand, ("", ""))
        if operation == "load":
            local = _LOCAL_LOAD.match(rest)
            if local is not None:
                stores = self.stores.get(int(local[1]), ())
                return all(constant for number, constant in stores if not loop.start <= number <= loop.end)
            load = _LOAD.match(rest)
            return load is not None and self.is_constant(
                load[1], loop, depth
            )  # a place in memory that may be a register
        if depth == 0 or not (operation in _PASSED_ON or operation == "getelementptr"):
            return operation == "phi" or operand.startswith("%base")
        return all(self.is_constant(part, loop, depth - 1) for part in _OPERAND.findall(rest))


# ---- values ----


class _Values:
    """Where the values of a loop come from. What was computed before it comes from nothing."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.origins: dict[str, _Origin] = {}
        self.definitions: dict[str, tuple[str, str]] = {}  # name -> operation and the rest of its line
        self.steps: dict[int, set[int]] = {}  # local -> locals that linear operations on it are stored to
        self.flows: dict[int, set[int]] = {}  # the same for all operations
        self.stores_to_places = False  # something that is computed, at an address that does not change in the loop
        self.varying: frozenset[int] | None = None  # locals that are computed from themselves; None: not yet known
        self.trace()
        # Now it is known which addresses change from one iteration to the next.
        self.varying = frozenset(_in_cycles(self.flows))
        self.steps, self.flows = {}, {}
        self.trace()
        if _PLACE in _in_cycles(
            self.flows
        ):  # nor does what lies behind a pointer in memory that is stepped stay the same
            self.varying |= {_PLACE}
            self.steps, self.flows = {}, {}
            self.trace()

    def inductions(self) -> set[int]:
        """Locals that may hold inductions or what is computed from them, _PHI, and _PLACE if places in memory may."""
        found = {*_in_cycles(self.steps), _PHI}
        if self.stores_to_places:
            found.add(_PLACE)
        work = list(found)
        while work:
            for local in self.flows.get(work.pop(), ()):
                if local not in found:
                    found.add(local)
                    work.append(local)
        return found

    def trace(self) -> None:
        """One pass over the lines: definitions stand before uses, but for phis."""
        origins = self.origins
        for line in self.lines:
            match = _LINE.match(line)
            if match is not None:
                name, operation, rest = match.groups()
                rest = rest.partition(", !")[0]
                self.definitions[name] = operation, rest
                origins[name] = self.origin(operation, rest)
            elif line.startswith("  store "):
                self.store(line)

    def origin(self, operation: str, rest: str) -> _Origin:
        if operation == "load":
            return self.load_origin(rest)
        if operation in _LINEAR or operation in _OTHER_ARITHMETIC:
            return self.arithmetic_origin(operation, rest)
        if operation in ("zext", "sext", "trunc", "freeze"):
            operand = _OPERAND.search(rest)
            return self.of(operand[0]) if operand else _NOTHING
        if operation == "getelementptr":
            index = _GEP_INDEX.match(rest)
            return self.joined((index[1], index[2])) if index else _NOTHING
        if operation == "select":
            chosen = [self.of(operand) for operand in _OPERAND.findall(rest)[1:]]
            return _union([origin for origin in chosen if origin is not None]) if any(chosen) else None
        return _SOME_PHI if operation == "phi" else None

    def arithmetic_origin(self, operation: str, rest: str) -> _Origin:
        integers = _INTEGERS.search(rest)
        if integers is None:  # vectors
            return None
        joined = self.joined((integers[2], integers[3]))
        constant = integers[3][0] != "%"
        if joined is None or operation in _LINEAR or (constant and operation in ("or", "xor")):
            return joined
        return joined[0], False

    def load_origin(self, rest: str) -> _Origin:
        local = _LOCAL_LOAD.match(rest)
        if local is not None:
            return frozenset((int(local[1]),)), True
        load = _LOAD.match(rest)
        address = self.of(load[1]) if load else None
        if load is None or address is None:
            return None
        if self.varying is None:
            return address[0] | {_PLACE}, False
        return None if self.varies(address) else _SOME_PLACE

    def store(self, line: str) -> None:
        match = _STORE.match(line)
        if match is None:
            return
        value = self.of(match[1])
        target = _LOCAL.fullmatch(match[2])
        if target is not None:
            local = int(target[1])
            for source in value[0] if value else ():
                self.flows.setdefault(source, set()).add(local)
                if value and value[1]:
                    self.steps.setdefault(source, set()).add(local)
            return
        address = self.of(match[2])
        if address is None or value is None:
            return
        if value[0] and not self.varies(address):
            self.stores_to_places = True
            for source in value[0]:
                self.flows.setdefault(source, set()).add(_PLACE)

    def varies(self, address: tuple[frozenset[int], bool]) -> bool:
        """Whether an address changes from one iteration to the next, as far as is known."""
        return self.varying is not None and not self.varying.isdisjoint(address[0])

    def of(self, operand: str) -> _Origin:
        """The origin of an operand: parameters and constants come from nothing."""
        return self.origins.get(operand, _NOTHING)

    def joined(self, operands: Iterable[str]) -> _Origin:
        """The origin of what is computed from all of these."""
        origins = [self.of(operand) for operand in operands]
        return None if None in origins else _union([origin for origin in origins if origin is not None])


def _union(origins: list[tuple[frozenset[int], bool]]) -> _Origin:
    joined = frozenset().union(*(origin[0] for origin in origins))
    if len(joined) > _MOST_LOCALS:
        return _SOME_PHI
    return joined, all(origin[1] for origin in origins)


def _in_cycles(edges: dict[int, set[int]]) -> set[int]:
    """The nodes that can be reached from themselves (Tarjan's components, without recursion)."""
    found: set[int] = set()
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
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
                    component: list[int] = []
                    while not component or component[-1] != node:
                        component.append(path.pop())
                        on_path.discard(component[-1])
                    if len(component) > 1 or node in edges.get(node, ()):
                        found.update(component)
    return found


class _Rewriter:
    """Writes a function anew, with opaque masks."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.rewritten = lines.copy()
        self.masks: dict[tuple[int, int], str] = {}  # width and constant -> name
        # A narrowing of 64 bits to 32 is only wrong beside an induction of 64 bits that is widened itself.
        self.has_wide = any(" i128 " in line for line in lines)

    def rewrite(self, start: int, end: int) -> None:
        """Hides the inductions of a loop: the lines from `start` to `end`."""
        numbers = [number for number in range(start, end) if _CANDIDATE.search(self.lines[number])]
        numbers = [number for number in numbers if self.rewritten[number] is self.lines[number]]
        if not numbers:
            return
        self.values = _Values(self.lines[start:end])
        self.inductions = self.values.inductions()
        self.wanted = _wanted(self.values)
        for number in numbers:
            self.rewritten[number] = self.line(self.lines[number])

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
        return origin is not None and not self.inductions.isdisjoint(origin[0])

    def line(self, line: str) -> str:
        match = _LINE.match(line)
        if match is None:
            return line
        name, operation, rest = match.groups()
        if name not in self.wanted:
            return line
        if operation in ("zext", "sext"):
            return self.extension(line, name, operation, rest)
        integers = _INTEGERS.search(rest)
        if integers is None or integers[2][0] != "%" or not self.may_be_induction(integers[2]):
            return line
        width, operand, second = int(integers[1]), integers[2], integers[3]
        if operation == "and":
            if second[0] in "%-":
                return line  # a mask with its top bit clears lower bits only: no narrower than the operand
            return line.replace(f" {operand}, {second}", f" {operand}, {self.mask(width, int(second))}", 1)
        if operation in ("urem", "srem") and (second[0] == "%" or int(second).bit_count() != 1):
            return line  # only remainders of powers of two are masks
        made_by = self.values.definitions.get(operand, ("", ""))[0]
        if operation in ("lshr", "ashr", "udiv") and made_by not in ("shl", "mul"):
            return line  # (x << 24) >> 24 is a mask, too
        return self.hidden_operand(line, name, width, operand)

    def extension(self, line: str, name: str, operation: str, rest: str) -> str:
        cast = _CAST.match(rest)
        if cast is None or not self.may_be_induction(cast[2]):
            return line
        source, operand, width = int(cast[1]), cast[2], int(cast[3])
        made_by = self.values.definitions.get(operand, ("", ""))[0]
        if made_by not in ("trunc", "load") or (source == 32 and (made_by == "load" or not self.has_wide)):
            return line
        # The extended value is hidden: its upper bits are known no more, where they are zeros the mask says so.
        constant = (1 << source) - 1 if operation == "zext" else -1
        wide = line.replace(f"  {name} = ", f"  {name}.narrow = ", 1)
        return f"{wide}\n  {name} = and i{width} {name}.narrow, {self.mask(width, constant)}"

    def hidden_operand(self, line: str, name: str, width: int, operand: str) -> str:
        hidden = f"{name}.operand"
        return (
            f"  {hidden} = and i{width} {operand}, {self.mask(width, -1)}\n"
            f"{line.replace(f' {operand}, ', f' {hidden}, ', 1)}"
        )


def _wanted(values: _Values) -> set[str]:
    """The values that LLVM may look for inductions: addresses, locals, conditions on which the loop is left or begins
    anew, and what these are computed from.

    Numbers that are stored, or are amounts of shifts, are none.
    """
    lines = values.lines
    is_loop = lines[0].endswith(":")  # else the whole function is taken for one
    header = lines[0][:-1]
    labels = {line[:-1] for line in lines[1:] if line.endswith(":") and line[0] not in " ;"}
    wanted: set[str] = set()
    for line in reversed(lines):
        match = _LINE.match(line)
        if match is not None:
            name, operation, rest = match.groups()
            if operation in ("phi", "call", "getelementptr") or (name in wanted and operation in _PASSED_ON):
                if operation in ("shl", "lshr", "ashr"):
                    rest = rest.partition(",")[0]
                elif operation == "select":
                    rest = rest.partition(",")[2]
                wanted.update(_OPERAND.findall(rest))
        elif "label %" in line:
            targets = _TARGET.findall(line)
            if not is_loop or header in targets or not labels.issuperset(targets):
                wanted.update(_OPERAND.findall(line))
        elif _KEEPS_ALIVE.match(line) is None:
            store = _STORE.match(line)
            address = values.of(store[2]) if store and not _LOCAL.fullmatch(store[2]) else _NOTHING
            if address is not None and not values.varies(address):
                wanted.update(_OPERAND.findall(line))  # returns, locals; what may be read from memory again
    return wanted
