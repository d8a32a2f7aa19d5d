"""Vectors in the first tier: all rows compute there what they do in optimised code, and under wasmtime."""

from __future__ import annotations

import platform
import random
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

import wasmjit
from tests.spec.test_spec import SUITE
from tests.unit.test_simd_ops import CASES, OUTPUT, ROWS_OF_INPUT, module_of, results, vector, without_nans
from wasmjit import Config, thresholds
from wasmjit.cli.wast import WastOptions, run_file
from wasmjit.compile import workers
from wasmjit.wasm.ops import Op

wasmtime = pytest.importorskip("wasmtime")

# Whether there are stencils, and at random which slots are in registers (0: those that should be).
FIRST_TIERS = {"words": (False, 0), "stencils": (True, 0), "stencils-1": (True, 1)}
SEEDS = [pytest.param((True, seed), id=f"stencils-{seed}", marks=pytest.mark.slow) for seed in range(2, 20)]
NEVER = (1 << 31) - 1
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
QUICK_SCRIPTS = ("simd_address", "simd_splat", "simd_load", "simd_lane", "simd_select", "simd_store8_lane")


@pytest.fixture(params=[*(pytest.param(value, id=name) for name, value in FIRST_TIERS.items()), *SEEDS])
def first_tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """One of the forms of the first tier, with a compiler that fails, and in which nothing gets hot."""

    def refuse(pool: workers.WorkerPool) -> workers.Worker:
        raise AssertionError("a compiler was started")

    has_stencils, seed = request.param
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", NEVER)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 3600.0)
    with monkeypatch.context() as patch:
        patch.setattr(workers.WorkerPool, "_take", refuse)
        yield has_stencils


def rows_of_input(choose: random.Random) -> bytes:
    return b"".join(vector(choose) for _ in range(4 * ROWS_OF_INPUT))


def differences(mine: list[bytes], others: list[bytes], rows: bytes, with_nans: bool) -> list[str]:
    """The cases that compute different things, with the first operands for which they do."""
    found = []
    for (op, immediate), one, other in zip(CASES, mine, others, strict=True):
        if one == other or (not with_nans and without_nans(op, one) == without_nans(op, other)):
            continue
        at = next(at for at in range(0, len(one), 16) if one[at : at + 16] != other[at : at + 16])
        operands = [rows[4 * at + i : 4 * at + i + 16].hex() for i in range(0, 64, 16)]
        computed = one[at : at + 16].hex(), other[at : at + 16].hex()
        found.append(f"{op.name} {immediate}: {operands} -> {computed[0]}, other {computed[1]}")
    return found


