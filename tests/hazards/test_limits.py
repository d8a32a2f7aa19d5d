"""What happens when the system has no more of something: cells of `tests/fuzz/limits.py`, and what they found."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import limits, limits_cell
from wasmjit import Config, Engine, Instance, Module, Store, cache, processes, thresholds
from wasmjit.cli import run_command_line
from wasmjit.config import default_cache_directory
from wasmjit.tiers import optimiser as client

KIB = 1 << 10
CELLS = [
    limits.Cell("descriptors", 0, "first", "auto"),  # the bounds of the main thread's stack come from /proc
    limits.Cell("descriptors", 3, "hot", "auto"),
    limits.Cell("descriptors", 5, "translate", "optimized"),
    limits.Cell("descriptors", 0, "first", "cli-run"),
    limits.Cell("processes", 2, "optimise", "auto"),
    limits.Cell("forks", 0, "hot", "auto"),
    limits.Cell("address-space", 0, "optimise", "auto"),  # gave one module another one's code afterwards
    limits.Cell("stack", 128 * KIB, "hot", "optimized"),
    limits.Cell("thread-stack", 64 * KIB, "first", "auto"),
    limits.Cell("file-size", 0, "cache", "auto"),
    limits.Cell("directories", limits_cell.DIRECTORIES.index("unset"), "cache", "auto"),  # made a directory named ~
    limits.Cell("recursion", 7, "hot", "auto"),
    limits.Cell("executable", 0, "text", "auto"),
    limits.Cell("root", 0, "first", "auto"),
]


@pytest.fixture(scope="module")
def judged(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What was wrong with each cell that is asked for and this user can have, by name. They sleep most of the time."""
    asked = " ".join(item.name for item in request.session.items)
    possible = [
        cell
        for cell in CELLS
        if f"[{cell.name}]" in asked and (os.geteuid() == 0 or cell.limit not in limits.ROOTS | limits.USERS)
    ]
    with ThreadPoolExecutor(4) as threads:
        return dict(zip([cell.name for cell in possible], threads.map(limits.run_cell, possible), strict=True))


@pytest.mark.part(4)
@pytest.mark.parametrize("name", [cell.name for cell in CELLS])
def test_under_a_limit(name: str, judged: dict[str, list[str]]) -> None:
    if name not in judged:
        pytest.skip("needs root")
    assert judged[name] == []


def test_the_matrix_knows_a_wrong_result_from_a_right_one() -> None:
    assert limits_cell.expected(3, 0) == (3 + (3 + 2) + (3 + 2 + 1) + ord("i"))
    cell = limits.Cell("nothing", 0, "hot", "optimized")
    run = limits._Run(cell, Path("/nowhere"))
    run.status = -11
    assert list(run._judge_steps()) == ["ended with -11", "did not come to the end of the program"]
    run.said = {"at": "hot", "error": None, "notes": [], "afterwards": None}
    run.status, run.errors = 0, "Traceback (most recent call last):\n"
    assert list(run._judge_steps()) == [] and len(list(run._judge_errors())) == 1
    error = {"type": "OSError", "bases": ["OSError"], "message": "odd", "is_through_us": True, "traceback": ""}
    run.said["error"] = error
    assert len(list(run._judge_steps())) == 1


def value(n: int) -> str:
    """A module with one function."""
    return f'(module (func (export "f") (result i32) (i32.const {n})))'


def call(engine: Engine, module: Module) -> Any:
    store = Store(engine)
    return Instance(store, module, []).exports(store)["f"](store)


def test_replies_to_a_request_that_failed_are_not_those_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser went on with the first module; the second one got its code."""
    engine = Engine(Config(tier="auto"))
    first, second = Module(engine, value(1)), Module(engine, value(2))
    assert (call(engine, first), call(engine, second)) == (1, 2)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(client.Optimisation, "take_unit", fail)
        with pytest.raises(Exception, match="MemoryError"):
            first.wait_optimized()
    assert second.wait_optimized() and first.wait_optimized()
    assert (call(engine, first), call(engine, second)) == (1, 2)


def test_optimised_code_is_made_when_a_compiler_can_be_had_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody asking for it."""
    monkeypatch.setattr(thresholds, "OPTIMISER_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 0.0)
    start: Callable[..., Any] = processes.start
    refused = []

    def refuse(*arguments: Any, **options: Any) -> Any:
        if arguments[0] == "wasmjit.tiers.optimiser_process" and len(refused) < 3:
            refused.append(arguments)
            raise processes.NoCompilerError("cannot start a compiler process: too many open files")
        return start(*arguments, **options)

    optimiser = client._current_optimiser()
    with optimiser._lock:
        optimiser._end_process()
    monkeypatch.setattr(processes, "start", refuse)
    engine = Engine(Config(tier="auto"))
    module = Module(engine, value(3))
    made = module._code.optimisation
    assert made is not None
    made.begin_soon()  # as if something were hot
    deadline = time.monotonic() + 120
    while made.artifact is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert made.artifact is not None and len(refused) == 3
    assert module.wait_optimized(0) and call(engine, module) == 3


def test_workers_of_other_limits_are_not_used() -> None:
    """What was in force when a process began holds for it as long as it lives."""
    from wasmjit.compile.pipeline import _request_fields
    from wasmjit.compile.workers import WorkerPool

    pool = WorkerPool()
    request = _request_fields(Config(), "target")
    assert pool.request(request)[0]["cpu"]
    (worker,) = pool.idle
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] - 1, before[1]))
    try:
        assert pool.request(request)[0]["cpu"]
        (other,) = pool.idle
        assert other is not worker and worker.process.poll() is not None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        pool.close()


def test_a_user_without_a_home_has_no_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of one in a directory named ~ of the working directory."""
    for name in ("WASMJIT_CACHE_DIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    assert default_cache_directory() is None and Config(cache=True).cache_directory is None
    assert cache.user_key() is None and cache.take_background_turn() is None
    engine = Engine(Config(tier="optimized", cache=True))
    assert call(engine, Module(engine, value(4))) == 4
    assert run_command_line(["cache", "path"]) == 1
    assert "has no home" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError("no memory"), OSError(24, "Too many open files"), ImportError("no file")]
)
def test_a_command_that_cannot_be_imported_says_why(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("wasmjit.cli.commands.main", fail)
    assert run_command_line(["validate", "no.wasm"]) == 1
    assert capsys.readouterr().err == f"wasmjit: error: {error}\n"
