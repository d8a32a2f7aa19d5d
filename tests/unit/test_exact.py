"""What the optimised text becomes for the code generator (compile/exact.py)."""

from __future__ import annotations

import re

import pytest

from wasmjit.compile import exact, llvm

WITH_MASKS = exact.VectorRegisters(512, have_masks=True)
WITHOUT = exact.VectorRegisters(128, have_masks=False)
HEAD = """define void @f(ptr %p, ptr %q, <16 x i32> %other) {
entry:
"""
STORE = "  store <16 x i32> %chosen, ptr %q, align 1\n  ret void\n}\n"
BYTES = "  {0} = load <16 x i8>, ptr %p, align 1\n"
WIDER = "  {1} = zext <16 x i8> {0} to <16 x i32>\n"
CHOICE = "  %c = icmp eq <16 x i32> %other, zeroinitializer\n"


def finished(body: str) -> str:
    """The function with this body, which LLVM can still read, for a processor with AVX-512."""
    text = exact.finish(f"{HEAD}{body}{STORE}", WITH_MASKS)[0]
    llvm.initialise(all_targets=False)
    llvm.llvm.parse_assembly(text).verify()
    return text


def test_what_goes_nowhere_tells_of_its_loads_as_what_is_compiled() -> None:
    text = (
        "define void @f(ptr %p) {\n  %x = load i32, ptr %p, align 1, !dbg !3\n  ret void\n}\n"
        "!3 = !DILocation(line: 7, column: 1, scope: !2)\n"
    )
    assert exact.located(text, WITHOUT) == exact.finish(text, WITHOUT)[1] == {"f": exact.Located({7}, set())}


# LLVM numbers what has no name, and nothing can be added to a number.
@pytest.mark.parametrize("names", [("%x", "%w"), ("%1", "%2"), ("%x", "%1")])
def test_all_lanes_of_an_extension_are_used(names: tuple[str, str]) -> None:
    """Else it could be done under the mask, and would read chosen lanes only."""
    loaded, wider = names
    body = f"{BYTES.format(loaded)}{WIDER.format(loaded, wider)}{CHOICE}"
    text = finished(f"{body}  %chosen = select <16 x i1> %c, <16 x i32> {wider}, <16 x i32> %other\n")
    assert text.count(" asm ") == 1 and " volatile " not in text
    assert re.search(r'asm sideeffect "", "v"\(<16 x i32> %\S+\)', text)


def test_what_is_volatile_before_stays_so() -> None:
    """With `Config.exact_traps` stores in front of a trap have happened, and none behind it."""
    body = f"{BYTES.format('%x')}{WIDER.format('%x', '%w')}{CHOICE}".replace(" load ", " load volatile ")
    text = finished(f"{body}  %chosen = select <16 x i1> %c, <16 x i32> %w, <16 x i32> %other\n")
    assert " load volatile " in text and " sideeffect " not in text and "call <16 x i8> asm" in text


def test_nothing_is_put_behind_a_tail_call() -> None:
    body = (
        f"declare i32 @g(ptr, ptr, <16 x i32>)\ndefine i32 @f(ptr %p, ptr %q, <16 x i32> %other) {{\n"
        f"{BYTES.format('%x')}{WIDER.format('%x', '%w')}"
        "  %r = musttail call i32 @g(ptr %p, ptr %q, <16 x i32> %w)\n  ret i32 %r\n}\n"
    )
    llvm.initialise(all_targets=False)
    llvm.llvm.parse_assembly(exact.finish(body, WITH_MASKS)[0]).verify()


