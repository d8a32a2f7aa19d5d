"""Artifacts: what goes in comes out, bytes are deterministic, damage and mismatches are clear errors."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from wasmjit import Engine, elf, metadata
from wasmjit import artifact as artifact_module
from wasmjit.artifact import FORMAT_VERSION, Artifact, detect
from wasmjit.config import Config
from wasmjit.errors import ArtifactError
from wasmjit.target import Target, host_machine
from wasmjit.wasm.initial_data import merge
from wasmjit.wasm.module import Module, Names


@pytest.fixture(scope="module")
def sample(objects: Any) -> Artifact:
    return objects.make_artifact()


@pytest.fixture(scope="module")
def sample_bytes(sample: Artifact) -> bytes:
    return sample.to_bytes()


def assert_same_module(found: Module, original: Module) -> None:
    for field in fields(Module):
        if field.name not in ("wasm", "data", "merged_data", "custom_sections", "interpretable", "constant_code"):
            assert getattr(found, field.name) == getattr(original, field.name), field.name
    assert found.bytes_of_constants() == original.bytes_of_constants()
    assert len(found.data) == len(original.data)
    original = merge(original)
    assert found.merged_data == original.merged_data
    for a, b in zip(found.data, original.data, strict=True):
        assert found.wasm[a.data_start : a.data_end] == original.wasm[b.data_start : b.data_end]
        assert replace(a, data_start=0, data_end=0) == replace(b, data_start=0, data_end=0)


def test_the_module_survives(sample: Artifact, sample_bytes: bytes, objects: Any, tmp_path: Path) -> None:
    path = tmp_path / "sample.cwasm"
    path.write_bytes(sample_bytes)
    for artifact in (sample, Artifact.from_bytes(sample_bytes), Artifact.open_file(path)):
        assert_same_module(artifact.module, objects.sample_module())
        assert len(artifact.module.wasm) == 15  # the data segments only


def test_everything_else_survives(sample: Artifact, sample_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sample.cwasm"
    path.write_bytes(sample_bytes)
    for loaded in (Artifact.from_bytes(sample_bytes), Artifact.open_file(path)):
        for name in ("version", "abi_hash", "config_key", "source_hash", "target", "image_alignment", "rodata_offset"):
            assert getattr(loaded, name) == getattr(sample, name), name
        assert bytes(loaded.text) == bytes(sample.text)
        assert bytes(loaded.rodata) == bytes(sample.rodata)
        assert list(loaded.function_offsets) == list(sample.function_offsets)
        assert list(loaded.function_sizes) == list(sample.function_sizes)
        assert [list(part) for part in loaded.address_map()] == [list(part) for part in sample.address_map()]
        assert loaded.to_bytes() == sample_bytes


def test_bytes_are_deterministic(objects: Any, sample_bytes: bytes) -> None:
    again = objects.make_artifact()
    assert again is not sample_bytes
    assert again.to_bytes() == sample_bytes
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest, hashlib;"
        "print(hashlib.sha256(conftest.make_artifact().to_bytes()).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    results = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    import hashlib

    assert results == {hashlib.sha256(sample_bytes).hexdigest() + "\n"}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_functions_are_found_by_offset(objects: Any, machine: str) -> None:
    artifact = objects.make_artifact(machine)
    for i, (offset, size) in enumerate(zip(artifact.function_offsets, artifact.function_sizes, strict=True)):
        assert artifact.function_at(offset) == i + 1
        assert artifact.function_at(offset + size - 1) == i + 1
    assert artifact.function_at(len(artifact.text)) is None
    assert artifact.function_at(-1) is None
    offsets, lines = artifact.address_map()
    for line, function in ((900, 1), (2000, 3), (100000, 3), (5000, 5), (6000, 6), (8999, 6)):
        offset = offsets[list(lines).index(line)]
        assert artifact.function_at(offset) == function
        assert artifact.wasm_offset_at(offset) == line
        assert artifact.wasm_offset_at(offset - 1) != line
    assert artifact.wasm_offset_at(artifact.function_offsets[1]) is None  # f2 has no locations


def test_detect(sample_bytes: bytes, objects: Any) -> None:
    assert detect(sample_bytes) == "module"
    assert detect(memoryview(sample_bytes)[:200]) == "module"
    for data in (b"", b"\0asm\1\0\0\0", b"(module)", sample_bytes[:100], objects.emit_units()[0].object):
        assert detect(data) is None
    component = bytearray(sample_bytes)
    component[64 + 12] = artifact_module.KIND_COMPONENT
    assert detect(component) == "component"


def test_every_truncation_is_an_error(sample_bytes: bytes) -> None:
    sizes = [*range(0, len(sample_bytes), 64), *range(200), len(sample_bytes) - 1]
    for size in sizes:
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(sample_bytes[:size])
    with pytest.raises(ArtifactError):
        Artifact.from_bytes(sample_bytes + b"\0")


def test_every_bit_flip_is_an_error(sample_bytes: bytes) -> None:
    generator = random.Random(7)
    # Half of them in the first kilobytes, where the structure is.
    for number in range(4_000):
        at = generator.randrange(4000 if number % 2 else len(sample_bytes))
        data = bytearray(sample_bytes)
        data[at] ^= 1 << generator.randrange(8)
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(data)


def section_ranges(data: bytes) -> dict[str, range]:
    starts = {}
    for section in elf.read(data).sections:
        if section.size_bytes:
            at = data.index(bytes(section.data))
            starts[section.name] = range(at, at + section.size_bytes)
    return starts


def test_flips_in_files(sample_bytes: bytes, tmp_path: Path) -> None:
    """Header, metadata and function ranges: always an error. Others are found by verify(); parts that are read late do
    no harm."""
    path = tmp_path / "flipped.cwasm"
    ranges = section_ranges(sample_bytes)
    checked = [*range(64), *ranges[".wasmjit.header"], *ranges[".wasmjit.meta"], *ranges[".wasmjit.funcs"]]
    generator = random.Random(11)
    for at in [*range(0, 64, 5), *generator.sample(checked, 300)]:
        data = bytearray(sample_bytes)
        data[at] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=re.escape(str(path))):
            Artifact.open_file(path)
    for at in generator.sample(sorted(set(range(len(sample_bytes))) - set(checked)), 200):
        data = bytearray(sample_bytes)
        data[at] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        artifact = Artifact.open_file(path)
        assert isinstance(artifact.module.names, Names)
        assert len(artifact.module.bodies) == 6
        artifact.wasm_offset_at(300)
        with pytest.raises(ArtifactError, match="wrong checksum"):
            artifact.verify()


def test_damaged_names_and_maps_read_as_missing(sample_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flipped.cwasm"
    data = bytearray(sample_bytes)
    ranges = section_ranges(sample_bytes)
    for name in (".wasmjit.names", ".wasmjit.bodies", ".wasmjit.addrmap"):
        data[ranges[name].start + 2] ^= 4
    path.write_bytes(data)
    artifact = Artifact.open_file(path)
    assert artifact.module.names == Names()
    assert {(body.start, body.end) for body in artifact.module.bodies} == {(0, 0)}
    assert artifact.wasm_offset_at(artifact.function_offsets[2] + 20) is None


def test_files_are_truncated_with_an_error(sample_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.cwasm"
    for size in (0, 1, 63, 64, 100, 200, 4000, len(sample_bytes) - 1):
        path.write_bytes(sample_bytes[:size])
        with pytest.raises(ArtifactError, match=r"short\.cwasm: "):
            Artifact.open_file(path)
    with pytest.raises(FileNotFoundError):
        Artifact.open_file(tmp_path / "missing.cwasm")


@pytest.mark.parametrize(
    "value", [None, 3, "x", [], {}, {"types": 3}, {"types": [[1, 2]]}, {"imports": [[1]]}, {"data": [[0] * 6]}]
)
def test_metadata_of_another_form_is_an_error(value: Any, objects: Any) -> None:
    """Even with a right checksum."""
    good, indices = metadata.encode_module(metadata.strip(objects.sample_module()))
    if isinstance(value, dict) and value:
        value = {**good, **value}
    with pytest.raises(ArtifactError, match="metadata is damaged"):
        metadata.decode_module(value, memoryview(indices).cast("I"), b"")


@pytest.mark.parametrize("change", [lambda indices: indices[:-4], lambda indices: indices + bytes(4)])
def test_as_many_indices_as_are_needed(change: Callable[[bytes], bytes], objects: Any) -> None:
    good, indices = metadata.encode_module(metadata.strip(objects.sample_module()))
    with pytest.raises(ArtifactError, match="metadata is damaged"):
        metadata.decode_module(good, memoryview(change(indices)).cast("I"), b"")


def test_a_module_is_parsed_when_it_is_used(sample_bytes: bytes) -> None:
    artifact = Artifact._parse(memoryview(sample_bytes))
    with pytest.raises(AttributeError):
        Module.types.__get__(artifact.module)  # type: ignore[attr-defined]
    assert artifact.module.func_ref_functions() == [1, 2, 3, 5]
    assert Module.types.__get__(artifact.module) == artifact.module.types  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no_such_part"):
        _ = artifact.module.no_such_part  # type: ignore[attr-defined]


@pytest.mark.parametrize("section", ["module", "indices", "funcs"])
def test_a_forged_module_is_an_error_when_it_is_used(section: str, sample: Artifact) -> None:
    """Right checksums, but contents that are too short."""
    sections = dict(sample._sections)
    sections[section] = sections[section][:-8]
    forged = Artifact(json.loads(bytes(sections["meta"])), sections)
    with pytest.raises(ArtifactError, match="damaged"):
        _ = forged.module.exports


@pytest.mark.parametrize("position", [1, 2, 3])
def test_a_forged_index_is_an_error_when_it_is_instantiated(position: int) -> None:
    """Of the indices: the function's type, the referenced function, the function in the element segment."""
    engine = Engine(Config(opt_level="none"))
    text = '(module (import "" "" (func)) (func $f (result i32) i32.const 1) (table 1 funcref) (elem (i32.const 0) $f))'
    module = wasmjit.Module(engine, text)
    artifact = module._artifact
    indices = array("I", bytes(artifact._sections["indices"]))
    assert indices.tolist() == [0, 1, 1, 1]
    indices[position] = 1000
    sections = {**artifact._sections, "indices": memoryview(indices.tobytes())}
    forged = wasmjit.Module._wrap(engine, Artifact(json.loads(bytes(sections["meta"])), sections))
    store = wasmjit.Store(engine)
    imported = wasmjit.Func(store, wasmjit.FuncType([], []), lambda: None)
    with pytest.raises((ArtifactError, IndexError)):
        wasmjit.Instance(store, forged, [imported])