@pytest.mark.part(2)
@pytest.mark.parametrize("canonical", [False, True], ids=["", "canonical"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["", "deterministic"])
def test_every_row_computes_as_wasmtime(first_tier: bool, deterministic: bool, canonical: bool) -> None:
    rows = rows_of_input(random.Random(f"{deterministic}{canonical}"))
    options = {"wasm_relaxed_simd_deterministic": deterministic, "nan_canonicalization": canonical}
    theirs_config = wasmtime.Config()
    theirs_config.wasm_relaxed_simd = True
    theirs_config.wasm_relaxed_simd_deterministic = deterministic
    theirs_config.cranelift_nan_canonicalization = canonical
    ours = results(wasmjit, Config(tier="auto", **options), CASES, rows)
    theirs = results(wasmtime, theirs_config, CASES, rows)
    different = differences(ours, theirs, rows, canonical)
    assert not different, "\n".join(different)


@pytest.mark.parametrize(
    ("deterministic", "cpu"),
    [
        (True, None),
        pytest.param(False, "x86-64-v2" if IS_X86 else None, marks=pytest.mark.slow),
        pytest.param(True, "x86-64-v2" if IS_X86 else None, marks=pytest.mark.slow),
        pytest.param(False, None, marks=pytest.mark.slow),
    ],
)
def test_every_row_computes_as_in_optimised_code(deterministic: bool, cpu: str | None, monkeypatch: Any) -> None:
    """Relaxed rows included, on whatever processor: an engine has one result for them."""
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", NEVER)
    rows = rows_of_input(random.Random(f"{deterministic}{cpu}"))
    options: dict[str, Any] = {"wasm_relaxed_simd_deterministic": deterministic, "opt_level": "none", "cpu": cpu}
    optimised = results(wasmjit, Config(tier="optimized", **options), CASES, rows)
    for has_stencils, seed in FIRST_TIERS.values():
        monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
        monkeypatch.setattr(thresholds, "REGISTER_SEED", seed)
        ours = results(wasmjit, Config(tier="auto", **options), CASES, rows)
        different = differences(ours, optimised, rows, False)
        assert not different, "\n".join(different)


def test_every_row_computes_the_same_with_comparisons(first_tier: bool) -> None:
    rows = rows_of_input(random.Random("options"))
    plain = results(wasmjit, Config(tier="auto"), CASES, rows)
    checked = results(wasmjit, Config(tier="auto", signals_based_traps=False), CASES, rows)
    assert not differences(checked, plain, rows, with_nans=False)


ACCESSES = [(op, immediate) for op, immediate in CASES if op.access_bytes]


def access(op: Op, immediate: str, index: int) -> str:
    """The export `index`: an access at an address."""
    operands = "(local.get 0)" + " (v128.const i64x2 1 2)" * (len(op.params) - 1)
    text = f"({op.name} {immediate} {operands})"
    return f'(func (export "{index}") (param i32) {f"(drop {text})" if op.result else text})'


@pytest.mark.parametrize("memory", ["1", "100 (pagesize 1)"], ids=["guarded", "checked"])
def test_accesses_end_where_the_memory_does(first_tier: bool, memory: str) -> None:
    """Behind one of a hundred bytes there are others on its page, and no fault for any of them."""
    functions = [access(op, immediate, index) for index, (op, immediate) in enumerate(ACCESSES)]
    store = wasmjit.Store(wasmjit.Engine(Config(tier="auto", wasm_custom_page_sizes=True)))
    module = wasmjit.Module(store.engine, f"(module (memory {memory}) {' '.join(functions)})")
    exports = wasmjit.Instance(store, module, []).exports(store)
    for index, (op, _) in enumerate(ACCESSES):
        last = (65536 if memory == "1" else 100) - op.access_bytes
        assert exports[str(index)](store, last) is None
        with pytest.raises(wasmjit.Trap) as caught:
            exports[str(index)](store, last + 1)
        assert caught.value.trap_code is wasmjit.TrapCode.MEMORY_OUT_OF_BOUNDS


def test_every_row_takes_as_much_fuel_as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", NEVER)
    left = []
    for tier in ("auto", "optimized"):
        store = wasmjit.Store(wasmjit.Engine(Config(tier=tier, opt_level="none", consume_fuel=True)), fuel=1 << 40)
        exports = wasmjit.Instance(store, wasmjit.Module(store.engine, module_of(CASES)), []).exports(store)
        left.append([])
        for index in range(len(CASES)):
            exports[str(index)](store, 64 * (ROWS_OF_INPUT - 3), OUTPUT)
            left[-1].append(store.get_fuel())
    assert left[0] == left[1]


HOT = """(module (memory (export "memory") 1)
  (func (export "f") (param $n i32) (param v128) (param $step v128) (result v128 i32) (local $sum v128) (local $i i32)
    (loop $again
      (local.set $sum (i32x4.add (local.get $sum) (i32x4.mul (local.get 1) (i32x4.splat (local.get $i)))))
      (local.set 1 (i32x4.add (local.get 1) (local.get $step)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
    (local.get $sum) (local.get $i)))"""


@pytest.mark.parametrize("stencils", [False, True], ids=["words", "stencils"])
def test_a_hot_loop_with_vectors_goes_on_in_compiled_code(stencils: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locals lie in two slots each where that code takes them."""
    monkeypatch.setattr(thresholds, "STENCILS", stencils)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 10)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    # The loop is to be entered, and not the function, which is called often here.
    monkeypatch.setattr(thresholds, "FEW_CALLS", 1 << 60)
    monkeypatch.setattr(thresholds, "WATCHES_LOOPS", False)
    monkeypatch.setattr(thresholds, "LOOP_PATIENCE_SECONDS_A_BYTE", 0)
    arguments = 100_000, struct.pack("<4i", 1, 2, 3, 4), struct.pack("<4i", 5, 6, 7, -8)
    seen = []
    for tier in ("auto", "optimized"):
        store = wasmjit.Store(wasmjit.Engine(Config(tier=tier, cache=False)))
        module = wasmjit.Module(store.engine, HOT)
        function = wasmjit.Instance(store, module, []).exports(store)["f"]
        seen.append(function(store, *arguments))
        deadline = time.monotonic() + 120
        while tier == "auto" and not any(found.loops for found in module.tier_report()):
            assert function(store, *arguments) == seen[0]
            assert time.monotonic() < deadline
        seen.append(function(store, *arguments))
    assert seen == seen[:1] * 4


def scripts() -> list[Any]:
    names = sorted({path.stem for kind in ("simd", "relaxed") for path in SUITE.glob(f"*{kind}*.wast")})
    marks = {name: [] if name in QUICK_SCRIPTS else [pytest.mark.slow] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize("script", scripts())
def test_scripts_of_the_suite_pass_and_nothing_is_compiled(first_tier: bool, script: str) -> None:
    result = run_file(SUITE / f"{script}.wast", WastOptions(settings=(("tier", "auto"),)))
    assert not result.failures and result.passed


def test_nothing_is_compiled_at_its_first_call(first_tier: bool) -> None:
    """The report says what became of functions with each row."""
    engine = wasmjit.Engine(Config(tier="auto"))
    store = wasmjit.Store(engine)
    module = wasmjit.Module(engine, module_of(CASES))
    exports = wasmjit.Instance(store, module, []).exports(store)
    for index in range(len(CASES)):
        exports[str(index)](store, 64 * (ROWS_OF_INPUT - 1), OUTPUT)
    tiers = {found.tier for found in module.tier_report()}
    assert tiers == {"stencil" if first_tier else "interpreted"}
