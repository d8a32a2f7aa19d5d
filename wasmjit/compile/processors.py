"""Which features a processor has that LLVM knows by name: how LLVM itself is asked, and what its answer says.

llvmlite has no call for it, and a table of ours would be another truth than that of the LLVM that makes the code. But
LLVM inlines a function only where the caller has all its features: a caller for the processor calls, for each feature
in question, a function that needs that one only. The calls that are gone name what is there, or what this LLVM has
never heard of: a second caller, which has none of the features, tells these apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .patterns import late

_BODY = late(r"^define void @(\w+)\([^{]*\{(.*?)^\}", re.MULTILINE | re.DOTALL)
_CALL = late(r"call [^@]*@needs(\d+)\(")


def question(known: Sequence[str], cpu: str, features: str) -> str:
    """The text that is to be optimised for the processor `cpu` with `features` (LLVM's words)."""
    lines: list[str] = []

    def attribute(number: int, *more: str) -> None:
        text = ",".join(filter(None, (features, *more)))
        lines.append(f'attributes #{number} = {{ "target-cpu"="{cpu}" "target-features"="{text}" }}')

    count = len(known)
    without = [f"-{name}" for name in known]
    calls = [f"%v{i} = call i32 @needs{i}(ptr %p)\nstore volatile i32 %v{i}, ptr %p" for i in range(count)]
    for number, name in enumerate(known):
        lines.append(f"define internal i32 @needs{number}(ptr %p) #{number} {{")
        lines.append("%v = load volatile i32, ptr %p\nret i32 %v\n}")
        attribute(number, *without, f"+{name}")
    lines += [f"define void @has(ptr %p) #{count} {{", *calls, "ret void\n}"]
    attribute(count)
    lines += [f"define void @has_nothing(ptr %p) #{count + 1} {{", *calls, "ret void\n}"]
    attribute(count + 1, *without)
    return "\n".join(lines)


def answer(known: Sequence[str], optimised: str) -> list[str]:
    """Those of the features that the processor has. Raises ValueError if the optimised text does not tell."""
    calls = {name: set(map(int, _CALL.findall(body))) for name, body in _BODY.findall(optimised)}
    if not calls["has_nothing"] or not calls["has"] <= calls["has_nothing"]:
        raise ValueError("LLVM does not tell the features of the processor")
    return [known[number] for number in sorted(calls["has_nothing"] - calls["has"])]
