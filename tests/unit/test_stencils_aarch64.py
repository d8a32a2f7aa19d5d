"""Stencils for AArch64, which LLVM makes on every machine: the same each time, for all registers alike."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmjit.stencils import cut, cut_aarch64, header, text, vector_text
from wasmjit.stencils.machine import AARCH64, current, use

SOME = (
    "I64_ADD_IMMEDIATE",
    "BRANCH_UNLESS_F64_LE",
    "I64_LOAD32_S",
    "TABLE_GET",
    "I64X2_BITMASK",
)


@pytest.fixture
def operations() -> Iterator[dict[str, text.Operation]]:
    used = current()
    use("aarch64")
    yield {operation.name: operation for operation in [*text.operations(), *vector_text.operations()]}
    use(used.name)


def made_for(operations: dict[str, text.Operation], names: tuple[str, ...]) -> cut.Blob:
    return cut.cut([operations[name] for name in names], AARCH64.cpu)


def test_stencils_are_the_same_each_time(operations: dict[str, text.Operation]) -> None:
    chosen = [operations[name] for name in SOME]
    first, second = (made_for(operations, SOME) for _ in range(2))
    assert header.render(chosen, first) == header.render(chosen, second)
    for stencil in first.stencils:
        assert len(stencil.code) % 4 == 0
        assert all(field.offset % 4 == 0 and field.shift in cut_aarch64.SHIFTS for field in stencil.fields)


def words(stencil: cut.Stencil, chosen: tuple[str, ...] = ()) -> list[int]:
    """The instructions, with the registers that C fills in."""
    numbers = AARCH64.integer_registers | AARCH64.float_registers
    found = [word for (word,) in struct.iter_unpack("<I", stencil.code)]
    for field in stencil.fields:
        found[field.offset // 4] |= numbers[chosen[field.operand]] << field.shift
    return found


def test_what_is_left_out(operations: dict[str, text.Operation]) -> None:
    """A branch is one instruction, a constant one, and an access to a slot one."""
    blob = made_for(operations, ("BRANCH_I32_LT_S", "I32_ADD_IMMEDIATE", "I64_EXTEND_I32_U"))
    stencils = {
        (stencil.form.operation, stencil.form.letters, stencil.form.equal): stencil for stencil in blob.stencils
    }
    branch = stencils["BRANCH_I32_LT_S", "ii", ()]
    assert [word >> 24 for word in words(branch, ("r20", "r11"))] == [0x6B, 0x54]  # cmp; b.lt
    assert [(hole.kind, hole.what) for hole in branch.holes] == [(cut_aarch64.DISTANCE, "TARGET")]
    add = stencils["I32_ADD_IMMEDIATE", "mm", ()]
    assert [(hole.offset, hole.kind, hole.what) for hole in add.holes] == [
        (0, cut_aarch64.SLOT, "A"),
        (4, cut_aarch64.NUMBER, "NARROW"),
        (12, cut_aarch64.SLOT, "D"),
    ]
    extend = stencils["I64_EXTEND_I32_U", "ii", ()]
    assert words(extend, ("r20", "r12")) == [0x2A0C03F4]  # mov w20, w12


def registers(letters: str, equal: tuple[int, ...]) -> list[tuple[str, ...]]:
    """All that a form's operands may have: different ones, but for those that are to be in the result's."""
    kinds = {"i": list(AARCH64.integer_registers), "f": list(AARCH64.float_registers), "m": [""]}
    kinds["v"] = kinds["f"]
    found = []
    for chosen in itertools.product(*(kinds[letter] for letter in letters)):
        own = [register for i, register in enumerate(chosen) if register and i not in equal]
        if len(set(own)) == len(own) and all(chosen[i] == chosen[0] for i in equal):
            found.append(chosen)
    return found


def check_all_registers(operations: dict[str, text.Operation], names: tuple[str, ...]) -> None:
    """LLVM gives, for all registers, what filling them in does."""
    stencils = {stencil.form._replace(is_careful=False): stencil for stencil in made_for(operations, names).stencils}
    functions: dict[str, str] = {}
    wanted: list[tuple[cut.Stencil, str, tuple[str, ...]]] = []
    for form, stencil in stencils.items():
        operation = operations[form.operation]
        for chosen in registers(form.letters, form.equal):
            key = f"{form.operation}.{form.letters}.{''.join(map(str, form.equal))}.{'.'.join(chosen)}"
            lines = operation.write(stencil.form, chosen, operation.immediates[0])
            functions[key] = text.function(key, lines, text.has_floats(operation, form))
            wanted.append((stencil, key, chosen))
    emitted = cut._emit(functions, AARCH64.cpu)
    wrong = []
    for stencil, key, chosen in wanted:
        code, _ = cut._without_last_jump(key, emitted[key])
        if [word for (word,) in struct.iter_unpack("<I", code)] != words(stencil, chosen):
            wrong.append(key)
    assert not wrong, wrong[:10]


def test_code_is_the_same_for_all_registers(operations: dict[str, text.Operation]) -> None:
    check_all_registers(operations, ("I64_LOAD32_S",))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_code_is_the_same_for_all_registers_of_all_operations(operations: dict[str, text.Operation], part: int) -> None:
    check_all_registers(operations, tuple(itertools.islice(operations, part, None, 12)))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_all_operations_have_a_form_in_the_frame(operations: dict[str, text.Operation], part: int) -> None:
    """Which is left for operands whose form changes a register that others may have."""
    names = tuple(name for name in itertools.islice(operations, part, None, 4) if operations[name].letters is None)
    blob = made_for(operations, names)
    assert {s.form.operation for s in blob.stencils if set(s.form.letters) <= {"m"}} == set(names)


CODE = {
    # cbz x8, +8; b NEXT; b TRAP
    "trap": ((0xB4000048, 0x14000000, 0x14000000), ((4, "NEXT"), (8, "TRAP_3")), (0xB4000008,), ((0, "TRAP_3"),)),
    # tbz x8, #0, +8; b NEXT; b TARGET: it does not reach far
    "near": (
        (0x36000048, 0x14000000, 0x14000000),
        ((4, "NEXT"), (8, "TARGET")),
        (0x36000048, 0x14000002, 0x14000000),
        ((8, "TARGET"),),
    ),
    # tbz x8, #0, +8; b TARGET; b NEXT
    "near not": (
        (0x36000048, 0x14000000, 0x14000000),
        ((4, "TARGET"), (8, "NEXT")),
        (0x36000048, 0x14000000),
        ((4, "TARGET"),),
    ),
    # b.eq +8; b TARGET; b NEXT
    "not": ((0x54000040, 0x14000000, 0x14000000), ((4, "TARGET"), (8, "NEXT")), (0x54000001,), ((0, "TARGET"),)),
}


@pytest.mark.parametrize("name", CODE)
def test_branches(name: str) -> None:
    before, holes, after, left = CODE[name]
    code = struct.pack(f"<{len(before)}I", *before)
    shaped, found = cut_aarch64.shape(code, [(offset, "JUMP", what, 0) for offset, what in holes])
    made = [word for (word,) in struct.iter_unpack("<I", shaped)]
    places = {offset for offset, _ in left}
    assert [(offset, what) for offset, _, what, _ in found] == list(left)
    for index, (word, wanted) in enumerate(zip(made, after, strict=True)):
        keep = 0xFF00001F if 4 * index in places else 0xFFFFFFFF
        assert word & keep == wanted & keep


def test_the_translator_compiles_for_aarch64_without_warnings(tmp_path: Path, root: Path) -> None:
    """By clang, which warns of what gcc does not: `make test-aarch64` takes warnings for errors."""
    pytest.importorskip("ziglang")
    runtime = root / "runtime_c"
    if not (root / "build" / "wj_stencils_aarch64.h").exists():  # this machine's has the same names
        (tmp_path / "wj_stencils_aarch64.h").write_text(f'#include "{root / "build" / "wj_stencils.h"}"\n')
    sources = [
        runtime / f"stencil_{name}.c" for name in ("translate", "emit", "vectors", "aarch64_calls", "aarch64_frame")
    ]
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.36", "-std=gnu11", "-DNDEBUG"]
    command += ["-Wall", "-Wextra", "-Werror", "-c", "-O0"]
    command += [f"-I{runtime}", f"-I{root / 'build'}", f"-I{tmp_path}", "-isystem", sysconfig.get_path("include")]
    done = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False, cwd=tmp_path)
    if "pyconfig.h' file not found" in done.stderr:
        pytest.skip("Python's headers are for one machine only")
    assert done.returncode == 0, done.stderr
