"""Programs of the registries give the same results here as under wasmtime.

Continuous integration runs the smallest; WASMJIT_REALWORLD=all runs all, WASMJIT_REALWORLD=php,ruby those.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.realworld.__main__ import MODULES, PROGRAMS
from tests.realworld.harness import Program, Result, compare, table
from tests.realworld.packages import Package, UnavailableError
from wasmjit import cache

SMALL = {"boolector"}  # 360 kB to download
CHOSEN = os.environ.get("WASMJIT_REALWORLD", ",".join(SMALL))


# Compiling all of a program takes by far most of the time; in tier auto what runs often is compiled, at both levels.
@pytest.mark.realworld
@pytest.mark.parametrize("tier", ["auto", pytest.param("baseline", marks=pytest.mark.slow)])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program(program: Program, tier: str) -> None:
    if CHOSEN != "all" and program.name not in CHOSEN.split(","):
        pytest.skip("large: WASMJIT_REALWORLD=all runs it, as does `make realworld`")
    # One process of this user may go on after its program's end, to compile all of it for the cache: not meanwhile.
    turn = cache.take_background_turn()
    try:
        comparison = compare(program, tier, wasmtime_cached=False)
    except UnavailableError as error:
        pytest.skip(f"needs the network: {error}")
    finally:
        if turn is not None:
            os.close(turn)
    print(table([comparison]))


def test_every_script_is_in_the_table() -> None:
    files = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    scripts = {path.stem for path in files if "PROGRAM = Program(" in path.read_text()}
    assert scripts == {module.__name__.rpartition(".")[2] for module in MODULES} and len(PROGRAMS) >= 8
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert all(re.fullmatch("[0-9a-f]{64}", program.package.sha256) for program in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_check_can_fail(program: Program) -> None:
    """A run that did nothing is not taken for a right one."""
    files = dict.fromkeys(program.files, b"")
    with pytest.raises((AssertionError, LookupError)):
        program.check(Result(0, b"", b"", files))


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.realworld.packages.BUILD", tmp_path)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "a.whl").write_bytes(b"not the package")
    with pytest.raises(ValueError, match="not the file that is pinned"):
        Package("pypi", "a", "1", "a.whl", "0" * 64).fetch()
