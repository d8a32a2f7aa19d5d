"""Makes a function of `loops_tree` that shows a fault as small as it gets, while it still shows that fault.

`reduce` tries, over and over, to leave out statements, to replace expressions by their operands or by constants, to
take loops apart, and to make constants and arguments simpler; it keeps what the predicate accepts. Masked indices that
were vectorised wrongly ended at 8 lines of text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from .loops_make import Arguments
from .loops_tree import PARAMS, STRUCTURED, Function, Node, const, get, size, type_of, walk

Predicate = Callable[[Function, Arguments], bool]


def reduce(
    function: Function, arguments: Arguments, is_faulty: Predicate, seconds: float = 120.0
) -> tuple[Function, Arguments]:
    """The smallest that was found within the time. `is_faulty` holds for what is given."""
    deadline = time.monotonic() + seconds
    before = -1
    while before != (before := _weight(function, arguments)):
        arguments = _simpler_arguments(function, arguments, is_faulty, deadline)
        function = _without_chunks(function, arguments, is_faulty, deadline)
        function = _rewritten(function, arguments, is_faulty, deadline)
        function = without_unused(function)
        if time.monotonic() > deadline:
            break
    return function, arguments


def _weight(function: Function, arguments: Arguments) -> int:
    constants = sum(len(str(n.immediates)) for s in (*function.body, function.result) for n in walk(s) if n.immediates)
    return 1000 * size(function) + constants + sum(value not in (0, 1) for value in arguments)


def without_unused(function: Function) -> Function:
    """Without locals that nothing mentions."""
    used = {
        node.immediates[0]
        for statement in (*function.body, function.result)
        for node in walk(statement)
        if node.op.startswith("local.")
    }
    return function._replace(locals={name: t for name, t in function.locals.items() if name in used})


def _simpler_arguments(function: Function, arguments: Arguments, is_faulty: Predicate, deadline: float) -> Arguments:
    for position in range(len(arguments)):
        for value in (0, 1, 8, 16, 32, 64, 128, 256, 1024, 4096):
            trial: Arguments = (  # type: ignore[assignment]
                *arguments[:position],
                float(value) if position == 5 else value,
                *arguments[position + 1 :],
            )
            if trial == arguments or time.monotonic() > deadline:
                break
            if is_faulty(function, trial):
                arguments = trial
                break
    return arguments


def _without_chunks(function: Function, arguments: Arguments, is_faulty: Predicate, deadline: float) -> Function:
    """Without runs of statements, long ones first; at the top level and then inside."""
    paths: list[tuple[int, ...]] = [()]
    while paths:
        path = paths.pop(0)
        length = len(_children(function, path))
        chunk = length
        while chunk:
            start = 0
            while start + chunk <= len(_children(function, path)) and time.monotonic() < deadline:
                trial = _with_children(
                    function,
                    path,
                    lambda kids, at=start, n=chunk: kids[:at] + kids[at + n :],  # type: ignore[misc]
                )
                if trial is not None and is_faulty(trial, arguments):
                    function = trial
                else:
                    start += 1
            chunk //= 2
        for index, node in enumerate(_children(function, path)):
            if node.op in (*STRUCTURED, "then", "else"):
                paths.append((*path, index))
    return function


def _children(function: Function, path: Sequence[int]) -> tuple[Node, ...]:
    kids = function.body
    for index in path:
        if index >= len(kids):
            return ()
        kids = kids[index].operands
    return kids


def _with_children(
    function: Function, path: Sequence[int], change: Callable[[tuple[Node, ...]], tuple[Node, ...]]
) -> Function | None:
    def changed(kids: tuple[Node, ...], rest: Sequence[int], owner: str) -> tuple[Node, ...]:
        if not rest:
            new = change(kids)
            if owner == "if" and (not new or new[0] is not kids[0] or len(new) < 2):
                raise ValueError
            return new
        inner = kids[rest[0]]
        inner = inner._replace(operands=changed(inner.operands, rest[1:], inner.op))
        return (*kids[: rest[0]], inner, *kids[rest[0] + 1 :])

    try:
        return function._replace(body=changed(function.body, path, ""))
    except (ValueError, IndexError):
        return None


def _rewritten(function: Function, arguments: Arguments, is_faulty: Predicate, deadline: float) -> Function:
    """With each node replaced by something simpler, where that is possible."""
    types = {**PARAMS, **function.locals}
    position = 0
    whole = Node("body", (), (*function.body, function.result))
    while position < sum(1 for _ in walk(whole)) and time.monotonic() < deadline:
        for trial in _at(whole, position, types):
            *body, result = trial.operands
            candidate = function._replace(body=tuple(body), result=result)
            if is_faulty(candidate, arguments):
                whole, function = trial, candidate
                break
        else:
            position += 1
    return function


def _at(whole: Node, position: int, types: dict[str, str]) -> Iterator[Node]:
    """The tree with the node at a position (as `walk` counts) replaced, in all ways there are."""
    path: list[int] = []
    node = whole
    left = position
    while left:
        left -= 1
        for index, operand in enumerate(node.operands):
            below = sum(1 for _ in walk(operand))
            if left < below:
                path.append(index)
                node = operand
                break
            left -= below
    if not path:
        return
    is_result = len(path) == 1 and path[0] == len(whole.operands) - 1
    for replacement in simpler(node, types):
        if is_result and len(replacement) != 1:
            continue
        trial = _put(whole, path, replacement)
        if trial is not None:
            yield trial


def _put(node: Node, path: Sequence[int], replacement: Sequence[Node]) -> Node | None:
    index = path[0]
    if len(path) > 1:
        below = _put(node.operands[index], path[1:], replacement)
        if below is None:
            return None
        replacement = [below]
    elif len(replacement) != 1 and node.op not in ("body", "block", "loop", "then", "else"):
        return None
    return node._replace(operands=(*node.operands[:index], *replacement, *node.operands[index + 1 :]))


def simpler(node: Node, types: dict[str, str]) -> Iterator[Sequence[Node]]:
    """What may stand in the node's place, smallest first: one expression, or any number of statements."""
    instruction, immediates, operands = node
    if instruction in ("then", "else"):
        return
    if instruction in STRUCTURED:
        yield from _opened(node)
        return
    valtype = type_of(node, types)
    if not valtype:
        if ".store" in instruction:
            yield from _simpler_access(node)
            if instruction not in ("i32.store8", "f32.store", "f64.store"):
                yield [node._replace(op="i32.store8", immediates=(immediates[0], 0), operands=_narrow(node, types))]
        return
    if not instruction.endswith(".const"):
        for value in (0, 1):
            yield [Node(f"{valtype}.const", (float(value),)) if valtype[0] == "f" else const(valtype, value)]
        for operand in operands:
            if type_of(operand, types) == valtype:
                yield [operand]
        if instruction != "local.get":
            for name in [*PARAMS, *types]:
                if types[name] == valtype and name[0] in "nabir":
                    yield [get(name)]
    else:
        yield from ([smaller] for smaller in _simpler_const(valtype, immediates[0]))
    if ".load" in instruction:
        yield from _simpler_access(node)


