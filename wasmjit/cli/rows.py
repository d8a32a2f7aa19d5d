"""Options of commands as data: each declared once, read by two parsers.

`parse_quickly` is for the command lines that are run most (``wasmjit run ...``): it imports nothing and understands
only what is plainly right. Everything else (help, mistakes, completion) is click's, for which `click_commands` makes
the same rows into click options. Importing click takes longer than a cached module takes to start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

SIZE_SUFFIXES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# Seconds per unit of a duration.
DURATION_SUFFIXES = (("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("s", 1.0), ("m", 60.0), ("", 1.0))

# A setting is (where it goes, value): the name of a Config option, or `run.` and the name of an argument of `run`.
Setting = tuple[str, Any]


class HelpWanted(Exception):
    """The value of an option asks for a list of what there is: ``-W help``. Its argument is the text."""


class Row:
    """An option: `flags` (``-O``, ``--optimize``), and `name`, under which the parsed arguments have it.

    `kind` makes the value of its text, and raises ValueError with a reason; None: the option is a flag. `repeated`
    ones collect values in a list. `choices` are the words that completion offers, or a function of what was typed.
    """

    __slots__ = ("choices", "flags", "help", "kind", "metavar", "name", "repeated", "section")

    def __init__(
        self,
        *flags: str,
        help: str,
        kind: Callable[[str], Any] | None = None,
        metavar: str | None = None,
        repeated: bool = False,
        name: str | None = None,
        section: str = "Options",
        choices: Sequence[str] | Callable[[str], Sequence[str]] = (),
    ) -> None:
        self.flags = flags
        self.name = name or max(flags, key=len).lstrip("-").replace("-", "_")
        self.help = help
        self.kind = kind
        self.metavar = metavar
        self.repeated = repeated
        self.section = section
        self.choices = choices

    def default(self) -> Any:
        """The value where the option is not given."""
        return [] if self.repeated else False if self.kind is None else None


MOST = (1 << 64) - 1
MOST_SECONDS = 1_000_000_000  # some 31 years


def integer(text: str) -> int:
    """A number that is not negative and has at most 64 bits, also hexadecimal."""
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"{text!r} is not a number")
    if number > MOST:
        raise ValueError(f"{text!r} is more than {MOST}")
    return number


def positive(text: str) -> int:
    """A number from 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise ValueError(f"{text!r} is not a positive number")
    return number


def size_bytes(text: str) -> int:
    """A number of bytes, with an optional suffix ``k``, ``m`` or ``g`` (powers of 1024; also ``MiB``, ``Mi``).

    >>> size_bytes("64k"), size_bytes("2GiB"), size_bytes("0x100")
    (65536, 2147483648, 256)
    """
    word = text if text[:2].lower() == "0x" else text.removesuffix("B").removesuffix("i")
    digits = word if word[:2].lower() == "0x" else word.rstrip("kKmMgG")
    try:
        number = int(digits, 0) * SIZE_SUFFIXES[word[len(digits) :].lower()]
        if number >= 0:
            return number
    except (ValueError, KeyError):
        pass
    raise ValueError(f"{text!r} is not a size such as 65536, 512k or 4g")


def duration_seconds(text: str) -> float:
    """A duration in seconds, with an optional unit: ``1.5``, ``2s``, ``100ms``, ``5m``.

    >>> duration_seconds("100ms"), duration_seconds("2")
    (0.1, 2.0)
    """
    for suffix, factor in DURATION_SUFFIXES:
        if text.endswith(suffix):
            try:
                seconds = float(text[: len(text) - len(suffix)]) * factor
            except ValueError:
                break
            if MOST_SECONDS < seconds < float("inf"):
                raise ValueError(f"{text!r} is more than {MOST_SECONDS} seconds")
            if 0 < seconds <= MOST_SECONDS:
                return seconds
            break
    raise ValueError(f"{text!r} is not a duration such as 1.5, 2s or 100ms")


def one_of(*words: str) -> Callable[[str], str]:
    """A kind whose values are `words`."""

    def kind(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return kind


def parse_quickly(rows: Sequence[Row], words: Sequence[str]) -> SimpleNamespace | None:
    """The arguments of a command that takes options, FILE, and words for the program; None: click has to look.

    Attributes are those of the rows, `file` and `arguments`.
    """
    by_flag = {flag: row for row in rows for flag in row.flags}
    values = {row.name: row.default() for row in rows}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-") or word == "-":
            position -= 1
            break
        if word == "--":
            break
        flag, equals, text = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        row = by_flag.get(flag)
        if row is None or (row.kind is None and equals):
            return None
        if row.kind is None:
            values[row.name] = True
            continue
        if not equals:
            if position == len(words):
                return None
            text = words[position]
            position += 1
        try:
            value = row.kind(text)
        except (ValueError, HelpWanted):
            return None
        if row.repeated:
            values[row.name].append(value)
        else:
            values[row.name] = value
    if position >= len(words):
        return None
    return SimpleNamespace(**values, file=words[position], arguments=list(words[position + 1 :]))
