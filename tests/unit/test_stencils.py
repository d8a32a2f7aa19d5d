"""Stencils: what LLVM makes of the texts is code with holes, the same each time, and for all registers alike."""

from __future__ import annotations

import itertools
import platform

import pytest

from wasmjit.stencils import cut, header, machine, text, vector_text
from wasmjit.stencils.machine import X86_64

if platform.machine().lower() not in ("x86_64", "amd64"):
    pytest.skip("assembly of x86-64 is in the texts, which LLVM reads there only", allow_module_level=True)

SOME = (
    "I32_ADD",
    "I64_ADD_IMMEDIATE",
    "I32_SHL",
    "I64_REM_S",
    "F64_MIN",
    "F32_SUB",
    "I32_TRUNC_F64_U",
    "F64_CONVERT_I64_U",
    "BRANCH_I32_LT_S_IMMEDIATE",
    "SELECT",
    "I64_LOAD32_S",
    "I32_STORE8_FAR",
    "TABLE_GET",
    "I64X2_MUL",
    "F32X4_SPLAT",
    "I8X16_REPLACE_LANE_OF_3",
    "SELECT_128",
)
OPERATIONS = {operation.name: operation for operation in [*text.operations(), *vector_text.operations()]}


def made_for(names: tuple[str, ...]) -> cut.Blob:
    return cut.cut([OPERATIONS[name] for name in names], X86_64.cpu)


def test_stencils_are_the_same_each_time() -> None:
    some = SOME[::6]
    operations = [OPERATIONS[name] for name in some]
    assert header.render(operations, made_for(some)) == header.render(operations, made_for(some))


def registers(letters: str, equal: tuple[int, ...]) -> list[tuple[str, ...]]:
    """All that a form's operands may have: different ones, but for those that are to be in the result's.

    Not those that are held: LLVM copies operands in another order where one is in such a register. The bits of theirs
    have no special meaning in any field, as those of r12 and r13 have.
    """
    held = {name for name, _ in X86_64.held}
    assert all(X86_64.integer_registers.get(name, 0) & 7 not in (4, 5) for name in held)
    kinds = {
        "i": [name for name in X86_64.integer_registers if name not in held],
        "f": list(X86_64.float_registers),
        "m": [""],
    }
    found = []
    for chosen in itertools.product(*(kinds[letter] for letter in letters)):
        own = [register for i, register in enumerate(chosen) if register and i not in equal]
        if len(set(own)) == len(own) and all(chosen[i] == chosen[0] for i in equal):
            found.append(chosen)
    return found


def filled(stencil: cut.Stencil, chosen: tuple[str, ...]) -> bytes:
    """As C fills in the registers."""
    numbers = X86_64.integer_registers | X86_64.float_registers
    code = bytearray(stencil.code)
    for field in stencil.fields:
        number = numbers[chosen[field.operand]]
        code[field.offset] |= (number >> 3 if field.is_high else number & 7) << field.shift
    return bytes(code)


def check_all_registers(names: tuple[str, ...]) -> None:
    stencils = {stencil.form: stencil for stencil in made_for(names).stencils}
    functions: dict[str, str] = {}
    wanted: list[tuple[text.Form, str, tuple[str, ...]]] = []
    for name in names:
        operation = OPERATIONS[name]
        for form in text.form_list(operation):
            # Of registers of floats none takes another form of instruction; and in which order LLVM copies them depends
            # on which they are.
            if "f" in form.letters or "v" in form.letters:
                continue
            for is_careful in (False, True):
                for number, immediate in enumerate(operation.immediates):
                    for chosen in registers(form.letters, form.equal):
                        key = f"{name}.{form.letters}.{form.equal}.{is_careful}.{number}.{'.'.join(chosen)}".replace(
                            " ", ""
                        )
                        key = key.replace("(", "").replace(")", "").replace(",", "_")
                        lines = operation.write(form._replace(is_careful=is_careful), chosen, immediate)
                        functions[key] = text.function(key, lines, text.has_floats(operation, form))
                        wanted.append((form, key, chosen))
    emitted = cut._emit(functions, X86_64.cpu)
    right: dict[tuple[text.Form, tuple[str, ...]], bool] = {}
    for form, key, chosen in wanted:
        code, _ = cut._without_last_jump(key, emitted[key])
        same = bytes(code) == filled(stencils[form], chosen)
        right[form, chosen] = right.get((form, chosen), False) or same
    assert all(right.values()), [key for key, value in right.items() if not value][:10]


