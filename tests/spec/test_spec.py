"""The official conformance scripts, run by `wasmjit.cli.wast`; a test per script and configuration.

WASMJIT_SPEC chooses how much: unset, every script of the levels as most people run wasm (``speed``, guard pages) and a
few representative ones in the other configurations; ``matrix``, every script in every configuration.
``known_failures.toml`` lists what is known to fail, with the reason; an entry that passes fails the run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from wasmjit.cli.wast import WastOptions, WastResult, listed_files, run_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # what pytest itself uses on 3.10

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("WASMJIT_TESTSUITE") or ROOT.parent / "shared" / "spec" / "testsuite")
LEVELS = [Path(__file__).parent / name for name in ("level1-wasm2-scalar.txt", "level2.txt")]
KNOWN_FAILURES: dict[str, str] = tomllib.loads((Path(__file__).parent / "known_failures.toml").read_text())["failures"]
JOBS = os.cpu_count() or 1

CONFIGURATIONS = {
    f"{level}-{'explicit' if explicit else 'guard'}{'-artifact' if artifact else ''}": WastOptions(
        level, explicit, artifact
    )
    for level in ("speed", "none", "speed_and_size")
    for explicit in (False, True)
    for artifact in (False, True)
}
CONFIGURATIONS |= {
    f"{tier}-{'explicit' if explicit else 'guard'}{'-replaced' if replaced else ''}": WastOptions(
        explicit_checks=explicit, settings=(("tier", tier),), wait_optimized=replaced
    )
    for tier, replaced in (("baseline", False), ("auto", False), ("auto", True))
    for explicit in (False, True)
}
DEFAULT_CONFIGURATION = "speed-guard"
# One script or two per area: arithmetic, control, memory and its traps, calls, tables, bulk, linking, start, stack.
REPRESENTATIVES = frozenset(
    """address bulk br_if call call_indirect conversions data1 endianness f32 float_memory i64 linking0 load memory
    memory_copy memory_init memory_trap ref_func skip-stack-guard-page start store switch table_copy table_grow
    table_set traps unwind simd_const simd_conversions simd_lane simd_load simd_load_extend simd_address
    simd_store8_lane relaxed_madd_nmadd address64 memory64 memory_trap64 memory_grow64 table_copy_mixed linking1
    proposals-custom-page-sizes-custom-page-sizes proposals-wide-arithmetic-wide-arithmetic""".split()
)


def listed(level: Path) -> list[str]:
    """The names in a list."""
    return [name for line in level.read_text().splitlines() if (name := line.partition("#")[0].strip())]


def cases() -> list[tuple[str, str, Path]]:
    """(configuration, name, script) of all that is to be run."""
    if not SUITE.is_dir():
        return []
    everything = os.environ.get("WASMJIT_SPEC") == "matrix"
    scripts = [
        (name, path) for level in LEVELS for name, path in zip(listed(level), listed_files(level, SUITE), strict=True)
    ]
    return [
        (configuration, name, path)
        for configuration in CONFIGURATIONS
        for name, path in scripts
        if everything or configuration == DEFAULT_CONFIGURATION or name in REPRESENTATIVES
    ]


CASES = cases()


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, Path], WastResult]:
    """The results so far; a configuration's selected scripts all run, on all cores, when the first is asked for."""
    return {}


@pytest.mark.skipif(not CASES, reason=f"no conformance suite at {SUITE} (set WASMJIT_TESTSUITE)")
@pytest.mark.parametrize(
    ("configuration", "name", "path"), CASES or [("", "", Path())], ids=[f"{c}-{n}" for c, n, _ in CASES] or ["none"]
)
def test_script(
    request: pytest.FixtureRequest,
    results: dict[tuple[str, Path], WastResult],
    configuration: str,
    name: str,
    path: Path,
) -> None:
    if (configuration, path) not in results:
        selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
        wanted = [case["path"] for case in selected if case.get("configuration") == configuration]
        for result in run_files(wanted, CONFIGURATIONS[configuration], JOBS):
            results[configuration, result.path] = result
    result = results[configuration, path]
    assert result.passed or result.failures, f"{path} has no commands"
    known = {key: reason for key, reason in KNOWN_FAILURES.items() if key.partition(":")[0] == name}
    failing = {f"{name}:{failure.line}" for failure in result.failures}
    unexpected = [
        f"{path}:{failure.line}: {failure.command}: {failure.reason}"
        for failure in result.failures
        if f"{name}:{failure.line}" not in known
    ]
    assert not unexpected, "\n".join(unexpected)
    assert failing >= set(known), f"listed as known failures but passing: {sorted(set(known) - failing)}"


def test_known_failures_say_why() -> None:
    names = {name for level in LEVELS for name in listed(level)}
    for key, reason in KNOWN_FAILURES.items():
        assert key.partition(":")[0] in names, f"{key}: no such script"
        assert len(reason) > 20, f"{key}: say why"
