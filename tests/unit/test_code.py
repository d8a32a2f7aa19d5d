"""Both loaders: code runs, pages are protected, program counters are found, and nothing stays behind."""

from __future__ import annotations

import ctypes
import gc
import random
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from wasmjit import abi
from wasmjit.artifact import Artifact
from wasmjit.errors import ArtifactError, WasmError
from wasmjit.runtime import code as code_module
from wasmjit.runtime.code import LOADERS, LoadedCode, load, lookup_pc
from wasmjit.runtime.native import lib

SOURCES = ("fresh", "bytes", "file")
CASES = [(loader, source) for loader in LOADERS for source in SOURCES]
I32, I64, F64, PTR = ctypes.c_int32, ctypes.c_uint64, ctypes.c_double, ctypes.c_void_p


def artifact_from(source: str, artifact: Artifact, directory: Path) -> Artifact:
    if source == "fresh":
        return artifact
    if source == "bytes":
        return Artifact.from_bytes(artifact.to_bytes())
    path = directory / "sample.cwasm"
    path.write_bytes(artifact.to_bytes())
    return Artifact.open_file(path)


class Caller:
    """Calls loaded functions with an instance context that has the function table."""

    def __init__(self, code: LoadedCode) -> None:
        self.code = code
        self.context = (ctypes.c_uint64 * 64)()
        self.context[abi.VMCONTEXT["functions"] // 8] = code.functions_address

    def __call__(self, index: int, result: Any, kind: Any, value: Any) -> Any:
        entry = ctypes.CFUNCTYPE(result, PTR, kind)(self.code.function_addresses[index - 1])
        return entry(ctypes.addressof(self.context), value)


def check_all_functions(code: LoadedCode, objects: Any) -> None:
    call = Caller(code)
    for i in range(objects.jump_count):
        assert call(1, I32, I32, i) == objects.jump_result(i)
        assert call.context[0] == i  # what the case stored
    f2 = objects.f2_result
    assert call(2, F64, F64, 1.5) == f2(1.5)
    assert call(3, F64, I32, -7) == f2(-7.0) + f2(f2(-7.0))
    for i, number in enumerate((3, (1 << 64) - 1, 4000000000000, 15, 92)):
        assert call(4, I64, I32, 10 + i) == number
    assert call(5, F64, F64, 0.25) == f2(0.25) + 0.333333333333333314829616256247
    assert call(6, I64, I64, 12345678901234567) == objects.large_result(12345678901234567)


def memory_maps() -> list[tuple[int, int, str]]:
    """Start, end and permissions of everything mapped."""
    rows = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (\S+)", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return [(int(start, 16), int(end, 16), permissions) for start, end, permissions in rows]


def permissions_at(address: int) -> str:
    return next((p for start, end, p in memory_maps() if start <= address < end), "")


@pytest.mark.parametrize(("loader", "source"), CASES)
def test_code_runs(objects: Any, loader: str, source: str, tmp_path: Path) -> None:
    for opt in (2, 0):
        artifact = artifact_from(source, objects.make_artifact(opt=opt), tmp_path)
        code = load(artifact, loader)
        assert code.loader == loader
        assert code.artifact is artifact
        assert list(code.functions) == [*code.function_addresses, *[0] * len(code.function_addresses)]
        check_all_functions(code, objects)


def test_the_function_table_redirects_calls(objects: Any) -> None:
    code = load(objects.make_artifact())
    call = Caller(code)
    replacement = ctypes.CFUNCTYPE(F64, PTR, F64)(lambda context, value: 1000.0)
    code.functions[1] = ctypes.cast(replacement, PTR).value or 0
    assert call(5, F64, F64, 0.25) == pytest.approx(1000.3333333)
    code.functions[1] = code.function_addresses[1]
    check_all_functions(code, objects)


@pytest.mark.parametrize("source", SOURCES)
def test_no_page_is_writable_and_executable(objects: Any, source: str, tmp_path: Path) -> None:
    artifact = artifact_from(source, objects.make_artifact(), tmp_path)
    code = load(artifact, "image")
    assert permissions_at(code.text_start) == permissions_at(code.text_end - 1) == "r-xp"
    assert permissions_at(code.text_start + artifact.rodata_offset) == "r--p"
    mcjit = load(artifact, "mcjit")
    assert permissions_at(mcjit.text_start) == permissions_at(mcjit.text_end - 1) == "r-xp"


def test_a_file_is_mapped_once_and_copied_then(objects: Any, tmp_path: Path) -> None:
    artifact = artifact_from("file", objects.make_artifact(), tmp_path)
    maps = Path("/proc/self/maps")
    first, second = load(artifact), load(artifact)
    assert first.text_start != second.text_start
    for code, is_file in ((first, True), (second, False)):
        line = next(
            line
            for line in maps.read_text().splitlines()
            if int(line.split("-")[0], 16) <= code.text_start < int(line.split("-")[1].split()[0], 16)
        )
        assert ("sample.cwasm" in line) == is_file
        check_all_functions(code, objects)
    (tmp_path / "sample.cwasm").unlink()
    check_all_functions(first, objects)
    start = first.text_start
    del first, artifact, code
    gc.collect()
    assert lookup_pc(start) is None
    check_all_functions(second, objects)


@pytest.mark.parametrize("loader", LOADERS)
def test_program_counters_are_found(objects: Any, loader: str) -> None:
    artifact = objects.make_artifact()
    codes = [load(artifact, loader) for _ in range(5)]
    offsets, lines = artifact.address_map()
    for code in codes:
        for i, address in enumerate(code.function_addresses):
            found = lookup_pc(address)
            assert found is not None and found[0] is code and found[1] == i + 1
            last = lookup_pc(address + artifact.function_sizes[i] - 1)
            assert last is not None and last[0] is code and last[1] == i + 1
        at = code.text_start + offsets[list(lines).index(100000)]
        assert lookup_pc(at) == (code, 3, 100000)
        assert lookup_pc(code.function_addresses[1] + 3) == (code, 2, None)
        assert lookup_pc(code.text_end) is None
        assert lookup_pc(code.text_start - 1) is None
    for pc in (0, 1, (1 << 64) - 1, id(codes)):
        assert lookup_pc(pc) is None


@pytest.mark.parametrize("loader", LOADERS)
def test_code_is_unloaded_with_its_last_reference(objects: Any, loader: str) -> None:
    artifact = objects.make_artifact()
    kept, dropped = load(artifact, loader), load(artifact, loader)
    start, reference = dropped.text_start, weakref.ref(dropped)
    assert permissions_at(start) == "r-xp"
    found = lookup_pc(start)
    assert found is not None
    del dropped
    assert reference() is not None  # what a lookup returned keeps it alive
    del found
    gc.collect()
    assert reference() is None
    assert lookup_pc(start) is None
    if loader == "image":
        assert permissions_at(start) == ""
    check_all_functions(kept, objects)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("at", ["start", "end"])
@pytest.mark.parametrize("loader", LOADERS)
def test_no_interrupt_leaves_code_registered(
    objects: Any, loader: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lay there next could not be loaded: "cannot register ... bytes of code: File exists"."""
    artifact = objects.make_artifact()
    ranges: list[tuple[int, int]] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def load_here() -> None:
        code = load(artifact, loader)
        ranges.append((code.text_start, code.text_end))
        monkeypatch.setattr(code_module, "_note_change", interrupt)

    if at == "start":
        before = set(code_module._live)
        monkeypatch.setattr(code_module, "_note_change", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(artifact, loader)
        (start,) = set(code_module._live) - before
        ranges.append((start, start + len(artifact.text)))
    else:
        load_here()
    gc.collect()
    (found,) = ranges
    assert lib.wj_code_register(*found) == 0
    lib.wj_code_unregister(found[0])


@pytest.mark.parametrize("loader", LOADERS)
def test_loading_leaks_nothing(objects: Any, loader: str) -> None:
    artifact = objects.make_artifact()

    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def loops(count: int) -> None:
        for _ in range(count):
            Caller(load(artifact, loader))(1, I32, I32, 3)
        gc.collect()

    loops(40)
    live, maps, before = len(code_module._live), len(memory_maps()), resident_bytes()
    loops(200)
    assert resident_bytes() - before < 1 << 20
    assert len(code_module._live) == live
    assert len(memory_maps()) <= maps + 3


def test_many_threads_load_look_up_and_unload(objects: Any) -> None:
    artifact = objects.make_artifact()
    failures: list[object] = []

    def work(seed: int) -> None:
        generator = random.Random(seed)
        mine: list[LoadedCode] = []
        for _ in range(150):
            mine.append(load(artifact))
            if len(mine) > 5:
                del mine[generator.randrange(5)]
            code = generator.choice(mine)
            found = lookup_pc(code.function_addresses[2] + 1)
            if found is None or found[0] is not code or found[1] != 3:
                failures.append((found, code))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_image_loader_imports_no_llvm(objects: Any, tmp_path: Path) -> None:
    path = tmp_path / "sample.cwasm"
    path.write_bytes(objects.make_artifact().to_bytes())
    program = (
        "import sys; from wasmjit.artifact import Artifact; from wasmjit.runtime.code import load\n"
        "code = load(Artifact.open_file(sys.argv[1]))\n"
        "print(code.loader, any(name.startswith(('llvmlite', 'wasmjit.compile')) for name in sys.modules))"
    )

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, str(path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    assert run().stdout == "image False\n"
    assert run(WASMJIT_LOADER="mcjit").stdout == "mcjit True\n"
    failed = run(WASMJIT_LOADER="gold")
    assert "unknown loader 'gold' (one of image, mcjit)" in failed.stderr and failed.returncode == 1


def test_code_for_another_machine_is_not_loaded(objects: Any) -> None:
    artifact = objects.make_artifact()
    other = next(machine for machine in objects.machines if machine != artifact.target.machine)
    for loader in LOADERS:
        with pytest.raises(ArtifactError, match=f"compiled for {other}"):
            load(objects.make_artifact(other), loader)
    with pytest.raises(WasmError, match="unknown loader"):
        load(artifact, "dlopen")


@pytest.mark.parametrize("loader", LOADERS)
def test_a_module_without_functions_loads(loader: str) -> None:
    from wasmjit.target import Target, host_machine
    from wasmjit.wasm.module import Module

    target = Target(f"{host_machine()}-unknown-linux-gnu", "generic", ())
    code = load(Artifact.from_compiled(Module(b""), [], target=target, config_key=""), loader)
    assert not code.function_addresses and len(code.functions) == 0
    assert lookup_pc(0) is None


@pytest.mark.parametrize("loader", LOADERS)
def test_mcjit_and_image_agree_between_reservations(objects: Any, loader: str) -> None:
    """Among large reservations, where MCJIT's own memory manager spread sections out of reach of each other."""
    import mmap

    artifact = objects.make_artifact()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    reservations, codes = [], []
    for _ in range(20):
        reservations.append(mmap.mmap(-1, 8 << 30, flags=flags, prot=0))
        codes.append(load(artifact, loader))
    for code in codes:
        check_all_functions(code, objects)