def test_code_is_the_same_for_all_registers() -> None:
    """One of the texts that a stencil may be made of gives, for these registers, what filling them in does."""
    check_all_registers(("I32_ADD", "I64_ADD_IMMEDIATE", "BRANCH_I32_LT_S_IMMEDIATE", "I32_STORE8_FAR"))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(OPERATIONS), 12))
def test_code_is_the_same_for_all_registers_of_all_operations(first: int) -> None:
    check_all_registers(tuple(itertools.islice(OPERATIONS, first, first + 12)))


def shortened(stencil: cut.Stencil) -> tuple[str, bool]:
    """The code where a value has one byte instead of four, and whether something is behind that."""
    short = stencil.short
    assert short is not None
    place = stencil.holes[short.hole].offset
    code = bytearray(stencil.code)
    code[short.offset] ^= short.change
    del code[place + 1 : place + 4]
    return code.hex(), len(code) > place + 1


@pytest.mark.parametrize(
    ("name", "letters", "expected"),
    [
        ("I32_ADD_IMMEDIATE", "im", ("4c8b85000000004183c000", False)),  # mov A(%rbp), %r8; add $0, %r8d
        ("BRANCH_I32_LT_S_IMMEDIATE", "i", ("4183f8000f8c00000000", True)),  # cmp $0, %r8d; jl
        ("BRANCH_I32_LT_S_IMMEDIATE", "m", ("83bd00000000000f8c00000000", True)),  # cmpl $0, A(%rbp); jl
        ("I64_MUL_IMMEDIATE", "ii", ("4d6bc000", False)),
        ("I32_LOAD_NARROW", "ii", ("468b440600", False)),  # mov 0(%rsi,%r8), %r8d
        ("COPY", "mi", ("4c894500", False)),
    ],
)
def test_small_values_have_one_byte(name: str, letters: str, expected: tuple[str, bool]) -> None:
    found = [stencil for stencil in made_for((name,)).stencils if stencil.form.letters == letters]
    assert shortened(found[0]) == expected


def test_no_value_is_shortened_that_code_jumps_over() -> None:
    for stencil in made_for(("SELECT", "I32_DIV_S", "I32_LOAD_FAR")).stencils:
        if stencil.form.operation == "I32_DIV_S" or stencil.form.letters == "mmmi":
            assert stencil.short is None


def test_a_constant_address_is_part_of_the_instruction() -> None:
    codes = {stencil.form.letters: stencil.code.hex() for stencil in made_for(("I32_LOAD_FIXED",)).stencils}
    assert codes["i"] == "448b8600000000"  # mov 0(%rsi), %r8d


@pytest.mark.parametrize("name", ["I64X2_MUL", "I32_TRUNC_SAT_F64_U"])
def test_code_that_changes_a_register_of_others_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LLVM saves for a while may be an operand, where there is another one when the stencil is used. Here LLVM has
    one register for what is in between."""
    others = tuple((f"xmm{number}", machine.FLOAT_TYPE) for number in (8, 11, 12, 15))
    monkeypatch.setattr(machine, "_used", [X86_64._replace(held_high=X86_64.held_high + others)])
    kept = {stencil.form for stencil in made_for((name,)).stencils}
    wanted = set(text.form_list(OPERATIONS[name]))
    assert {form._replace(is_careful=False) for form in kept} < wanted
    in_frame = [form for form in kept if set(form.letters) == {"m"}]
    assert len(in_frame) == 1, "the form that is left for what has no other one"


LONG = [name for name in OPERATIONS if "_OF_" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(LONG), 100))
def test_no_code_changes_a_register_of_others(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short code, which is not looked at when the runtime is built, neither."""
    names = tuple(LONG[first : first + 100])
    made = made_for(names)
    monkeypatch.setattr(cut, "_SHORT_BYTES", 0)
    assert made_for(names).stencils == made.stencils
