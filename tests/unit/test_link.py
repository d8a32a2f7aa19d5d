"""Our linker against LLD, byte for byte; and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wasmjit import elf, link
from wasmjit.artifact import Artifact
from wasmjit.errors import CompileError
from wasmjit.target import Target, host_machine

MACHINES = ("x86_64", "aarch64")
BASE = 0x1000000
LLD_OPTIONS = ("-O0", "--no-relax", "-static", "-s", "-e", "0")
DEFINE_F1 = "define void @f1() {\n"
STORE_TO_G = DEFINE_F1 + " store volatile i32 1, ptr @g\n ret void\n}"


def link_with_lld(units: list[Any], image: link.Image, directory: Path) -> dict[str, bytes]:
    """Sections .text and .rodata as LLD links them, laid out as our image is."""
    text, rodata = [], []
    for number, unit in enumerate(units):
        (directory / f"{number}.o").write_bytes(unit.object)
        text.append(f"*{number}.o(.text) . = ALIGN(16);")
        for section in elf.read(unit.object).sections:
            if section.flags & elf.SHF_ALLOC and section.name.startswith(".rodata") and section.size_bytes:
                rodata.append(f"*{number}.o({section.name})")
    script = directory / "script.ld"
    script.write_text(
        f"SECTIONS {{ . = {BASE}; .text : {{ {' '.join(text)} }} . = {BASE + image.rodata_offset};"
        f" .rodata : {{ {' '.join(rodata)} }} .data.rel.ro : {{ *(.data.rel.ro) }} /DISCARD/ : {{ *(.debug*) }} }}"
    )
    emulation = {elf.EM_X86_64: "elf_x86_64", elf.EM_AARCH64: "aarch64linux"}[image.machine]
    command = [sys.executable, "-m", "ziglang", "ld.lld", "-m", emulation, *LLD_OPTIONS]
    objects = [f"{number}.o" for number in range(len(units))]
    subprocess.run([*command, "-T", "script.ld", "-o", "out", *objects], cwd=directory, check=True)
    data = bytearray((directory / "out").read_bytes())
    data[16:18] = b"\1\0"  # an executable; our reader takes relocatable objects only
    return {s.name: bytes(s.data) for s in elf.read(bytes(data)).sections if s.name in (".text", ".rodata")}


@pytest.mark.parametrize("opt", [0, 2])
@pytest.mark.parametrize("machine", MACHINES)
def test_image_is_the_same_as_llds(objects: Any, machine: str, opt: int, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    units = objects.emit_units(machine, opt=opt)
    image = link.link(units, 1, 6)
    expected = link_with_lld(units, image, tmp_path)
    assert image.rodata == expected.get(".rodata", b"")
    for offset, size in zip(image.function_offsets, image.function_sizes, strict=True):
        assert image.text[offset : offset + size] == expected[".text"][offset : offset + size]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_test_objects_have_what_must_be_tested(objects: Any, machine: str) -> None:
    kinds = set()
    for unit in objects.emit_units(machine) + objects.emit_units(machine, opt=0):
        obj = elf.read(unit.object)
        for index, section in enumerate(obj.sections):
            if section.flags & elf.SHF_ALLOC and section.name != ".data.rel.ro":
                kinds |= {r.type for r in obj.relocations(index)}
    # PC32 and PLT32; CALL26, ADR_PREL_PG_HI21, ADD_ABS_LO12_NC, LDST64_ABS_LO12_NC
    assert {2, 4} <= kinds if machine == "x86_64" else {283, 275, 277, 286} <= kinds


def aarch64(instruction: int, kind: int, place: int, target: int) -> int | None:
    buffer = bytearray(place) + instruction.to_bytes(4, "little")
    done = link._apply_aarch64(buffer, place, place, kind, target)
    return int.from_bytes(buffer[place : place + 4], "little") if done else None


def test_aarch64_relocations_by_the_manual() -> None:
    """Encodings as an assembler makes them."""
    assert aarch64(0x94000000, 283, 0, 0x1000) == 0x94000400  # bl +0x1000
    assert aarch64(0x94000000, 283, 0x1000, 0) == 0x97FFFC00  # bl -0x1000
    assert aarch64(0x14000000, 282, 0, 8) == 0x14000002  # b +8
    assert aarch64(0x94000000, 283, 0, 1 << 27) is None
    assert aarch64(0x94000000, 283, 0, 2) is None
    assert aarch64(0x54000000, 280, 0x20, 0) == 0x54FFFF00  # b.eq -0x20
    assert aarch64(0x36000000, 279, 0x20, 0) == 0x3607FF00  # tbz w0, #0, -0x20
    assert aarch64(0x90000000, 275, 0xFFC, 0x3008) == 0xF0000000  # adrp x0, +3 pages
    assert aarch64(0x90000000, 275, 0x2000, 0) == 0xD0FFFFE0  # adrp x0, -2 pages
    assert aarch64(0x91000000, 277, 0, 0x3ABC) == 0x912AF000  # add x0, x0, #0xabc
    assert aarch64(0x3DC00000, 299, 0, 0x3010) == 0x3DC00400  # ldr q0, [x0, #16]
    assert aarch64(0x3DC00000, 299, 0, 0x3018) is None  # not a multiple of 16
    assert aarch64(0x7D400000, 284, 0, 0x3006) == 0x7D400C00  # ldr h0, [x0, #6]
    assert aarch64(0xBD400000, 285, 0, 0x3008) == 0xBD400800  # ldr s0, [x0, #8]
    assert aarch64(0x39400000, 278, 0, 0x3007) == 0x39401C00  # ldrb w0, [x0, #7]
    assert aarch64(0, 261, 0x10, 4) == 0xFFFFFFF4
    assert aarch64(0, 257, 0, 0) is None  # an absolute address


@pytest.mark.parametrize("machine", MACHINES)
def test_functions_lie_where_their_symbols_say(objects: Any, machine: str) -> None:
    image = link.link(reversed(objects.emit_units(machine)), 1, 6)
    ranges = list(zip(image.function_offsets, image.function_sizes, strict=True))
    assert len(ranges) == 6
    assert all(a[0] + a[1] <= b[0] for a, b in pairwise(ranges))
    assert ranges[-1][0] + ranges[-1][1] == len(image.text)
    assert list(image.address_offsets) == sorted(set(image.address_offsets))
    # The second unit's rows are shifted to where its code is.
    at = image.address_offsets[list(image.address_lines).index(5000)]
    assert ranges[4][0] < at < ranges[4][0] + ranges[4][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("declare void @memset()\n" + DEFINE_F1 + " call void @memset()\n ret void\n}", "undefined symbol 'memset'"),
        ("@g = internal global i32 5\n" + STORE_TO_G, "writable data"),
        ("@g = internal global i32 0\n" + STORE_TO_G, "writable data"),
        ("define void @f2() {\n ret void\n}", "the unit's object does not define it .at function 1"),
        # The address of a function that another module could replace goes through the GOT.
        ("define ptr @f1() {\n ret ptr @f2\n}\ndefine void @f2() {\n ret void\n}", "relocation type .* against 'f2'"),
        (
            "@t = hidden constant [1 x ptr] [ptr @f1]\ndefine ptr @f1(i64 %i) {\n"
            " %p = getelementptr ptr, ptr @t, i64 %i\n %v = load volatile ptr, ptr %p\n ret ptr %v\n}",
            "writable data: section .data.rel.ro",
        ),
    ],
)
def test_what_would_need_patching_is_refused(objects: Any, text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        link.link([objects.unit(1, 1, objects.emit(text))], 1, 1)


def test_cold_functions_have_a_section_of_their_own(objects: Any) -> None:
    """LLVM moves functions that always trap to .text.unlikely., out of their order."""
    text = objects.unit_text(0)
    start = text.index("define hidden double @f2(")
    text = text[:start] + text[start:].replace('"all"', '"all" section ".text.unlikely."', 1)
    units = [objects.unit(1, 4, objects.emit(text)), objects.emit_units()[1]]
    image = link.link(units, 1, 6)
    assert image.function_offsets[0] < image.function_offsets[2] < image.function_offsets[3] < image.function_offsets[1]
    assert image.function_offsets[1] < image.function_offsets[4]
    assert list(image.address_offsets) == sorted(set(image.address_offsets))
    target = Target(f"{host_machine()}-unknown-linux-gnu", "generic", ())
    artifact = Artifact.from_compiled(objects.sample_module(), units, target=target, config_key="")
    for index, (offset, size) in enumerate(zip(image.function_offsets, image.function_sizes, strict=True), 1):
        assert artifact.function_at(offset) == artifact.function_at(offset + size - 1) == index
    for line, function in ((2000, 3), (900, 1), (6000, 6)):
        assert artifact.function_at(image.address_offsets[list(image.address_lines).index(line)]) == function


def test_units_must_cover_the_functions(objects: Any) -> None:
    first, second = objects.emit_units()
    for units, start, count in (([first], 1, 6), ([second], 1, 6), ([first, first], 1, 6), ([first, second], 0, 6)):
        with pytest.raises(CompileError):
            link.link(units, start, count)


def test_units_must_be_of_one_machine(objects: Any) -> None:
    units = [objects.emit_units("x86_64")[0], objects.emit_units("aarch64")[1]]
    with pytest.raises(CompileError, match="different machines"):
        link.link(units, 1, 6)


def test_no_functions_at_all() -> None:
    image = link.link([], 3, 0)
    assert (image.text, image.rodata, len(image.function_offsets)) == (b"", b"", 0)
