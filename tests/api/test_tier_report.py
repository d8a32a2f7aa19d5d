"""Module.tier_report: what each function runs in, how often it began, and what its code took."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from wasmjit import (
    ClosedError,
    Config,
    Engine,
    Func,
    FunctionTier,
    FuncType,
    Instance,
    Module,
    Store,
    thresholds,
    wat2wasm,
)
from wasmjit.tiers.function_tiers import FunctionTiers, Tier

WAT = """(module
  (import "" "f" (func $f))
  (func $hot (export "hot") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (local.get 0))
      (else (i32.add
        (call $hot (i32.sub (local.get 0) (i32.const 1))) (call $hot (i32.sub (local.get 0) (i32.const 2)))))))
  (func $loop (export "loop") (param i32) (result i32) (local i32)
    (loop $again
      (local.set 1 (i32.add (local.get 1) (local.get 0)))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func $vector (export "vector") (result i32) (i32x4.extract_lane 0 (v128.const i32x4 1 2 3 4)))
  (func (export "never")))"""
NAMES = ["hot", "loop", "vector", None]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No optimised code unless somebody waits for it."""
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 600)


def make(module: Module) -> tuple[Store, Any]:
    store = Store(module.engine)
    return store, Instance(store, module, [Func(store, FuncType([], []), lambda: None)]).exports(store)


def tiers(module: Module) -> list[str]:
    return [function.tier for function in module.tier_report()]


def wait_for(module: Module, name: str, tier: str, work: Any) -> FunctionTier:
    """The function's row once it is in that tier."""
    deadline = time.monotonic() + 120
    while True:
        (row,) = [function for function in module.tier_report() if function.name == name]
        if row.tier == tier:
            return row
        assert time.monotonic() < deadline, row
        work()


