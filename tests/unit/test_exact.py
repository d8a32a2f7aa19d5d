"""What the optimised text becomes for the code generator (compile/exact.py)."""

from __future__ import annotations

import re

import pytest

from wasmjit.compile import exact, llvm

HEAD = """define void @f(ptr %p, ptr %q, <16 x i32> %other) {
entry:
"""
STORE = "  store <16 x i32> %chosen, ptr %q, align 1\n  ret void\n}\n"
BYTES = "  {0} = load <16 x i8>, ptr %p, align 1\n"
WIDER = "  {1} = zext <16 x i8> {0} to <16 x i32>\n"
CHOICE = "  %c = icmp eq <16 x i32> %other, zeroinitializer\n"


def finished(body: str) -> str:
    """The function with this body, which LLVM can still read, for a processor with AVX-512."""
    text = exact.finish(f"{HEAD}{body}{STORE}", masked=True)[0]
    llvm.initialise(all_targets=False)
    llvm.llvm.parse_assembly(text).verify()
    return text


# LLVM numbers what has no name, and nothing can be added to a number.
@pytest.mark.parametrize("names", [("%x", "%w"), ("%1", "%2"), ("%x", "%1")])
def test_an_extension_is_hidden_in_place_of_its_load(names: tuple[str, str]) -> None:
    """Else it could be done under the mask, and would read chosen lanes only."""
    loaded, wider = names
    body = f"{BYTES.format(loaded)}{WIDER.format(loaded, wider)}{CHOICE}"
    text = finished(f"{body}  %chosen = select <16 x i1> %c, <16 x i32> {wider}, <16 x i32> %other\n")
    assert re.search(rf"{re.escape(wider)} = call <16 x i32> asm ", text)
    assert text.count(" asm ") == 1
    assert re.search(rf"{re.escape(loaded)} = load .*<16 x i8>, ptr %p", text)


@pytest.mark.parametrize("name", ["%x", "%1"])
def test_a_load_with_two_extensions_is_hidden_itself(name: str) -> None:
    body = f"{BYTES.format(name)}{WIDER.format(name, '%a')}  %b = sext <16 x i8> {name} to <16 x i32>\n{CHOICE}"
    text = finished(f"{body}  %chosen = select <16 x i1> %c, <16 x i32> %a, <16 x i32> %b\n")
    assert re.search(r"call <16 x i8> asm ", text)


@pytest.mark.parametrize(
    ("computed", "hidden"),
    [
        ("%w", True),  # the comparison itself may be under a mask
        ("%sum", False),  # what the comparison takes from a register was computed without one
        ("%both", True),  # of lanes that were loaded, and of sums
    ],
)
def test_what_is_compared_is_hidden_only_where_the_comparison_could_load_it(computed: str, hidden: bool) -> None:
    lanes = ", ".join(f"i32 {lane}" for lane in range(8, 24))
    body = (
        "  %w = load <16 x i32>, ptr %p, align 1\n  %sum = add <16 x i32> %w, %other\n"
        f"  %both = shufflevector <16 x i32> %sum, <16 x i32> %w, <16 x i32> <{lanes}>\n"
        f"{CHOICE}  %d = icmp sgt <16 x i32> {computed}, %other\n  %e = and <16 x i1> %c, %d\n"
        "  %chosen = select <16 x i1> %e, <16 x i32> %other, <16 x i32> zeroinitializer\n"
    )
    assert (" asm " in finished(body)) == hidden