@pytest.mark.parametrize(
    ("computation", "is_volatile"),
    [
        ("fadd <8 x double> %x, %c", False),
        ("fmul <8 x double> %x, splat (double 2.5)", False),
        ("fmul nnan nsz <8 x double> %x, %c", True),  # may be 0 * x
        ("fadd <8 x double> %x, splat (double 0x7FF8000000000000)", True),
        ("shufflevector <8 x double> %x, <8 x double> %c, <8 x i32> zeroinitializer", True),
    ],
)
def test_vectors_of_floats_are_volatile_unless_each_lane_is_computed_with(computation: str, is_volatile: bool) -> None:
    text = (
        "define void @f(ptr %p, ptr %q, <8 x double> %c) {\nentry:\n  %x = load <8 x double>, ptr %p, align 1\n"
        f"  %y = {computation}\n  store <8 x double> %y, ptr %q, align 1\n  ret void\n}}\n"
    )
    done = exact.finish(text, WITHOUT)[0]
    llvm.initialise(all_targets=False)
    llvm.llvm.parse_assembly(done).verify()
    assert ("load volatile" in done) == is_volatile
    assert ('asm sideeffect "", "v,v,v,v"(<2 x double> %y.u0' in done) != is_volatile


def test_wide_vectors_are_used_as_registers_hold_them() -> None:
    """Gathers cannot be volatile."""
    declared = "declare <8 x double> @llvm.masked.gather.v8f64.v8p0(<8 x ptr>, <8 x i1>, <8 x double>)\n"
    body = (
        "  %p8 = getelementptr i8, ptr %p, <8 x i64> zeroinitializer\n"
        "  %x = call <8 x double> @llvm.masked.gather.v8f64.v8p0(<8 x ptr> align 1 %p8, <8 x i1> splat (i1 true), "
        "<8 x double> poison)\n  ret void\n}\n"
    )
    text = exact.finish(f"{declared}{HEAD}{body}", exact.VectorRegisters(256, have_masks=False))[0]
    llvm.initialise(all_targets=False)
    llvm.llvm.parse_assembly(text).verify()
    assert re.search(r'asm sideeffect "", "v,v"\(<4 x double> %\S+, <4 x double> %\S+\)', text)


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


def test_without_optimisation_only_functions_that_may_mask_are_changed_more() -> None:
    load = "  %x = load float, ptr %p, align 1\n"
    head, end = "define float @{}(ptr %p, float %y, i1 %c) {{\n", "  ret float %{}\n}}\n"
    plain = head.format("plain") + load + end.format("x")
    choice = head.format("choice") + load + "  %z = select i1 %c, float %x, float %y\n" + end.format("z")
    text = exact.unoptimised(plain + choice, WITH_MASKS)
    assert text.startswith(plain.replace(" load ", " load volatile ") + "define ")
    assert text.count(" asm ") == 1 and text.count(" load volatile ") == 2
    assert exact.unoptimised(plain + choice, WITHOUT) == (plain + choice).replace(" load ", " load volatile ")


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
    "a sum that is an or": """entry:
  %x = load i32, ptr %p, align 1
  %bit = and i32 %x, 1
  %other = xor i32 %bit, 1
  %sum = add i32 %other, %x
  store i32 %sum, ptr %p, align 1
  ret void
""",
    "an absolute value": """entry:
  %x = load float, ptr %p, align 1
  %y = call float @llvm.fabs.f32(float %x)
  store float %y, ptr %p, align 1
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
        "declare double @llvm.copysign.f64(double, double)\ndeclare float @llvm.fabs.f32(float)\n"
        f"define void @f(ptr %p, ptr %q) {{\n{body}}}\n"
    )
    llvm.initialise(all_targets=True)
    machine = llvm.target_machine("x86_64-unknown-linux-gnu", "x86-64-v2", "", "speed")
    reads = re.compile(r"\(%rdi\), %|(?:or|and)l\t.*, \(%rdi\)")
    assert not reads.search(machine.emit_assembly(llvm.parse(text, machine)))
    assert reads.search(machine.emit_assembly(llvm.parse(exact.finish(text, WITHOUT)[0], machine)))


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
    assert not narrow.search(machine.emit_assembly(llvm.parse(exact.unoptimised(text, WITHOUT), machine)))
