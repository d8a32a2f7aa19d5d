"""Code for a processor that this machine is not as good as is made and serialized, and never run."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processors import lacks
from wasmjit import ArtifactError, Config, Engine, Func, FuncType, Instance, Linker, Module, Store, ValType
from wasmjit.artifact import Artifact
from wasmjit.compile import llvm as compiler
from wasmjit.compile import processors
from wasmjit.compile.pipeline import resolve_target
from wasmjit.target import host_machine, parse_features

X86, AARCH64 = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
# No machine has more than these yet; the kernels of today do not tell of all that they have.
BETTER = {"x86_64": "diamondrapids", "aarch64": "apple-m4"}[host_machine()]
# A loop that LLVM vectorises; a select that AVX-512 has an instruction for.
TEXT = """(module (memory 1) (func $f (export "f") (param $n i32) (result f64) (local $i i32)
  (loop $l
    (f64.store (local.get $i) (select (f64.load offset=8192 (local.get $i)) (f64.const 1)
      (f64.gt (f64.load offset=16384 (local.get $i)) (f64.const 2))))
    (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (local.get $n))))
  (f64.load (i32.const 8))))"""

pytestmark = pytest.mark.skipif(not lacks(BETTER), reason="this machine is better than any known when this was written")


def features(cpu: str | None, cpu_features: str | None = None, target: str | None = None) -> set[str]:
    return set(resolve_target(Config(cpu=cpu, cpu_features=cpu_features, target=target)).features)


@pytest.mark.parametrize(
    ("target", "cpu", "has", "lacking"),
    [
        (X86, "x86-64", set(), {"sse3", "avx"}),
        (X86, None, {"sse4.2", "popcnt"}, {"avx", "bmi"}),
        (X86, "haswell", {"avx2", "fma", "bmi2"}, {"avx512f", "sse4a"}),
        (X86, "skylake-avx512", {"avx512f", "avx512bw", "avx512vl"}, {"avx512vnni", "gfni"}),
        (X86, "znver3", {"avx2", "sse4a", "vaes"}, {"avx512f", "gfni"}),
        (X86, "znver4", {"avx512vnni", "gfni", "sse4a", "vaes"}, {"avx512fp16", "avxvnni", "egpr"}),
        (X86, "diamondrapids", {"avx10.2", "egpr", "avx512fp16"}, {"sse4a", "xop"}),
        (X86, "bdver4", {"xop", "fma4", "tbm", "avx2"}, {"avx512f"}),
        (AARCH64, None, {"neon"}, {"lse", "sve", "sha3"}),
        (AARCH64, "neoverse-n1", {"lse", "dotprod"}, {"sve", "bf16", "sha3"}),
        (AARCH64, "neoverse-v2", {"sve2", "bf16", "i8mm"}, {"mops", "sme"}),
        (AARCH64, "apple-m1", {"sha3", "lse", "jsconv"}, {"bf16", "sve", "sme"}),
        (AARCH64, "apple-m4", {"sme2", "bf16", "sha3"}, {"sve", "mops"}),
    ],
)
def test_what_a_name_implies(target: str, cpu: str | None, has: set[str], lacking: set[str]) -> None:
    found = features(cpu, target=target)
    assert has <= found and not lacking & found


def test_what_is_given_counts_too() -> None:
    """With what it implies, as LLVM has it; in order."""
    both = {"avx512f", "avx512vl"}
    assert both <= features("x86-64", "+avx512vl", X86)
    assert not features("znver4", "-avx512f", X86) & {"avx512f", "avx512bw", "avx512vbmi"}
    assert "avx2" in features("znver4", "-avx512f", X86) and "avx2" not in features("znver4", "-avx2", X86)
    assert both <= features("znver4", "-avx512f,+avx512vl", X86)


def test_features_of_a_newer_llvm_are_not_taken_for_there() -> None:
    """An LLVM that has not heard of one says nothing of it."""
    from wasmjit.compile import llvm

    llvm.initialise(all_targets=True)
    known = ["avx2", "avx512f", "of-another-llvm"]
    machine = llvm.target_machine(X86, "haswell", "", "speed")
    module = llvm.parse(f'target triple = "{X86}"\n{processors.question(known, "haswell", "")}', machine)
    llvm.optimise(module, machine, "speed")
    assert processors.answer(known, str(module)) == ["avx2"]
    with pytest.raises(ValueError, match="does not tell"):
        processors.answer(known, processors.question(known, "haswell", "").replace("call", "skip"))


def refused(action: Any, *arguments: Any) -> None:
    with pytest.raises(ArtifactError, match=f"{BETTER} with .*which this CPU lacks") as caught:
        action(*arguments)
    assert all(feature in str(caught.value) for feature in lacks(BETTER))


@pytest.mark.parametrize("tier", ["optimized", "baseline", "auto"])
def test_modules_compiled_here_do_not_run(tier: str) -> None:
    engine = Engine(Config(cpu=BETTER, tier=tier))
    module = Module(engine, TEXT)
    store = Store(engine)
    refused(Instance, store, module, [])
    refused(Linker(engine).instantiate, store, module)


@pytest.mark.parametrize("tier", ["optimized", pytest.param("auto", marks=pytest.mark.slow)])
def test_modules_compiled_here_are_serialized(tier: str) -> None:
    engine = Engine(Config(cpu=BETTER, tier=tier))
    module = Module(engine, TEXT)
    artifact = Artifact.from_bytes(bytes(module.serialize()))
    assert set(lacks(BETTER)) <= set(artifact.target.features)
    refused(Instance, Store(engine), module, [])
    with pytest.raises(ArtifactError, match=BETTER):
        Module.deserialize(engine, module.serialize())


def test_features_that_were_asked_for_count_as_those_of_the_name() -> None:
    more = {"x86_64": "+avx10.2", "aarch64": "+sme2"}[host_machine()]
    for tier in ("optimized", "auto"):
        engine = Engine(Config(cpu_features=more, tier=tier))
        with pytest.raises(ArtifactError, match=f"{more[1:]}.*which this CPU lacks"):
            Instance(Store(engine), Module(engine, TEXT), [])
    without = ",".join(f"-{name}" for name in lacks(BETTER))
    engine = Engine(Config(cpu=BETTER, cpu_features=without, tier="optimized"))
    store = Store(engine)
    assert Instance(store, Module(engine, TEXT), []).exports(store)["f"](store, 80) == 1.0


def test_functions_of_the_host_get_no_code_for_it() -> None:
    store = Store(Engine(Config(cpu=BETTER)))
    function = Func(store, FuncType([ValType.f64()], [ValType.f64()]), lambda x: x)
    assert [function(store, 1.5) for _ in range(1000)] == [1.5] * 1000
    refused(function.native_address, store)


def test_artifacts_for_it_do_not_run(tmp_path: Path) -> None:
    """From bytes, from a file, from a pickle, from a cache and on the command line."""
    engine = Engine(Config(cpu=BETTER, cache=str(tmp_path / "cache"), tier="optimized"))
    compiled = engine.precompile_module(TEXT)
    path = tmp_path / "module.cwasm"
    path.write_bytes(compiled)
    for other in (engine, Engine()):
        with pytest.raises(ArtifactError, match=BETTER):
            Module.deserialize(other, compiled)
        with pytest.raises(ArtifactError, match=BETTER):
            Module.deserialize_file(other, path)
    module = Module(engine, TEXT)
    assert module.serialize() == compiled
    with pytest.raises(ArtifactError, match=BETTER):
        pickle.loads(pickle.dumps(module))
    found = Module(Engine(engine._config), TEXT)  # in the cache
    refused(Instance, Store(found.engine), found, [])
    command = [sys.executable, "-m", "wasmjit", "run", "--allow-precompiled", "--invoke", "f", str(path), "80"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1 and f"compiled for CPU {BETTER}" in ran.stderr and "Traceback" not in ran.stderr


def test_what_the_kernel_does_not_tell_is_not_used_here() -> None:
    """Else code that was made here would be refused here."""
    import llvmlite.binding as llvm

    from wasmjit.compile.llvm import resolve_target
    from wasmjit.target import UNTOLD_FEATURES, missing_features

    of_llvm = resolve_target.__wrapped__  # which looks each time

    class All(type(llvm.get_host_cpu_features())):  # type: ignore[misc]
        pass

    every = All(dict.fromkeys((*llvm.get_host_cpu_features(), *UNTOLD_FEATURES), True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llvm, "get_host_cpu_features", lambda: every)
        found = parse_features(of_llvm(None, None, None)[2])
    assert found and not UNTOLD_FEATURES & set(found)
    assert missing_features(parse_features(of_llvm(None, None, None)[2])) == []


@pytest.mark.parametrize(
    ("cpu", "features"),
    [("x86-64-v2", "-avx,-avx512f"), ("x86-64-v3", "+avx,+avx2,-avx512f"), ("znver3", "+avx512f,+avx,-avx512f")],
)
def test_features_that_are_named_tell_the_vector_registers(cpu: str, features: str) -> None:
    """Those of this machine are: code is compiled to see it for others."""
    assert compiler.vector_registers(X86, cpu, features) == compiler.vector_registers(X86, cpu, "")
    assert not compiler.vector_registers(X86, cpu, "").have_masks


def test_features_that_are_added_tell_of_masks() -> None:
    for features in ("+avx512f", "-avx512f,+avx512f", "-avx512f,+avx512vl"):
        assert compiler.vector_registers(X86, "x86-64-v3", features).have_masks
