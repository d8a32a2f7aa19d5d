"""What keeps LLVM's time in proportion to its input: it has passes that take the square, or worse, of some shapes.

Functions of such shapes are found in their text (`is_tangled`) and compiled as units of their own, without any pass
of the optimiser and in short blocks (`short_blocks`). For all others each request has a budget of processor time, in
proportion to the bytes of text and some times what code of compilers takes. The system ends a worker that has used it
up, and the request is done again at a quicker level (`quicker`). Both depend on the input alone, but for code that
takes close to its budget.

What is left of tangled functions is LLVM's memory: it makes several hundred bytes of each line. Those for which that
would be out of proportion to their bytes are left to the interpreter (`is_left`), where that can run them.

Used by both sides, the compiler and its workers.
"""

from __future__ import annotations

import contextlib
import math
import resource
from collections import Counter
from typing import TYPE_CHECKING, Any

from .patterns import late

if TYPE_CHECKING:
    from signal import SIGXCPU
else:
    from _signal import SIGXCPU  # `signal` makes enumerations of all that it has, which a worker would wait for

# What LLVM takes the square of, or more, and how much of it functions of real programs have. The latter were counted in
# the 440 functions above 10 kB of SQLite, QuickJS, PHP, CPython, Ruby, GCC and others (docs/rationale.md).
#
# Lines in one block: the reassociation of expressions and others (48,000: 75 s). At most 17,000, in functions that only
# initialise; else below.
MOST_BLOCK_LINES = 12_000
# Stores to memory in one block: the machine scheduler and the merging of stores (2,000 pairs of loads and stores: 9 s).
MOST_BLOCK_STORES = 1_000
# Operands of one call or of a function's head: what is passed on the stack is stored (1,000 of them: 25 s).
MOST_OPERANDS = 300
# Operands and results of all calls, which one instruction each passes: 3,500 calls, 100 kB, took 470 MB and 5 s. Up to
# 33,000 of them, but not as dense: one in 249 bytes, but for functions of 7,750.
MOST_CARRIED = 8_000
LEAST_BYTES_A_CARRIED = 140
# Blocks that several branches lead to, and blocks that set the same local: what was set before one is known behind the
# next, which InstCombine and SimplifyCFG carry on through all of them (2,300: 7 to 20 s). Up to 11,700 of them, and
# 6,400, but not as dense: one in 450, and in 590, bytes of text.
MOST_JOINS = 400
LEAST_BYTES_A_JOIN = 400
# Blocks: SimplifyCFG folds comparisons into those before (200,000 of `if (p == i) return i`: minutes). Up to 34,000,
# but not as dense: one in 150 bytes, but for a function of 1,400.
MOST_BLOCKS = 2_000
LEAST_BYTES_A_BLOCK = 120
# Loops: each pass over one updates the dominators of all (1,500: 5 s). At most 288; 139 in 11 kB of wasm.
_LOOP_BYTES = 0.25
# Checks that trap: CodeGenPrepare begins again when one goes (2,000 indirect calls: 5 s). Up to 1,700 of them, but not
# as dense: one in 1,160 bytes.
MOST_CHECKS = 1_000
LEAST_BYTES_A_CHECK = 800

# No function of real programs is as long (12,200,000).
MOST_FUNCTION_BYTES = 16_000_000

# What LLVM takes at most for a line of a tangled function's text, all stages together (measured: 450 to 1,080), and
# what it may take for each byte of the function's body, and for any.
_MEMORY_BYTES_A_LINE = 1100
MOST_MEMORY_PER_BYTE = 200
MOST_MEMORY_BYTES = 64 << 20
# So many times as many lines are too many even if the function is not tangled, and no more of them are made. No
# function of real programs has two thirds of that.
_MOST_EXCESS = 3

# A function that makes more of them is refused where its text gets that long: the interpreter cannot run it. No
# function of real programs makes a hundredth of them.
MOST_TAIL_CALLS = 5_000

_EDGES_A_LINE = 4
_LINES_A_CALL = 5  # and its own

