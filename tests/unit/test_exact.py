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


@pytest.mark.parametrize(("last", "are_distinct"), [("add", False), ("sub", True)])
def test_sums_of_many_loads_keep_them_apart_only_where_they_could_cancel(last: str, are_distinct: bool) -> None:
    """Any two of them may have one address, for all that is known of the counters."""
    lines = ["  br label %loop", "loop:"]
    for counter in ("i", "k"):
        lines.append(f"  %{counter} = phi i64 [ 0, %entry ], [ %{counter}.next, %loop ]")
    for counter in ("i", "k"):
        lines.append(f"  %{counter}.next = add i64 %{counter}, 1")
        lines.append(f"  %{counter}.at = getelementptr i8, ptr %p, i64 %{counter}")
        for number in range(32):
            lines.append(f"  %{counter}a{number} = getelementptr i8, ptr %{counter}.at, i64 {4 * number}")
            lines.append(f"  %{counter}{32 + number} = load i32, ptr %{counter}a{number}, align 1")
        for number in range(31, 0, -1):
            lines.append(f"  %{counter}{number} = add i32 %{counter}{2 * number}, %{counter}{2 * number + 1}")
    lines += (
        f"  %both = {last} i32 %i1, %k1",
        "  store i32 %both, ptr %q, align 1",
        "  %again = icmp ne i64 %i, 9",
        "  br i1 %again, label %loop, label %done",
        "done:",
        "  %chosen = insertelement <16 x i32> %other, i32 %both, i64 0",
    )
    text = finished("\n".join(lines) + "\n")
    assert (text.count(" = load volatile i32"), text.count(" = load i32")) == ((64, 0) if are_distinct else (0, 64))


def test_without_optimisation_only_functions_that_may_mask_are_changed_more() -> None:
    load = "  %x = load float, ptr %p, align 1\n"
    head, end = "define float @{}(ptr %p, float %y, i1 %c) {{\n", "  ret float %{}\n}}\n"
    plain = head.format("plain") + load + end.format("x")
    choice = head.format("choice") + load + "  %z = select i1 %c, float %x, float %y\n" + end.format("z")
    text = exact.unoptimised(plain + choice, masked=True)
    assert text.startswith(plain.replace(" load ", " load volatile ") + "define ")
    assert text.count(" asm ") == 1 and text.count(" load volatile ") == 2
    assert exact.unoptimised(plain + choice, masked=False) == (plain + choice).replace(" load ", " load volatile ")


# What reads `%p` goes in the code generator of x86-64, unless `finish` does something about it.
VANISHING = {
    "all ways of a table": """entry:
  %x = load i32, ptr %p, align 1
  switch i32 %x, label %never [
    i32 0, label %one
    i32 1, label %other
  ]

never:
  unreachable

one:
  br label %done

other:
  br label %done

done:
  ret void
""",
    "a store in a wider one": """entry:
  %x = load i32, ptr %p, align 1
  %high = getelementptr i8, ptr %q, i64 4
  store i32 %x, ptr %high, align 1
  store i64 0, ptr %q, align 1
  ret void
""",
    "a byte among others": """entry:
  %x = load i32, ptr %p, align 1
  %others = and i32 %x, -65281
  %all = or i32 %others, 512
  store i32 %all, ptr %p, align 1
  ret void
""",
    "a sign": """entry:
  %x = load double, ptr %p, align 1
  %sum = fadd double %x, 1.0
  %signed = call double @llvm.copysign.f64(double 2.0, double %sum)
  %bits = bitcast double %signed to i64
  %low = trunc i64 %bits to i32
  store i32 %low, ptr %q, align 1
  ret void
""",
}


@pytest.mark.parametrize("body", VANISHING.values(), ids=VANISHING)
def test_what_the_code_generator_would_leave_out_stays(body: str) -> None:
    text = (
        'target triple = "x86_64-unknown-linux-gnu"\n'
        f"declare double @llvm.copysign.f64(double, double)\ndefine void @f(ptr %p, ptr %q) {{\n{body}}}\n"
    )
    llvm.initialise(all_targets=True)
    machine = llvm.target_machine("x86_64-unknown-linux-gnu", "x86-64-v2", "", "speed")
    reads = re.compile(r"\(%rdi\), %")
    assert not reads.search(machine.emit_assembly(llvm.parse(text, machine)))
    assert reads.search(machine.emit_assembly(llvm.parse(exact.finish(text, masked=False)[0], machine)))


def test_a_table_with_ways_that_differ_is_not_touched() -> None:
    body = VANISHING["all ways of a table"].replace("other:\n", "other:\n  store i8 1, ptr %q, align 1\n")
    assert " asm " not in exact.finish(f"define void @f(ptr %p, ptr %q) {{\n{body}}}\n", masked=False)[0]


@pytest.mark.parametrize("change", ["%y = and i32 %x, -256", "%z = and i32 %x, -65281\n  %y = or i32 %z, 512"])
def test_quick_code_changes_no_bytes_in_place(change: str) -> None:
    """The code generator does that with volatile loads too."""
    text = (
        'target triple = "x86_64-unknown-linux-gnu"\ndefine void @f(ptr %p) {\n'
        f"  %x = load i32, ptr %p, align 1\n  {change}\n  store i32 %y, ptr %p, align 1\n  ret void\n}}\n"
    )
    llvm.initialise(all_targets=True)
    machine = llvm.target_machine("x86_64-unknown-linux-gnu", "x86-64-v2", "", llvm.QUICK)
    narrow = re.compile(r"mov[bw]")
    assert narrow.search(machine.emit_assembly(llvm.parse(text.replace("= load ", "= load volatile "), machine)))
    assert not narrow.search(machine.emit_assembly(llvm.parse(exact.unoptimised(text, masked=False), machine)))
