"""Config and Engine."""

from __future__ import annotations

from typing import Any

import pytest

BOOL_OPTIONS = [
    "consume_fuel",
    "cranelift_debug_verifier",
    "cranelift_nan_canonicalization",
    "debug_info",
    "gc_support",
    "macos_use_mach_ports",
    "memory_init_cow",
    "memory_may_move",
    "native_unwind_info",
    "parallel_compilation",
    "shared_memory",
    "signals_based_traps",
    "wasm_bulk_memory",
    "wasm_custom_page_sizes",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_memory64",
    "wasm_multi_memory",
    "wasm_multi_value",
    "wasm_reference_types",
    "wasm_relaxed_simd",
    "wasm_relaxed_simd_deterministic",
    "wasm_simd",
    "wasm_stack_switching",
    "wasm_tail_call",
    "wasm_threads",
    "wasm_wide_arithmetic",
]
SIZE_OPTIONS = ["max_wasm_stack", "memory_guard_size", "memory_reservation", "memory_reservation_for_growth"]


@pytest.mark.parametrize("option", BOOL_OPTIONS)
def test_switches_take_bools_and_nothing_else(api: Any, option: str) -> None:
    config = api.Config()
    setattr(config, option, True)
    setattr(config, option, False)
    for wrong in (1, "yes", None):
        with pytest.raises(TypeError):
            setattr(config, option, wrong)


@pytest.mark.parametrize("option", SIZE_OPTIONS)
def test_sizes_take_ints_and_nothing_else(api: Any, option: str) -> None:
    config = api.Config()
    setattr(config, option, 1 << 20)
    for wrong in ("1", 1.5, None):
        with pytest.raises(TypeError):
            setattr(config, option, wrong)


def test_epoch_interruption_takes_any_truth_value(api: Any) -> None:
    config = api.Config()
    for value in (True, False, 1, 0):
        config.epoch_interruption = value


@pytest.mark.parametrize("level", ["none", "speed", "speed_and_size"])
def test_opt_levels(api: Any, level: str) -> None:
    config = api.Config()
    config.cranelift_opt_level = level
    api.Module(api.Engine(config), "(module)")


@pytest.mark.parametrize(
    ("option", "known"),
    [
        ("strategy", ["auto", "cranelift"]),
        ("cranelift_opt_level", ["none", "speed"]),
        ("profiler", ["none", "jitdump", "vtune", "perfmap"]),
    ],
)
def test_choices(api: Any, option: str, known: list[str]) -> None:
    config = api.Config()
    for choice in known:
        setattr(config, option, choice)
    with pytest.raises(api.WasmtimeError, match="unknown"):
        setattr(config, option, "nonsense")


def test_cache_takes_a_bool_or_a_path(api: Any) -> None:
    for wrong in (3.0, None):
        with pytest.raises(TypeError):
            api.Config().cache = wrong


def test_cache_configuration_must_exist(api: Any, tmp_path: Any) -> None:
    with pytest.raises(api.WasmtimeError):
        api.Config().cache = str(tmp_path / "missing.toml")


def test_target(api: Any) -> None:
    config = api.Config()
    config.target = "x86_64-unknown-linux-gnu"
    with pytest.raises(api.WasmtimeError):
        config.target = "nonsense"
    with pytest.raises(TypeError):
        config.target = 1


def test_cranelift_flags_are_typed(api: Any) -> None:
    config = api.Config()
    config.cranelift_flag_enable("enable_verifier")
    config.cranelift_flag_set("opt_level", "none")
    with pytest.raises(TypeError):
        config.cranelift_flag_enable(1)
    with pytest.raises(TypeError):
        config.cranelift_flag_set("opt_level", 1)
    with pytest.raises(TypeError):
        config.cranelift_flag_set(1, "none")


def test_an_engine_takes_a_config_or_nothing(api: Any) -> None:
    api.Engine()
    api.Engine(None)
    api.Engine(api.Config())
    for wrong in (3, "x", object()):
        with pytest.raises(TypeError, match="expected Config"):
            api.Engine(wrong)


def test_an_engine_is_no_interpreter(api: Any, engine: Any) -> None:
    assert engine.is_pulley() is False


def test_increment_epoch_returns_nothing(api: Any) -> None:
    engine = api.Engine()
    assert [engine.increment_epoch() for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("wasm_bulk_memory", '(module (memory 1) (data "passive"))'),
        ("wasm_multi_value", "(module (func (result i32 i32) i32.const 1 i32.const 2))"),
        ("wasm_multi_memory", "(module (memory 1) (memory 1))"),
        ("wasm_memory64", "(module (memory i64 1))"),
        ("wasm_simd", "(module (func (result v128) v128.const i32x4 0 0 0 0))"),
        ("wasm_tail_call", "(module (func $f return_call $f))"),
        ("wasm_threads", "(module (memory 1 1 shared))"),
        ("wasm_exceptions", "(module (tag))"),
    ],
)
def test_a_proposal_that_is_off_is_refused(api: Any, option: str, text: str) -> None:
    config = api.Config()
    if option == "wasm_simd":
        config.wasm_relaxed_simd = False  # which needs it
    setattr(config, option, False)
    with pytest.raises(api.WasmtimeError):
        api.Module(api.Engine(config), text)