@pytest.mark.parametrize("value", [-1, 5000])
def test_a_forged_data_segment_is_an_error_when_it_is_instantiated(value: int) -> None:
    engine = Engine(Config(opt_level="none"))
    artifact = wasmjit.Module(engine, '(module (memory 1) (data "passive"))')._artifact
    encoded = json.loads(bytes(artifact._sections["module"]))
    encoded["data"][1][0][5] = value
    sections = {**artifact._sections, "module": memoryview(json.dumps(encoded).encode())}
    forged = wasmjit.Module._wrap(engine, Artifact(json.loads(bytes(sections["meta"])), sections))
    with pytest.raises(ArtifactError, match="data segments are damaged"):
        wasmjit.Instance(wasmjit.Store(engine), forged, [])


@pytest.mark.skipif(shutil.which("readelf") is None or shutil.which("objdump") is None, reason="binutils are missing")
def test_binutils_can_look_at_it(sample: Artifact, sample_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sample.cwasm"
    path.write_bytes(sample_bytes)

    def run(*command: str) -> str:
        done = subprocess.run([*command, path], capture_output=True, text=True, errors="replace", check=True)
        assert "arning" not in done.stderr
        return done.stdout

    sections = run("readelf", "-WS")
    for name in (".wasmjit.header", ".wasmjit.meta", ".wasmjit.names", ".text", ".rodata", ".symtab"):
        assert f" {name} " in sections
    symbols = run("readelf", "-Ws")
    assert re.search(r"FUNC +GLOBAL +DEFAULT +\d+ wasm\[2\]::multiply_add$", symbols, re.MULTILINE)
    assert re.search(r"wasm\[1\]$", symbols, re.MULTILINE)
    if host_machine() == "x86_64":
        code = run("objdump", "-d", "--no-show-raw-insn")
        assert "<wasm[2]::multiply_add>:" in code
        assert "mulsd" in code


# ---- compatibility ----
def test_a_fresh_artifact_is_compatible(sample: Artifact, sample_bytes: bytes) -> None:
    sample.check_compatible()
    Artifact.from_bytes(sample_bytes).check_compatible(Config().cache_key())


def with_properties(data: bytes, **changes: Any) -> Artifact:
    """The artifact with other metadata."""
    artifact = Artifact.from_bytes(data)
    properties = json.loads(bytes(artifact._sections["meta"]))
    return Artifact({**properties, **changes}, artifact._sections)


def test_other_versions_are_refused(sample_bytes: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"compiled by wasmjit 9\.9\.9, this is wasmjit .*: compile the"):
        with_properties(sample_bytes, version="9.9.9").check_compatible()
    with pytest.raises(ArtifactError, match="runtime interface 123"):
        with_properties(sample_bytes, abi="123").check_compatible()
    data = bytearray(sample_bytes)
    data[64 + 8] = 77
    with pytest.raises(ArtifactError, match=f"artifact format 77, this version reads {FORMAT_VERSION}: compile"):
        Artifact.from_bytes(data)


def test_other_machines_are_refused(objects: Any) -> None:
    other = next(machine for machine in objects.machines if machine != host_machine())
    artifact = Artifact.from_bytes(objects.make_artifact(other).to_bytes())
    with pytest.raises(ArtifactError, match=f"compiled for {other}-unknown-.*, this machine is {host_machine()}"):
        artifact.check_compatible()


def test_missing_cpu_features_are_named(sample_bytes: bytes) -> None:
    lacking = {"x86_64": ["fma4", "tbm", "xop"], "aarch64": ["sme"]}[host_machine()]
    present = {"x86_64": "sse3", "aarch64": "neon"}[host_machine()]
    artifact = with_properties(
        sample_bytes, features=",".join([*lacking, present, "a-feature-that-no-code-uses"]), cpu="bdver4"
    )
    from wasmjit.target import host_features

    if host_features() is None or {"fma4", "tbm", "xop", "sme"} & host_features():
        pytest.skip("this CPU is unusual")
    with pytest.raises(ArtifactError, match=f"compiled for CPU bdver4 with {', '.join(lacking)}, which this CPU lacks"):
        artifact.check_compatible()


def test_what_llvm_says_of_this_cpu_is_not_missing() -> None:
    """The table of kernel names is right for this machine: all that LLVM would use is there."""
    import llvmlite.binding as llvm

    from wasmjit.target import missing_features, parse_features

    assert missing_features(parse_features(llvm.get_host_cpu_features().flatten())) == []


def test_another_config_is_named(sample: Artifact) -> None:
    with pytest.raises(ArtifactError, match="opt_level is speed, expected none"):
        sample.check_compatible(Config(opt_level="none").cache_key())
    with pytest.raises(ArtifactError, match=r"memory is guarded:.*, expected checked"):
        sample.check_compatible(Config(signals_based_traps=False).cache_key())
    # The target was compared with the machine: naming it differently is no difference.
    sample.check_compatible(Config(target=sample.target.triple, cpu="generic").cache_key())


def test_source_hash_and_target(objects: Any) -> None:
    import hashlib

    module = objects.sample_module()
    artifact = objects.make_artifact(features="+sse3,+avx,-avx2")
    assert artifact.source_hash == hashlib.sha256(module.wasm).hexdigest()
    assert artifact.target == Target(artifact.target.triple, "generic", ("avx", "sse3"))


def test_a_module_without_functions() -> None:
    target = Target(f"{host_machine()}-unknown-linux-gnu", "generic", ())
    artifact = Artifact.from_compiled(Module(b"\0asm"), [], target=target, config_key="")
    loaded = Artifact.from_bytes(artifact.to_bytes())
    assert len(loaded.text) == len(loaded.function_offsets) == 0
    assert loaded.function_at(0) is None and loaded.wasm_offset_at(0) is None


@pytest.mark.parametrize("opt_level", ["none", "speed"])
def test_a_real_program(opt_level: str, examples: Path, tmp_path: Path) -> None:
    """Every location of the compiler's output lies in the body of the function that its code belongs to."""
    from wasmjit.compile import pipeline
    from wasmjit.wasm.decode import decode

    config = Config(opt_level=opt_level)
    module = decode((examples / "mandelbrot.wasm").read_bytes(), config.features)
    units = pipeline.compile_module(module, config)
    target = pipeline.resolve_target(config)
    artifact = Artifact.from_compiled(module, units, target=target, config_key=config.cache_key())
    path = tmp_path / "program.cwasm"
    path.write_bytes(artifact.to_bytes())
    loaded = Artifact.open_file(path)
    loaded.check_compatible(config.cache_key())
    assert_same_module(loaded.module, module)
    known = 0
    for offset, line in zip(*loaded.address_map(), strict=True):
        if line:
            body = module.bodies[loaded.function_at(offset) - module.num_imported_functions]
            assert body.start <= line < body.end
            known += 1
    assert known > 500
    assert len(path.read_bytes()) < 2 * (len(loaded.text) + len(loaded.rodata) + loaded.image_alignment) + 20_000
