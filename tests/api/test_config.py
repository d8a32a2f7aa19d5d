from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wasmjit import Config, Engine, UnsupportedError, WasmError
from wasmjit.config import FULL_RESERVATION_BYTES, MIN_GUARD_BYTES, Features, Option, default_cache_directory

BOOLEANS = [name for name, option in Config.options().items() if isinstance(option.default, bool) and name != "cache"]
CHANGED: dict[str, Any] = {
    "opt_level": "none",
    "target": "aarch64-unknown-linux-gnu",
    "cpu": "skylake",
    "cpu_features": "+avx2",
    "memory_reservation": FULL_RESERVATION_BYTES * 2,
    "memory_guard_size": MIN_GUARD_BYTES * 2,
}


@pytest.fixture(autouse=True)
def _no_other_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults are those that programs get; tests/conftest.py names another tier."""
    monkeypatch.delenv("WASMJIT_TIER", raising=False)


def test_every_option_of_the_wasmtime_package_is_accepted() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    theirs = {name for name in dir(wasmtime.Config) if not name.startswith("_")} - {"ptr"}
    assert {name for name in theirs if not hasattr(Config, name)} == set()


@pytest.mark.parametrize("name", Config.options())
def test_every_option_has_documentation_and_its_default(name: str) -> None:
    option = getattr(Config, name)
    assert isinstance(option, Option)
    assert option.__doc__ and len(option.__doc__) > 20
    config = Config()
    assert getattr(config, name) == option.default
    if option.default is not None:
        setattr(config, name, option.default)
    assert config == Config()


@pytest.mark.parametrize("name", BOOLEANS)
def test_boolean_options_can_be_read_back_and_refuse_other_types(name: str) -> None:
    config = Config()
    for value in (True, False):
        setattr(config, name, value)
        assert getattr(config, name) is value
    if name == "epoch_interruption":  # the wasmtime package takes any truth value here
        config.epoch_interruption = 1  # type: ignore[assignment]
        assert config.epoch_interruption is True
        return
    with pytest.raises(TypeError, match="expected a bool"):
        setattr(config, name, 1)


@pytest.mark.parametrize("name", ["max_wasm_stack", "memory_reservation", "memory_guard_size"])
def test_sizes(name: str) -> None:
    config = Config(**{name: 1 << 20})
    assert getattr(config, name) == 1 << 20
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match="expected an int"):
            setattr(config, name, wrong)
    for wrong in (-1, 1 << 64):
        with pytest.raises(WasmError, match=name):
            setattr(config, name, wrong)


@pytest.mark.parametrize("name", ["opt_level", "strategy", "profiler", "cranelift_opt_level"])
def test_unknown_choices_are_refused(name: str) -> None:
    with pytest.raises(WasmError, match=r"unknown .*: nonsense"):
        setattr(Config(), name, "nonsense")


def test_cranelift_names_have_their_meaning() -> None:
    config = Config()
    config.cranelift_opt_level = "speed_and_size"
    config.cranelift_debug_verifier = True
    config.cranelift_nan_canonicalization = True
    assert (config.opt_level, config.verify_ir, config.nan_canonicalization) == ("speed_and_size", True, True)
    assert config.cranelift_opt_level == "speed_and_size"
    config.cranelift_flag_enable("has_avx2")
    config.cranelift_flag_set("has_sse41", "false")
    config.cranelift_flag_set("regalloc_algorithm", "backtracking")
    config.cranelift_flag_set("opt_level", "none")
    assert config.cpu_features == "+avx2,-sse4.1"
    assert config.opt_level == "none"
    with pytest.raises(WasmError, match="no existing Cranelift flag: has_wings"):
        config.cranelift_flag_enable("has_wings")
    with pytest.raises(WasmError, match="expected true or false"):
        config.cranelift_flag_set("has_avx2", "perhaps")
    for call in (lambda: config.cranelift_flag_enable(3), lambda: config.cranelift_flag_set("a", 1)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected a str"):
            call()


def test_target_and_features_are_checked() -> None:
    for wrong in ("riscv64-unknown-linux-gnu", "x86_64", ""):
        with pytest.raises(WasmError, match="unrecognized target triple"):
            Config(target=wrong)
    with pytest.raises(TypeError, match="expected a str"):
        Config(target=3)
    with pytest.raises(WasmError, match="cpu_features"):
        Config(cpu_features="avx2")


def test_misspelt_options_do_not_pass() -> None:
    with pytest.raises(AttributeError, match="opt_levle"):
        Config().opt_levle = "none"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="opt_levle"):
        Config(opt_levle="none")


@pytest.mark.parametrize("name", Config.options())
def test_the_cache_key_has_what_changes_code(name: str) -> None:
    option = Config.options()[name]
    value = CHANGED.get(name, not option.default if isinstance(option.default, bool) else None)
    if value is None:
        assert not option.changes_code, f"{name} needs an entry in CHANGED"
        return
    changed = Config(**{name: value}).cache_key() != Config().cache_key()
    assert changed == option.changes_code


def test_the_cache_key_is_deterministic_and_one_line() -> None:
    key = Config(opt_level="none", memory_reservation=0).cache_key()
    assert key == Config(memory_reservation=0, opt_level="none").cache_key()
    assert "\n" not in key and all("=" in part for part in key.split(";"))


@pytest.mark.parametrize(
    ("options", "guarded"),
    [
        ({}, True),
        ({"signals_based_traps": False}, False),
        ({"memory_reservation": FULL_RESERVATION_BYTES - 1}, False),
        ({"memory_guard_size": MIN_GUARD_BYTES - 1}, False),
        ({"memory_reservation": 2 * FULL_RESERVATION_BYTES}, True),
    ],
)
def test_guard_pages_only_where_they_cover_everything(options: dict[str, Any], guarded: bool) -> None:
    """Generated code leaves out checks under this policy: too small a reservation would be a sandbox escape."""
    assert Config(**options).memory_policy.guarded is guarded
    assert Engine(Config(**options))._config.memory_policy.guarded is guarded


def test_features_follow_the_options() -> None:
    assert Config().features == Features()
    assert not Config(wasm_simd=False).features.simd
    features = Config(wasm_bulk_memory=False).features
    with pytest.raises(UnsupportedError, match=r"bulk_memory is off in the Config.*0x10"):
        features.check("bulk_memory", 16)
    Features().check("bulk_memory", 16)


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Config().cache_directory is None
    monkeypatch.setenv("WASMJIT_CACHE_DIR", str(tmp_path))
    assert Config(cache=True).cache_directory == str(tmp_path)
    monkeypatch.delenv("WASMJIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == str(tmp_path / "wasmjit")
    assert Config(cache="/some/where").cache_directory == "/some/where"
    toml = tmp_path / "cache.toml"
    toml.write_text('[cache]\nenabled = true\ndirectory = "/from/toml"\n')
    assert Config(cache=str(toml)).cache_directory == "/from/toml"
    with pytest.raises(WasmError, match=r"missing\.toml"):
        _ = Config(cache=str(tmp_path / "missing.toml")).cache_directory
    with pytest.raises(TypeError, match="expected string or bool"):
        Config(cache=3)


def test_copies_are_independent_and_repr_shows_changes() -> None:
    config = Config(opt_level="none")
    copy = config.copy()
    copy.opt_level = "speed"
    assert (config.opt_level, config != copy) == ("none", True)
    assert repr(config) == "Config(opt_level='none')"
    with config as same:
        assert same is config
