"""The kernels with vector intrinsics (bench/kernels/simd) compile, find themselves right, print the same everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import simd

pytest.importorskip("ziglang")

FEW_ITERATIONS = 20


@pytest.mark.part(4)
@pytest.mark.parametrize("name", simd.ITERATIONS)
def test_a_kernel_prints_the_same_everywhere(name: str, tmp_path: Path) -> None:
    runs = simd.contenders(name, tmp_path)
    assert {"wasmjit", "wasmtime"} <= runs.keys()
    assert ("native" in runs) == (shutil.which("gcc") is not None)
    printed = {contender: run(FEW_ITERATIONS)[1] for contender, run in runs.items()}
    assert len(set(printed.values())) == 1, printed
    first, checksum = printed["wasmjit"].split()
    assert first == name.encode() and int(checksum, 16)


def test_every_kernel_is_measured() -> None:
    assert {path.stem for path in simd.KERNELS.glob("*.c")} == set(simd.ITERATIONS)


def test_a_kernel_that_finds_itself_wrong_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = '#include "simd.h"\nint main(int argc, char **argv) { require(!argv, "nothing is right"); }\n'
    for file in ("simd.h", "library.h", "../kernel.h"):
        (tmp_path / "kernels" / "simd" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(simd.KERNELS / file, tmp_path / "kernels" / "simd" / file)
    (tmp_path / "kernels" / "simd" / "wrong.c").write_text(source)
    monkeypatch.setattr(simd, "KERNELS", tmp_path / "kernels" / "simd")
    for run in simd.contenders("wrong", tmp_path).values():
        with pytest.raises(RuntimeError, match="wrong"):
            run(1)
    (tmp_path / "kernels" / "simd" / "broken.c").write_text("int main(void) {")
    with pytest.raises(RuntimeError, match=r"broken\.c"):
        simd.compile_wasm("broken", tmp_path)
