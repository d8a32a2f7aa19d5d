"""What validation finds out about a body, in the words of both that do it: the walker (`body`) and C."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..config import SUPPORTED_FEATURES, Features

if TYPE_CHECKING:
    from dataclasses import dataclass, fields
else:
    from ..records import dataclass, fields

# A verdict's bits. None: the body has to be looked at.
IS_VALID, IS_INTERPRETABLE, HAS_TAIL_CALLS = 1, 2, 4

MAX_LOCALS = 50_000  # JS API, appendix "limits"
# The interpreter's translator has a record for each operand. A call may push 1,000: what is higher is compiled only.
FREE_HEIGHT = 1 << 16
MOST_OPERANDS_PER_BYTE = 4

# A bit each, in this order.
FEATURES = tuple(item.name for item in fields(Features))

# References to a type of the type section, as C has them: the lowest index of an equal type, and these bits.
CONCRETE = 0x200
INDEX_SHIFT = 10


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What is known of a body that is valid."""

    num_instructions: int
    needed: frozenset[str]  # features of its instructions and locals, of `Features`
    has_tail_calls: bool
    deepest_stack: int  # operands that are on the stack at once, at most, where the body can be reached
    # Whether all of its instructions are the interpreter's, and its operand stack is in proportion to its bytes.
    is_interpretable: bool

    @property
    def has_vectors(self) -> bool:
        """Whether there are vectors among its locals and instructions."""
        return not self.needed.isdisjoint(("simd", "relaxed_simd"))


def feature_bits(features: Iterable[str]) -> int:
    """A bit for each of these features.

    >>> feature_bits(["threads", "tail_call"])
    3
    """
    return sum([1 << FEATURES.index(feature) for feature in features])


def usable(features: Features) -> int:
    """The bits of the features that bodies may use.

    Relaxed vector instructions are vector instructions: without those they may not be used either.
    """
    names = {name for name in FEATURES if name in SUPPORTED_FEATURES and getattr(features, name)}
    return feature_bits(names if "simd" in names else names - {"relaxed_simd"})
