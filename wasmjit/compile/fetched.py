"""Values of which no copy is needed, where memories are shared: those that come from no load (`Emitter.fetched_once`).

LLVM may load again what it has loaded. A copy that it knows nothing of keeps that off what is checked and then trusted,
and the vectoriser off loops. It is needed only if there is something to load again. So here, when the text of a
function is there, each copied value is followed to where it comes from, on all ways: through instructions that only
compute, and through locals, to whatever store is the last on some way. Constants and parameters are no loads (functions
are opaque to their callers); results of calls and whatever is not known here count as loads.
"""

from __future__ import annotations

import re

from .lines import INCOMING
from .patterns import late

MARK = "; once"  # at the end of a copy's line: there are others like it for other reasons
_COPY = late(rf'^  (%[\w.]+) = call i\d+ asm "", "=r,0"\(i\d+ (%[\w.]+)\) #2 {MARK}$', re.MULTILINE)
_DEFINITION = late(r"  (%[\w.]+) = (\w+) ?(.*)")
_LABEL = late(r"([\w.]+):")
_TARGET = late(r"label %([\w.]+)")
_LOCAL = late(r"%l\d")
_LOCAL_ALLOCA = late(r"  (%l\d+) = alloca \w+")
_LOCAL_LOAD = late(r"  (%[\w.]+) = load \w+, ptr (%l\d+)")
_LOCAL_STORE = late(r"  store \w+ ([^ ,]+), ptr (%l\d+)")
_NAME = late(r"%[\w.]+")
_PARAMETER = late(r"%p\d+")
_FUNCTION = late(r"@[\w.]+\(")
_COMPUTES = frozenset("add sub mul and or xor shl lshr ashr zext sext trunc icmp select".split())
# So much is looked at in a function: then all further copies stay.
_MOST_STEPS = 100_000


def without_needless_copies(text: str) -> str:
    """A function without the copies that it does not need."""
    copies = {match[1]: match[2] for match in _COPY.finditer(text)}
    if not copies:
        return text
    origins = _Origins(text, copies)
    needless = {name: value for name, value in copies.items() if not origins.has_load(value)}
    if not needless:
        return text

    def used(match: re.Match[str]) -> str:
        name = match[0]
        while name in needless:
            name = needless[name]
        return name

    text = _COPY.sub(lambda match: "" if match[1] in needless else match[0], text)
    return _NAME.sub(used, text)


class _Block:
    """A basic block: from where it is reached, and what it stores to locals, as (line, local, value)."""

    __slots__ = ("predecessors", "stores")

    def __init__(self) -> None:
        self.predecessors: list[str] = []
        self.stores: list[tuple[int, str, str]] = []

    def last_store(self, local: str, before: int | None) -> str | None:
        """The value that the local has at that line, or at the end, if it is stored here."""
        for line, stored, value in reversed(self.stores):
            if stored == local and (before is None or line < before):
                return value
        return None


class _Origins:
    """What the values of a function are made of."""

    def __init__(self, text: str, copies: dict[str, str]) -> None:
        self._steps = 0
        self._harmless: set[str] = set()  # what was found to come from no load
        # Values -> those that they are made of; None: of something that counts as a load.
        self._made_of: dict[str, list[str] | None] = {}
        self._loads: dict[str, tuple[str, int, str]] = {}  # of locals: value -> its block, line, and the local
        self._unknown_locals: set[str] = set()
        self._blocks: dict[str, _Block] = {"": _Block()}
        # One that calls itself may become a loop, around which parameters have what it calls itself with.
        name = _FUNCTION.search(text)
        self._knows_parameters = name is not None and text.count(name[0]) == 1
        edges: list[tuple[str, str]] = []
        label = ""
        for number, line in enumerate(text.split("\n")):
            if (named := _LABEL.match(line)) is not None:
                label = named[1]
                self._blocks[label] = _Block()
                continue
            if "label %" in line:
                edges += [(label, target) for target in _TARGET.findall(line)]
            self._take(number, line, label)
        self._made_of.update({name: [value] for name, value in copies.items()})
        for source, target in edges:
            self._blocks[target].predecessors.append(source)

    def _take(self, number: int, line: str, label: str) -> None:
        definition = _DEFINITION.fullmatch(line)
        if definition is not None:
            name, operation, operands = definition.groups()
            if operation == "phi":
                self._made_of[name] = [value for value in INCOMING.findall(operands) if value[0] == "%"]
            else:
                self._made_of[name] = _NAME.findall(operands) if operation in _COMPUTES else None
        if _LOCAL.search(line) is None:
            return
        if (load := _LOCAL_LOAD.fullmatch(line)) is not None:
            self._loads[load[1]] = label, number, load[2]
        elif (store := _LOCAL_STORE.fullmatch(line)) is not None:
            self._blocks[label].stores.append((number, store[2], store[1]))
        elif _LOCAL_ALLOCA.fullmatch(line) is None:  # it may be written to in another way
            self._unknown_locals.update(_NAME.findall(line))

    def has_load(self, value: str) -> bool:
        """Whether a value may come from a load."""
        seen: set[str] = set()
        waiting = [value]
        while waiting:
            name = waiting.pop()
            if name[0] != "%" or name in seen or name in self._harmless:
                continue
            seen.add(name)
            found = self._stored(*self._loads[name]) if name in self._loads else self._made_of.get(name)
            if found is not None:
                waiting += found
            elif name in self._made_of or not self._is_parameter(name):
                return True
        self._harmless |= seen
        return False

    def _is_parameter(self, name: str) -> bool:
        return self._knows_parameters and _PARAMETER.fullmatch(name) is not None

    def _stored(self, label: str, before: int, local: str) -> list[str] | None:
        """What a local may have at a line of a block."""
        if local in self._unknown_locals:
            return None
        value = self._blocks[label].last_store(local, before)
        if value is not None:
            return [value]
        values: list[str] = []
        seen: set[str] = set()
        waiting = list(self._blocks[label].predecessors)
        while waiting:
            label = waiting.pop()
            if label in seen:
                continue
            seen.add(label)
            block = self._blocks[label]
            self._steps += 1 + len(block.stores)
            if self._steps > _MOST_STEPS:
                return None
            value = block.last_store(local, None)
            if value is None:
                waiting += block.predecessors
            else:
                values.append(value)
        return values