def _narrow(node: Node, types: dict[str, str]) -> tuple[Node, ...]:
    address, value = node.operands
    have = type_of(value, types)
    if have == "i64":
        value = Node("i32.wrap_i64", (), (value,))
    elif have[0] == "f":
        value = Node(f"i32.trunc_sat_{have}_s", (), (value,))
    return address, value


def _simpler_access(node: Node) -> Iterator[Sequence[Node]]:
    offset, align = node.immediates
    for better in ((0, align), (1024, align), (offset, 0)):
        if better != (offset, align) and (better[0] != 1024 or offset > 1024):
            yield [node._replace(immediates=better)]


def _simpler_const(valtype: str, value: float) -> Iterator[Node]:
    if valtype[0] == "f":
        for number in (0.0, 1.0):
            if value not in (0.0, 1.0):
                yield Node(f"{valtype}.const", (number,))
        return
    for number in (0, 1, -1, 3, 7, 8, 64, 255, int(value) // 2):
        if abs(number) < abs(value):
            yield const(valtype, number)


def _opened(node: Node) -> Iterator[Sequence[Node]]:
    """A block, loop or if as the statements in it, where no branch leads to it."""
    label = node.immediates[0]
    targets = [n for n in walk(node) if n.op in ("br", "br_if") and n.immediates[0] == label]
    operands = node.operands
    if node.op == "if":
        parts = [part.operands for part in operands[1:]]
        if not targets:
            yield from parts
        if len(parts) == 2:
            yield [node._replace(operands=operands[:2])]
        return
    if not targets:
        yield operands
    elif node.op == "block":  # without its last branches
        rest = tuple(n for n in operands if not (n.op == "br_if" and n.immediates[0] == label))
        if len(rest) != len(operands):
            yield [node._replace(operands=rest)]