_LEAST_BYTES_A_LINE = 15
_STORE = "  store "  # to memory, if it is none to a local
_LOCAL = ", ptr %l"
_LOCAL_STORE = late(r", ptr (%l\d+)$")
_CHECK = ", !prof !3\n"
_LOOP_LABEL = "\nb"  # among others
_TARGET = late(r"label %(\w+)")
_FUNCTION_START = "define "
_INCOMING = late(r"%([\w.]+) \]")
_BLOCK_LINES = 400
# Four to seven times what kernels take (430 kB of text: 1.0 to 1.7 s, in turns with other work): where the processor is
# slow, or others use its caches, their code would be worse, and stay in the cache.
_BASE_SECONDS = 2.0
_SECONDS_PER_BYTE = 12e-6
_LAST_BASE_SECONDS = 20.0
_LAST_SECONDS_PER_BYTE = 40e-6
PLAIN = "plain"  # the opt level of such functions
_LAST = ("none", PLAIN)

_INHERITED_ADDRESS_SPACE = resource.getrlimit(resource.RLIMIT_AS)[0]
# How a process ends that has used up its processor time.
OUT_OF_TIME = -SIGXCPU


def may_be_tangled(*, lines: int, edges: int, sets: int, loops: int, checks: int, operands: int, carried: int) -> bool:
    """Whether `is_tangled` is to be asked about a function, by what was counted when it was made; at no cost.

    `edges`: of branches and tables; `sets`: of locals, one a block; `checks`: that trap; `operands`: most of any call;
    `carried`: operands and results of all calls.
    """
    return (
        operands > MOST_OPERANDS
        or carried > MOST_CARRIED
        or lines > MOST_BLOCK_STORES
        or max(edges // 2, sets) > MOST_JOINS
        or checks > MOST_CHECKS
        or loops**2 > _LOOP_BYTES * _LEAST_BYTES_A_LINE * lines
    )


def is_tangled(text: str, operands: int = 0, carried: int = 0) -> bool:
    """Whether LLVM would take out of proportion to optimise a function; `operands` and `carried` as above."""
    if operands > MOST_OPERANDS or len(text) > MOST_FUNCTION_BYTES:
        return True
    if carried > MOST_CARRIED and carried * LEAST_BYTES_A_CARRIED > len(text):
        return True
    checks, loops = text.count(_CHECK), text.count(_LOOP_LABEL)
    branches, sets = text.count("label %"), text.count(_LOCAL)
    # What may be true is looked at; these are much quicker to count.
    lines = text.split("\n")
    blocks = text.count(":\n")
    return (
        (checks > MOST_CHECKS and checks * LEAST_BYTES_A_CHECK > len(text))
        or (blocks > MOST_BLOCKS and blocks * LEAST_BYTES_A_BLOCK > len(text))
        or (loops**2 > _LOOP_BYTES * len(text) and _num_loops(lines) ** 2 > _LOOP_BYTES * len(text))
        or (_are_many(max(branches // 2, sets), text) and _has_many_joins(lines, text))
        or (len(lines) > MOST_BLOCK_LINES and _has_long_block(lines, "  ", MOST_BLOCK_LINES))
        or (text.count("\n  store ") > MOST_BLOCK_STORES and _has_long_block(lines, _STORE, MOST_BLOCK_STORES))
    )


def most_lines(body_bytes: int) -> int:
    """How many lines the text of a tangled function may have."""
    return (MOST_MEMORY_BYTES + MOST_MEMORY_PER_BYTE * body_bytes) // _MEMORY_BYTES_A_LINE


def most_lines_begun(body_bytes: int) -> int:
    """How many lines are made of a function before it is left to the interpreter without a look at them."""
    return _MOST_EXCESS * most_lines(body_bytes)


def is_left(text: str, body_bytes: int, *, tangled: bool) -> bool:
    """Whether LLVM would take memory out of proportion for a function: for one that is not tangled, by far."""
    most = most_lines(body_bytes) if tangled else most_lines_begun(body_bytes)
    if len(text) < _LEAST_BYTES_A_LINE * most:
        return False
    # A switch is one line for LLVM's parser only, and phis have operands for each edge.
    cases = text.count(", label %") - 2 * text.count("  br i1 ")
    calls = text.count(" call ") - text.count(" call void asm ") - text.count(" @llvm.") if tangled else 0
    return text.count("\n") + cases + text.count(" ], [ ") // _EDGES_A_LINE + _LINES_A_CALL * calls > most


def _are_many(joins: int, text: str) -> bool:
    return joins > MOST_JOINS and joins * LEAST_BYTES_A_JOIN > len(text)


def _has_many_joins(lines: list[str], text: str) -> bool:
    reached: list[str] = []  # counted together, which takes a tenth of the time
    setters: list[str] = []
    stored: set[str] = set()
    for line in lines:
        if line[:2] != "  ":
            setters += stored
            stored.clear()
        elif line[2:5] == "br " or line[2:8] == "switch":
            reached += _TARGET.findall(line)
        elif line[2:8] == "store " and (place := _LOCAL_STORE.search(line)):
            stored.add(place[1])
    setters += stored
    joins = sum(1 for count in Counter(reached).values() if count > 1)
    return _are_many(max((joins, *Counter(setters).values())), text)


def _num_loops(lines: list[str]) -> int:
    begun: set[str] = set()
    loops: set[str] = set()
    for line in lines:
        if line[:1] == "b":
            begun.add(line[:-1])
        elif line[2:5] == "br " or line[2:8] == "switch":
            loops.update(begun.intersection(_TARGET.findall(line)))
    return len(loops)


def _has_long_block(lines: list[str], beginning: str, most: int) -> bool:
    """Whether a block has more lines that begin so, stores to locals left out."""
    count = 0
    for line in lines:
        if line[:2] != "  ":
            count = 0
        elif line.startswith(beginning) and not (beginning == _STORE and _LOCAL_STORE.search(line)):
            count += 1
            if count > most:
                return True
    return False


def short_blocks(text: str) -> str:
    """A generated module whose blocks are no longer than some hundred lines.

    The code generator takes the square of a block, too: calls, and where values are that two-address instructions need.
    """
    lines = text.split("\n")
    renamed: dict[str, str] = {}  # block -> what its last part is called
    label, start, count = "entry", 0, 0
    phis: list[int] = []
    is_inside = False
    for number, line in enumerate(lines):
        if line[:2] != "  ":
            start = number
            if line[-1:] == ":":
                label = line[:-1]
            elif line[:1] == "}":
                is_inside = False
                for phi in phis if renamed else ():
                    lines[phi] = _renamed(lines[phi], renamed)
                renamed, phis = {}, []
            elif line[:7] == _FUNCTION_START:
                is_inside = True
        elif " = phi " in line[:60]:
            phis.append(number)
        elif " = alloca " in line[:40]:
            start = number  # those of the first block are the frame's
        elif number - start > _BLOCK_LINES and is_inside:
            count += 1
            renamed[label] = f"short{count}"
            lines[number] = f"  br label %short{count}\nshort{count}:\n{line}"
            start = number
    return "\n".join(lines)


def _renamed(phi: str, renamed: dict[str, str]) -> str:
    return _INCOMING.sub(lambda match: f"%{renamed.get(match[1], match[1])} ]", phi)


def budget_seconds(opt_level: str, text_bytes: int) -> float:
    """The processor time that compiling so much text may take."""
    if opt_level in _LAST:
        return _LAST_BASE_SECONDS + _LAST_SECONDS_PER_BYTE * text_bytes
    return _BASE_SECONDS + _SECONDS_PER_BYTE * text_bytes


def quicker(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The request to make when this one took too long; None if there is none."""
    if fields["output"] == "target" or fields["opt_level"] in _LAST:
        return None
    return {**fields, "opt_level": "none"}


def with_budget(fields: dict[str, Any], text_bytes: int) -> dict[str, Any]:
    """The fields of a request, with what it may take."""
    if fields["output"] == "target":  # compiles nothing of the user's, to which alone `memory_bytes` applies
        return {**fields, "cpu_seconds": _LAST_BASE_SECONDS, "memory_bytes": None}
    return {**fields, "cpu_seconds": budget_seconds(fields["opt_level"], text_bytes)}


def begin(fields: dict[str, Any]) -> None:
    """In a worker: bounds what the request that it begins with now may take. The sender sees it die.

    Raises MemoryError if the process has more memory than it may have: the system would let it go on with that.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + fields["cpu_seconds"]))
    _set(resource.RLIMIT_CORE, 0)
    # Of each request by itself: what bounded the last one is not to end this one, which may be of another Engine.
    memory_bytes = fields.get("memory_bytes")
    _set(resource.RLIMIT_AS, memory_bytes or _INHERITED_ADDRESS_SPACE)
    if memory_bytes and _address_space_bytes() > memory_bytes:
        raise MemoryError(f"a compiler takes {_address_space_bytes()} bytes of address space before it begins")


def _address_space_bytes() -> int:
    """What the process has now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _set(limit: int, value: int) -> None:
    """Sets a soft limit, as far as the hard one goes."""
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        value = hard if value == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(limit, (value, hard))
