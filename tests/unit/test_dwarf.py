"""The line table reader against readelf's, DWARF 4 and 5, both machines."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wasmjit import dwarf, elf
from wasmjit.errors import ArtifactError

CASES = [(machine, version, opt) for machine in ("x86_64", "aarch64") for version in (4, 5) for opt in (0, 2)]


def rows_of(data: bytes) -> list[tuple[int, int]]:
    obj = elf.read(data)
    index = obj.section_index(".text")
    assert index is not None
    rows = dwarf.line_rows(obj)
    return rows.get(index, [])


def readelf_rows(path: Path) -> list[tuple[int, int]]:
    """What readelf decodes, reduced as line_rows promises."""
    command = ["readelf", "-W", "--debug-dump=decodedline", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows: list[tuple[int, int]] = []
    for line, address in re.findall(r"^module\.wasm +(\d+|-) +(0x[0-9a-f]+|0)", text, re.MULTILINE):
        row = (int(address, 16), 0 if line == "-" else int(line))
        if rows and rows[-1][0] == row[0]:
            rows.pop()
        if not rows or rows[-1][1] != row[1]:
            rows.append(row)
    return rows


@pytest.mark.part(2)
@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is missing")
@pytest.mark.parametrize(("machine", "version", "opt"), CASES)
def test_agrees_with_readelf(objects: Any, machine: str, version: int, opt: int, tmp_path: Path) -> None:
    for unit in objects.emit_units(machine, version, opt):
        path = tmp_path / "unit.o"
        path.write_bytes(unit.object)
        expected = readelf_rows(path)
        assert len(expected) > 5
        assert rows_of(unit.object) == expected


@pytest.mark.parametrize(("machine", "version", "opt"), CASES)
def test_every_marked_instruction_is_there(objects: Any, machine: str, version: int, opt: int) -> None:
    first, second = (rows_of(unit.object) for unit in objects.emit_units(machine, version, opt))
    lines = {line for _, line in first}
    assert {900, 2000, 100000} <= lines
    if (machine, opt) != ("aarch64", 2):  # there all cases share their last instructions, which lose the location
        assert {100 + i for i in range(objects.jump_count)} <= lines
    assert 0 in lines  # most code has no location
    assert {6000 + i for i in range(3000)} | {5000} <= {line for _, line in second}
    for rows in (first, second):
        assert rows == sorted(set(rows))
        assert all(a[1] != b[1] for a, b in pairwise(rows))


def test_an_object_without_line_table_has_no_rows(objects: Any) -> None:
    assert rows_of(objects.emit("define i32 @f0() { ret i32 1 }")) == []


@pytest.mark.parametrize("version", [4, 5])
def test_damaged_tables_never_raise_anything_else(objects: Any, version: int) -> None:
    original = objects.emit_units("x86_64", version)[0].object
    obj = elf.read(original)
    section = obj.sections[obj.section_index(".debug_line")]
    start = original.index(bytes(section.data))
    generator = random.Random(version)
    refused = 0
    for _ in range(800):
        data = bytearray(original)
        data[start + generator.randrange(section.size_bytes)] ^= 1 << generator.randrange(8)
        try:
            rows_of(bytes(data))
        except ArtifactError:
            refused += 1
    assert refused > 40


def test_a_line_table_of_another_version_is_refused(objects: Any) -> None:
    data = bytearray(objects.emit_units("x86_64", 4)[0].object)
    obj = elf.read(bytes(data))
    start = bytes(data).index(bytes(obj.sections[obj.section_index(".debug_line")].data))
    data[start + 4] = 3
    with pytest.raises(ArtifactError, match="version 3 is not supported"):
        rows_of(bytes(data))
