"""The processors that stencils are made for: what code of the tier keeps its values in, and in which convention.

One build makes the stencils of one of them. Which that is, is said once, by `use`: all texts are for that one.
"""

from __future__ import annotations

from typing import NamedTuple

FLOAT_TYPE = "<4 x float>"


class Machine(NamedTuple):
    """`parameters`: registers, in the order of the convention's parameters: the name, and LLVM's type. `held`: those
    that the convention has no parameters for: LLVM is told that they are set at the start, and read at the end.
    `held_high`: those that are held in code with floats only: other code does not use them (cut.py looks), and with
    many held, LLVM allocates registers of integers one way here and another there. `unused`: parameters that stencils
    may use for a while. `integer_registers` and `float_registers`: what values are kept in, by the number that
    instructions have it by."""

    name: str
    triple: str
    cpu: str  # the least that code of this tier is made for; without it there is none
    convention: str
    parameters: tuple[tuple[str, str], ...]
    held: tuple[tuple[str, str], ...]
    held_high: tuple[tuple[str, str], ...]
    unused: frozenset[str]
    integer_registers: dict[str, int]
    float_registers: dict[str, int]
    float_constraint: str  # of assembly: a register of floats

    @property
    def is_x86(self) -> bool:
        return self.name == "x86_64"

    @property
    def header(self) -> str:
        """The name of the file that C includes."""
        return "wj_stencils.h" if self.is_x86 else f"wj_stencils_{self.name}.h"


_X86_INTEGERS = (
    ("r13", "i64"),
    ("frame", "ptr"),  # rbp
    ("r12", "i64"),
    ("vmctx", "ptr"),  # rbx
    ("r14", "i64"),
    ("base", "ptr"),  # rsi: of memory 0
    ("spare", "ptr"),  # rdi
    ("r8", "i64"),
    ("r9", "i64"),
    ("r15", "i64"),
)
# LLVM has the other five for what a text has in between.
_X86_FLOATS = {f"xmm{number}": number for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 14)}
# Every x86-64 processor since 2009. The three low bits of a register are in a field each, and the fourth of those of
# floats is in one of its own.
X86_64 = Machine(
    name="x86_64",
    triple="x86_64-unknown-linux-gnu",
    cpu="x86-64-v2",
    convention="ghccc",
    parameters=(*_X86_INTEGERS, *((f"xmm{number}", FLOAT_TYPE) for number in range(1, 7))),
    held=(("r10", "i64"), ("r11", "i64"), ("xmm7", FLOAT_TYPE)),
    held_high=tuple((name, FLOAT_TYPE) for name, number in _X86_FLOATS.items() if number > 7),
    unused=frozenset(),
    integer_registers={"r12": 12, "r13": 13, "r14": 14, "r15": 15, "r8": 8, "r9": 9, "r11": 11, "r10": 10},
    float_registers=_X86_FLOATS,
    float_constraint="x",
)

_SAVED = tuple(f"r{number}" for number in range(20, 25))
_CHANGED = tuple(f"r{number}" for number in range(10, 14))
_ARGUMENTS = tuple(f"r{number}" for number in range(8))
AARCH64 = Machine(
    name="aarch64",
    triple="aarch64-unknown-linux-gnu",
    cpu="generic",
    convention="preserve_nonecc",
    parameters=(
        *((name, "i64") for name in _SAVED),
        ("spare", "ptr"),  # x25
        ("base", "ptr"),  # x26
        ("vmctx", "ptr"),  # x27
        ("frame", "ptr"),  # x28
        *((name, "i64") for name in (*_ARGUMENTS, *_CHANGED)),
        *((f"v{number}", FLOAT_TYPE) for number in range(8)),
    ),
    # What callers have in these is theirs.
    held=tuple((f"v{number}", "double") for number in range(8, 16)),
    held_high=(),
    unused=frozenset((*_ARGUMENTS, "v0")),
    integer_registers={name: int(name[1:]) for name in (*_SAVED, *_CHANGED)},
    float_registers={f"v{number}": number for number in range(1, 8)},
    float_constraint="w",
)
MACHINES = {machine.name: machine for machine in (X86_64, AARCH64)}

_used = [X86_64]


def current() -> Machine:
    """The one that texts are for."""
    return _used[-1]


def use(name: str) -> Machine:
    """From now on, texts are for this one."""
    _used[-1] = MACHINES[name]
    return _used[-1]
