"""The ELF reader against readelf, and against damaged objects; the writer against the reader."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wasmjit import elf
from wasmjit.errors import ArtifactError

MACHINES = ("x86_64", "aarch64")


@pytest.mark.parametrize("machine", MACHINES)
def test_functions_have_their_ranges(objects: Any, machine: str) -> None:
    first, second = (elf.read(unit.object) for unit in objects.emit_units(machine))
    assert sorted(first.functions()) == [1, 2, 3, 4]
    assert sorted(second.functions()) == [5, 6]
    text = first.sections[first.section_index(".text")]
    ends = [0]
    for offset, size in sorted((s.value, s.size_bytes) for s in first.functions().values()):
        assert ends[-1] <= offset < ends[-1] + 16
        ends.append(offset + size)
    assert ends[-1] == text.size_bytes
    assert first.undefined_symbols() == second.undefined_symbols() == []
    assert first.machine == elf.MACHINE_NUMBERS[machine]


def test_undefined_symbols_are_listed(objects: Any) -> None:
    text = "declare double @ceil(double)\ndeclare i32 @apple(i32)\n" + (
        "define double @f0(double %x) {\n %y = call double @ceil(double %x)\n %i = call i32 @apple(i32 3)\n"
        " ret double %y\n}"
    )
    assert elf.read(objects.emit(text)).undefined_symbols() == ["apple", "ceil"]


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is missing")
@pytest.mark.parametrize("machine", MACHINES)
def test_agrees_with_readelf(objects: Any, machine: str, tmp_path: Path) -> None:
    path = tmp_path / "unit.o"
    path.write_bytes(objects.emit_units(machine)[0].object)
    obj = elf.read(path.read_bytes())

    def readelf(option: str) -> str:
        return subprocess.run(["readelf", "-W", option, path], capture_output=True, text=True, check=True).stdout

    # [Nr] Name Type Address Off Size
    rows = re.findall(r"^ +\[ *(\d+)\] (\S*) +[A-Z]\S+ +\S{16} \S+ (\S+)", readelf("-S"), re.MULTILINE)
    expected_sections = [(int(number), name, int(size, 16)) for number, name, size in rows if int(number)]
    # readelf prints the file size of sections; ours is the same but for NOBITS, of which there are none here.
    assert expected_sections == [(i, s.name, s.size_bytes) for i, s in enumerate(obj.sections) if i]
    symbols = re.findall(r"^ *\d+: (\S{16}) +(\d+) FUNC +\S+ +\S+ +\d+ (\S+)$", readelf("-s"), re.MULTILINE)
    expected = {int(name[1:]): (int(value, 16), int(size)) for value, size, name in symbols}
    assert expected and expected == {i: (s.value, s.size_bytes) for i, s in obj.functions().items()}
    count = len(re.findall(r"^[0-9a-f]{16} +[0-9a-f]{16} R_", readelf("-r"), re.MULTILINE))
    assert count > 10
    assert count == sum(len(obj.relocations(i)) for i in range(len(obj.sections)))


def test_truncated_objects_are_errors(objects: Any) -> None:
    data = objects.emit_units()[0].object
    for size in range(0, len(data), 16):
        with pytest.raises(ArtifactError):
            elf.read(data[:size])


def test_damaged_objects_never_raise_anything_else(objects: Any) -> None:
    original = objects.emit_units()[0].object
    generator = random.Random(3)
    refused = 0
    for _ in range(3000):
        data = bytearray(original)
        for _ in range(generator.choice((1, 1, 8))):
            # The structures are at both ends.
            near_end = generator.random() < 0.7
            at = generator.randrange(len(data) - 3000, len(data)) if near_end else generator.randrange(64)
            data[at] ^= 1 << generator.randrange(8)
        try:
            obj = elf.read(bytes(data))
            obj.functions()
            for i in range(len(obj.sections)):
                obj.relocations(i)
        except ArtifactError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((0, b"\x7fELG"), "not a 64-bit little-endian ELF"),
        ((4, b"\x01"), "not a 64-bit little-endian ELF"),
        ((16, b"\x03\0"), "ELF type 3"),
        ((18, b"\x28\0"), "machine 40"),
    ],
)
def test_other_files_are_named(objects: Any, change: tuple[int, bytes], message: str) -> None:
    data = bytearray(objects.emit_units()[0].object)
    data[change[0] : change[0] + len(change[1])] = change[1]
    with pytest.raises(ArtifactError, match=message):
        elf.read(bytes(data))


def test_what_is_written_can_be_read() -> None:
    sections = [
        elf.SectionToWrite(".first", b"abc"),
        elf.SectionToWrite(".text", b"\x90" * 100, flags=elf.SHF_ALLOC | elf.SHF_EXECINSTR, alignment=4096),
        elf.SectionToWrite(".rodata", b"xyz", flags=elf.SHF_ALLOC, alignment=4096),
    ]
    data, offsets = elf.write(elf.EM_X86_64, sections, [("f7", 1, 0, 60), ("f8", 1, 60, 40)])
    assert offsets == [64, 4096, 8192]
    obj = elf.read(bytes(data))
    assert [(s.name, bytes(s.data), s.alignment) for s in obj.sections[1:4]] == [
        (s.name, s.data, s.alignment) for s in sections
    ]
    functions = {i: (s.section, s.value, s.size_bytes) for i, s in obj.functions().items()}
    assert functions == {7: (2, 0, 60), 8: (2, 60, 40)}
