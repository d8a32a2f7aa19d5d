"""The official conformance scripts, run by `wasmjit.cli.wast`; a test per script and configuration.

WASMJIT_SPEC chooses how much: unset, every script of the levels as most people run wasm (``speed``, guard pages) and a
few representative ones in the other configurations (most of them, and those with very many modules, are slow);
``matrix``, every script in every configuration.
``known_failures.toml`` lists what is known to fail, with the reason; an entry that passes fails the run.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests import compiled_once
from tests.spec import child
from wasmjit.cli.wast import WastFailure, WastOptions, WastResult, listed_files, run_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # what pytest itself uses on 3.10

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(os.environ.get("WASMJIT_TESTSUITE") or ROOT.parent / "shared" / "spec" / "testsuite")
LEVELS = [
    Path(__file__).parent / name
    for name in (
        "level1-wasm2-scalar.txt",
        "level2.txt",
        "typed-references.txt",
        "recursive-types.txt",
        "threads.txt",
        "exceptions.txt",
        "garbage-collection.txt",
    )
]
KNOWN_FAILURES: dict[str, str] = tomllib.loads((Path(__file__).parent / "known_failures.toml").read_text())["failures"]

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
# Hundreds of modules that differ in a number. `bulk` and `table_copy_mixed` are about the same.
LONG = frozenset(("table_copy", "memory_copy", "memory_init"))
# One script or two per area: arithmetic, control, memory and its traps, calls, tables, bulk, linking, start, stack.
REPRESENTATIVES = frozenset(
    """address bulk br_if call call_indirect conversions data1 endianness f32 float_memory i64 linking0 load memory
    memory_copy memory_init memory_trap ref_func skip-stack-guard-page start store switch table_copy table_grow
    table_set traps unwind simd_conversions simd_lane simd_load simd_load_extend simd_address
    simd_store8_lane relaxed_madd_nmadd address64 memory64 memory_trap64 memory_grow64 table_copy_mixed linking1
    try_table array array_copy struct i31 br_on_cast ref_test
    call_ref return_call_ref br_on_null br_on_non_null local_init ref_as_non_null
    proposals-threads-atomic
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
    # One script after the other: its configurations have things in common (`child`).
    return [
        (configuration, name, path)
        for name, path in scripts
        for configuration in CONFIGURATIONS
        if everything or configuration == DEFAULT_CONFIGURATION or name in REPRESENTATIVES
    ]


CASES = cases()


def is_slow(configuration: str, name: str) -> bool:
    """Whether `make test-slow` runs it: seven of eight cases of the other configurations, by a checksum of names."""
    if configuration == DEFAULT_CONFIGURATION or os.environ.get("WASMJIT_SPEC") == "matrix":
        return False
    return name in LONG or zlib.crc32(f"{configuration}-{name}".encode()) % 8 != 0


class Runner:
    """Runs scripts in a process of its own: one that a script brings down is that script's failure, and is replaced."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Calls it in the process, which is started if there is none."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=get_context("spawn"),
                initializer=child.begin,
                initargs=(self._directory, compiled_once.answers.directory),
            )
        return self._pool.submit(function, *arguments)

    def run(self, path: Path, options: WastOptions) -> WastResult:
        """What the script at `path` gave."""
        try:
            result = self.submit(run_file, path, options).result()
            assert isinstance(result, WastResult)
            return result
        except BrokenProcessPool:
            self.close()
            return WastResult(path, failures=[WastFailure(0, "script", "the process running it died")])

    def close(self) -> None:
        """Ends the process."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    made = Runner(tmp_path_factory.mktemp("script") / "converted")
    yield made
    made.close()


@pytest.mark.skipif(not CASES, reason=f"no conformance suite at {SUITE} (set WASMJIT_TESTSUITE)")
@pytest.mark.parametrize(
    ("configuration", "name", "path"),
    [
        pytest.param(*case, id=f"{case[0]}-{case[1]}", marks=[pytest.mark.slow] if is_slow(*case[:2]) else [])
        for case in CASES
    ]
    or [pytest.param("", "", Path(), id="none")],
)
def test_script(runner: Runner, configuration: str, name: str, path: Path) -> None:
    result = runner.run(path, CONFIGURATIONS[configuration])
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


def test_a_script_that_brings_its_process_down_fails_alone(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "good.wast"
    script.write_text(
        '(module (func (export "f") (result i32) (i32.const 1)))\n(assert_return (invoke "f") (i32.const 1))'
    )
    with monkeypatch.context() as patched:
        patched.setitem(globals(), "run_file", _end_of_process)
        assert [failure.reason for failure in runner.run(script, WastOptions()).failures] == [
            "the process running it died"
        ]
    result = runner.run(script, WastOptions())
    assert (result.passed, result.failures) == (2, [])


def test_configurations_share_what_is_compiled(runner: Runner, tmp_path: Path) -> None:
    script = tmp_path / "compiled.wast"
    script.write_text(
        '(module (func (export "f") (result i32) (i32.const 734)))\n(assert_return (invoke "f") (i32.const 734))'
    )
    before = runner.submit(child.given_again).result()
    for artifact in (False, True):
        result = runner.run(script, WastOptions(through_artifact=artifact))
        assert (result.passed, result.failures) == (2, [])
    assert runner.submit(child.given_again).result() > before


def _end_of_process(path: Path, options: WastOptions) -> WastResult:
    os._exit(1)


def test_known_failures_say_why() -> None:
    names = {name for level in LEVELS for name in listed(level)}
    for key, reason in KNOWN_FAILURES.items():
        assert key.partition(":")[0] in names, f"{key}: no such script"
        assert len(reason) > 20, f"{key}: say why"
