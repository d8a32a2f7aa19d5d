"""What keeps LLVM's time in proportion to its input: it has passes that take the square, or worse, of some shapes.

Shapes that are known are found in the text (`simplify`); such a function is compiled as without optimisation, the
others of its unit are not. For all others each request has a budget of processor time, in proportion to the bytes of
text and some times what code of compilers takes. The system ends a worker that has used it up, and the request is done
again at a quicker level (`quicker`). Both depend on the input alone, but for code that takes close to its budget.

Used by both sides, the compiler and its workers.
"""

from __future__ import annotations

import contextlib
import math
import re
import resource
import signal
from typing import Any

# Lines in one block, and stores to memory in one block. Code of compilers has up to 500 lines. The machine scheduler
# and the merging of stores take the square of the stores, or more (2,000 pairs of loads and stores: 9 s); the
# reassociation of expressions and others that of the lines (48,000: 75 s).
MOST_BLOCK_LINES = 12_000
MOST_BLOCK_STORES = 1_000
# Operands of one call or of a function's head: what is passed on the stack is stored (1,000 of them: 25 s).
MOST_OPERANDS = 300

_BLOCK_STORE = re.compile(r"^  store (?!.*, ptr %l\d)")
_BASE_SECONDS = 1.0
_SECONDS_PER_BYTE = 6e-6
_LAST_BASE_SECONDS = 20.0
_LAST_SECONDS_PER_BYTE = 40e-6
_LAST = "none"

# How a process ends that has used up its processor time.
OUT_OF_TIME = -signal.SIGXCPU


def simplify(text: str) -> str:
    """The text with functions that LLVM would take long for marked as not to be optimised."""
    found = _tangled(text.split("\n"))
    if not found:
        return text
    lines = text.split("\n")
    for number in found:
        lines[number] = lines[number].replace(" #0 ", " #0 optnone ", 1)
    return "\n".join(lines)


def _tangled(lines: list[str]) -> list[int]:
    """The lines with the heads of such functions."""
    found = []
    head = start = -1
    stores = 0
    is_tangled = False
    for number, line in enumerate(lines):
        if line[:2] == "  ":
            if line[2:8] == "store " and _BLOCK_STORE.match(line):
                stores += 1
            elif "call " in line[:60] and len(line) > 8 * MOST_OPERANDS and line.count(", ") > MOST_OPERANDS:
                is_tangled = True
            continue
        if head >= 0 and (number - start > MOST_BLOCK_LINES or stores > MOST_BLOCK_STORES):
            is_tangled = True
        if line[:7] == "define ":
            head = number
            is_tangled = line.count(", ") > MOST_OPERANDS
        elif line[:1] == "}":
            if is_tangled and head >= 0:
                found.append(head)
            head, is_tangled = -1, False
        start, stores = number, 0
    return found


def budget_seconds(opt_level: str, text_bytes: int) -> float:
    """The processor time that compiling so much text may take."""
    if opt_level == _LAST:
        return _LAST_BASE_SECONDS + _LAST_SECONDS_PER_BYTE * text_bytes
    return _BASE_SECONDS + _SECONDS_PER_BYTE * text_bytes


def quicker(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The request to make when this one took too long; None if there is none."""
    if fields["output"] == "target" or fields["opt_level"] == _LAST:
        return None
    return {**fields, "opt_level": _LAST}


def with_budget(fields: dict[str, Any], text_bytes: int) -> dict[str, Any]:
    """The fields of a request, with what it may take."""
    if fields["output"] == "target":
        return fields
    return {**fields, "cpu_seconds": budget_seconds(fields["opt_level"], text_bytes)}


def begin(fields: dict[str, Any]) -> None:
    """In a worker: bounds what the request that it begins with now may take. The sender sees it die."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + fields["cpu_seconds"]))
    _set(resource.RLIMIT_CORE, 0)
    if fields.get("memory_bytes"):
        _set(resource.RLIMIT_AS, fields["memory_bytes"])


def _set(limit: int, value: int) -> None:
    """Sets a soft limit, as far as the hard one goes."""
    _, hard = resource.getrlimit(limit)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