@pytest.mark.parametrize("has_stencils", [False, True], ids=["interpreter", "stencils"])
def test_functions_rise(has_stencils: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", has_stencils)
    next_tier = "optimized" if has_stencils else "baseline"
    module = Module(Engine(Config(tier="auto", cache=False)), WAT)
    first = ["interpreted"] * 4
    report = module.tier_report()
    assert [(row.index, row.name) for row in report] == list(enumerate(NAMES, 1))
    assert [row.tier for row in report] == first, "before there is an instance"
    assert {(row.calls, row.compile_seconds, row.loops) for row in report} == {(None, None, ())}
    store, exports = make(module)
    assert tiers(module) == first
    assert exports["vector"](store) == 1
    assert set(tiers(module)) <= {"interpreted", "stencil"}
    row = wait_for(module, "hot", next_tier, lambda: exports["hot"](store, 15))
    assert row.calls is not None and row.calls >= thresholds.LUKEWARM_COUNT
    assert row.compile_seconds is not None and row.compile_seconds > 0
    never = module.tier_report()[3]
    assert (never.tier, never.calls, never.compile_seconds) == ("interpreted", 0, None)
    assert module.wait_optimized()
    report = module.tier_report()
    assert [row.tier for row in report] == ["optimized"] * 4
    assert all(row.compile_seconds is not None and row.compile_seconds > 0 for row in report)
    assert report[0].calls == row.calls, "optimised code counts nothing"


def test_what_rises_while_a_report_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row told of code in a tier that it had reached since the report knew what making it took: nothing."""
    compile_seconds = FunctionTiers.compile_seconds

    def and_rise(tiers: FunctionTiers, *arguments: Any) -> list[float | None]:
        found = compile_seconds(tiers, *arguments)
        addresses = {position: tiers.address(position) for position in range(4)}
        tiers.raise_to(Tier.BASELINE, addresses, [(range(1, 5), 8.0)])
        return found

    module = Module(Engine(Config(tier="auto", cache=False)), WAT)
    make(module)
    monkeypatch.setattr(FunctionTiers, "compile_seconds", and_rise)
    for tier, has_taken in ("interpreted", False), ("baseline", True):
        report = module.tier_report()
        assert {(row.tier, row.compile_seconds is not None) for row in report} == {(tier, has_taken)}


def test_sizes() -> None:
    module = Module(Engine(Config(tier="auto", cache=False)), WAT)
    assert {row.size for row in module.tier_report()} == {None}
    store, exports = make(module)
    exports["loop"](store, 3)
    exports["vector"](store)
    assert {row.size for row in module.tier_report() if row.tier != "stencil"} <= {None}
    assert module.wait_optimized()
    made = {function.index: function.size for function in module.functions()}
    assert {row.index: row.size for row in module.tier_report()} == made
    others = Module(module.engine, bytes(wat2wasm(WAT))), Module(Engine(Config(tier="optimized")), WAT)
    for other in others:
        other.wait_optimized()
        assert {row.index: row.size for row in other.tier_report()} == made
    make(others[1])
    assert {row.index: row.size for row in others[1].tier_report()} == made


def test_stencils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "STENCILS", True)
    module = Module(Engine(Config(tier="auto", cache=False)), WAT)
    store, exports = make(module)
    exports["loop"](store, 3)
    hot, loop, _, never = module.tier_report()
    assert loop.tier == "stencil" and loop.calls and loop.size and loop.compile_seconds
    for row in (hot, never):
        assert (row.tier, row.calls, row.size, row.compile_seconds) == ("interpreted", 0, None, None)


def test_loops_that_are_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "LOOP_PATIENCE_SECONDS_A_BYTE", 3600)  # on a busy machine, that begins at once
    monkeypatch.setattr(thresholds, "INTERPRETER_BUDGET", 10)
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)
    monkeypatch.setattr(thresholds, "STENCILS", False)
    module = Module(Engine(Config(tier="auto", cache=False)), WAT)
    store, exports = make(module)
    deadline = time.monotonic() + 120
    while not (loops := module.tier_report()[1].loops):
        exports["loop"](store, 100_000)
        assert time.monotonic() < deadline
    ((offset, tier),) = loops
    assert tier == "baseline"
    assert wat2wasm(WAT)[offset] == 0x03, "the offset is that of the loop's opcode"


@pytest.mark.parametrize(
    ("options", "tier"),
    [
        ({"tier": "optimized"}, "optimized"),
        ({"tier": "baseline"}, "baseline"),
        ({"tier": "auto", "opt_level": "none"}, "baseline"),
    ],
)
def test_modules_that_are_compiled_at_once(options: dict[str, Any], tier: str) -> None:
    module = Module(Engine(Config(cache=False, **options)), WAT)
    for _ in range(2):
        report = module.tier_report()
        assert [row.tier for row in report] == [tier] * 4
        assert {(row.calls, row.loops) for row in report} == {(None, ())}
        assert all(row.compile_seconds is not None and row.compile_seconds > 0 for row in report)
        make(module)


def test_modules_with_tail_calls() -> None:
    wat = WAT.removesuffix(")") + '(func $tail (export "tail") (return_call $hot_tail)) (func $hot_tail))'
    module = Module(Engine(Config(tier="auto", cache=False)), wat)
    store, exports = make(module)
    exports["tail"](store)
    assert [(row.calls, row.size is None) for row in module.tier_report()[-2:]] in ([(1, True)] * 2, [(1, False)] * 2)
    assert module.wait_optimized()
    report = module.tier_report()
    assert {row.tier for row in report} == {"optimized"}
    assert all(row.compile_seconds is not None and row.compile_seconds > 0 and row.size for row in report)


def test_code_that_was_made_another_time(tmp_path: Path) -> None:
    engine = Engine(Config(tier="auto", cache=str(tmp_path)))
    module = Module(engine, WAT)
    assert module.wait_optimized()
    for other in (Module(engine, WAT), Module.deserialize(engine, module.serialize())):
        assert {(row.tier, row.compile_seconds) for row in other.tier_report()} == {("optimized", None)}


def test_code_for_another_machine() -> None:
    for target in ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"):
        assert tiers(Module(Engine(Config(target=target)), WAT)) == ["optimized"] * 4


def test_a_module_without_functions_and_a_closed_one() -> None:
    module = Module(Engine(Config(tier="auto")), "(module)")
    assert module.tier_report() == []
    module.close()
    with pytest.raises(ClosedError):
        module.tier_report()
