"""What all tests share: where things are, and how to run the command line."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from tests import compiled_once, text_in_process
from tests.forked import Forks
from wasmjit.runtime import trap
from wasmjit.runtime.native import set_trap_factory

ROOT = Path(__file__).resolve().parent.parent
# Tests that name no tier are about compiled code, as hazards, spec scripts and generated programs have to be. What is
# the default elsewhere has tests of its own (tests/api/test_default_tier.py), which run others once more in it.
os.environ["WASMJIT_TIER"] = os.environ.get("WASMJIT_TEST_TIER", "optimized")
# Shells have SIGINT ignored by what they start in the background, and so has Python: tests of Ctrl-C would never end.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
text_in_process.use()
CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Iterator[None]:
    """Examples to be tested are in the package: there are none here to look for in everything that is imported."""
    found = yield
    return [one for one in found if type(one) is pytest.Module]


def pytest_collection() -> None:
    """Nothing of what is collected is garbage. And hypothesis is not to read all modules for constants to try, those of
    all tests among them: that takes seconds of each process, and our strategies name the values that matter."""
    gc.disable()
    with contextlib.suppress(ImportError, AttributeError):
        from hypothesis.internal.conjecture import providers

        providers._get_local_constants = lambda known=providers._local_constants: known  # type: ignore[assignment, misc]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks most cases of tests of which `make test` runs a part as slow: the same ones each time, from all over."""
    for item in items:
        marker = item.get_closest_marker("part")
        if marker and zlib.crc32(item.nodeid.encode()) % marker.args[0]:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_runtest_setup() -> None:
    """Hypothesis has the collector call a function that measures it, for ever: what the handler of a signal raised in
    there was lost, in whatever test came afterwards."""
    gc.callbacks.clear()


@pytest.fixture(autouse=True, scope="module")
def what_there_is_is_no_garbage() -> None:
    """Eleven thousand tests, and what earlier ones keep, as syntax trees of all sources, are more to look through than
    any test makes, and many collect garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def what_programs_left_ends(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs that tests ran have optimisers finish for the cache, for two minutes of processor time each: beside the
    tests of other files nobody waits for that."""
    yield
    marks = [f"PYTEST_CURRENT_TEST={request.node.nodeid}::".encode()]
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        marks.append(f"PYTEST_XDIST_WORKER={worker}\0".encode())
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if b"optimiser_process" not in (process / "cmdline").read_bytes():
                continue
            environment = (process / "environ").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent != os.getpid() and all(mark in environment for mark in marks):
                os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(autouse=True, scope="module")
def trap_factory(request: pytest.FixtureRequest) -> None:
    """Tests of the C runtime by itself make traps of a kind of their own; there is one factory per process."""
    if "test_native" in request.module.__name__:
        from tests.unit.native_code import TrapError

        set_trap_factory(TrapError)
    else:
        set_trap_factory(trap._make_trap)


COMPILED_ONCE = ("tests/api", "tests/compat", "tests/hazards", "tests/wasi")
# But tests of these are about the compiler processes, or compare what was compiled twice.
COMPILE_ANEW = frozenset(
    """test_default_tier test_hot_loops test_interpreter test_interrupt test_lazy test_left_to_interpreter test_limits
    test_module test_module_queries test_processes test_reentry test_serialized test_tier_report test_tiers""".split()
)


@pytest.fixture(autouse=True, scope="session")
def compiled_functions(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One directory for all processes of the run."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    directory.mkdir(exist_ok=True)
    compiled_once.answers.directory = directory


@pytest.fixture(autouse=True, scope="module")
def functions_are_compiled_once(request: pytest.FixtureRequest, compiled_functions: None) -> Iterator[None]:
    """Where compiling is not what is tested: two of three functions were compiled for another test of the same kind."""
    path = request.path.relative_to(ROOT)
    is_used = str(path.parent).startswith(COMPILED_ONCE) and path.stem not in COMPILE_ANEW
    with compiled_once.use() if is_used else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True, scope="session")
def directories_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Caches, and the key of those that tests make, are neither the user's nor those of tests beside these."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    os.environ["WASMJIT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def examples(root: Path) -> Path:
    """The example programs and their .wasm files."""
    return root / "examples"


@pytest.fixture
def command_line_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines use a cache and a configuration of the tests' own, not the user's."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("WASMJIT_CACHE_DIR", str(base / "cache-of-all-tests"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "no-configuration"))
    for name in ("WASMJIT_TIER", "NO_COLOR", "FORCE_COLOR", "WASMJIT_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Where the processes of `wasmjit` are forked from."""
    made = Forks()
    yield made
    made.close()


COMMAND_LINE_SECONDS = 120


@pytest.fixture
def wasmjit(tmp_path: Path, command_line_environment: None, forks: Forks) -> CommandLine:
    """Runs ``python -m wasmjit`` in `tmp_path`, and returns the finished process; `env` are its variables. With other
    keywords, which go to subprocess.run, Python is started for it."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        environment = cast("dict[str, str]", options.get("env", os.environ))
        if options.keys() <= {"env"} and forks.can(environment):
            return forks.run([str(word) for word in arguments], environment, tmp_path, COMMAND_LINE_SECONDS)
        settings: dict[str, object] = {
            "cwd": tmp_path,
            "capture_output": True,
            "text": True,
            "timeout": COMMAND_LINE_SECONDS,
        }
        if "input" not in options:
            settings["stdin"] = subprocess.DEVNULL
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [sys.executable, "-m", "wasmjit", *map(str, arguments)], **{**settings, **options}
        )

    return run


@pytest.fixture
def write_wat(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a module's text to a file in `tmp_path` and returns its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
