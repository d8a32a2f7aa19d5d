"""``wasmjit run --timing``: where the time of a run went; and the chart of it."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasmjit import stopwatch

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
WriteWat = Callable[[str, str], Path]

MODULE = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $often (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func $never (unreachable))
  (func $twice (drop (call $often (i32.const 1))) (drop (call $often (i32.const 1))))
  (func $start (export "_start") (call 3) (call $exit (i32.const 7)))
  (func (export "trap") unreachable))"""


def phases_of(text: str) -> dict[str, float]:
    """The first table: what is behind names of phases."""
    found = re.findall(r"^  (\S.*?) {2,}([0-9.]+)", text, re.MULTILINE)
    return {name: float(milliseconds) for name, milliseconds in found}


def test_what_a_run_says(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    done = wasmjit("run", "--no-cache", "--timing", "m.wat")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.startswith("wasmjit: time of m.wat (5 functions, tier auto), in ms\n")
    phases = phases_of(done.stderr)
    wanted = ["reading", "decoding", "validation", "loading", "instantiation", "translation", "execution", "other"]
    assert [name for name in phases if name in wanted] == wanted
    assert phases["in all"] == pytest.approx(sum(phases.values()) - phases["in all"], abs=1)
    rows = {line.split()[-1]: line.split() for line in done.stderr.splitlines() if line}
    assert rows["often"][2] == "2" and rows["often"][1] in ("interpreted", "stencil")
    assert "never" not in rows


def test_a_run_that_traps_says_it_too(wasmjit: CommandLine, write_wat: WriteWat) -> None:
    write_wat("m.wat", MODULE)
    done = wasmjit("run", "--tier", "optimized", "--no-cache", "--timing", "--invoke", "trap", "m.wat")
    assert done.returncode == 134
    phases = phases_of(done.stderr)
    assert phases["compiling"] > 0 and "translation" not in phases
    assert "functions: 5 optimized\n" in done.stderr


def test_nothing_is_said_of_what_did_not_run(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", "(module (func unreachable")
    done = wasmjit("run", "--timing", "--timing-file", "t.json", "m.wat")
    assert done.returncode == 1 and "in ms" not in done.stderr and not (tmp_path / "t.json").exists()


def chart_of(page: Path) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="timing">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    charts: list[dict[str, Any]] = json.loads(found[1])
    return charts


def test_the_chart_of_a_run(wasmjit: CommandLine, write_wat: WriteWat, tmp_path: Path) -> None:
    write_wat("m.wat", MODULE)
    done = wasmjit("run", "--timing-file", "t.json", "m.wat")
    assert (done.returncode, done.stderr) == (7, "")
    written = json.loads((tmp_path / "t.json").read_text())
    assert [function["calls"] for function in written["functions"]] == [2, 0, 1, 1, 0]
    assert wasmjit("explore", "--no-cache", "--timing", "t.json", "m.wat").returncode == 0
    run, compiled = chart_of(tmp_path / "m.explore.html")
    assert run["seconds"] == written["seconds"] and compiled["seconds"]["compiling"] > 0
    assert [function["index"] for function in run["functions"]] == [1, 3, 4]
    assert all(function["compile_seconds"] > 0 and function["size"] > 0 for function in compiled["functions"])
    write_wat("other.wat", "(module)")
    refused = wasmjit("explore", "--timing", "t.json", "other.wat")
    assert refused.returncode == 1 and "t.json: that was a run of another module" in refused.stderr
    refused = wasmjit("explore", "--timing", "m.wat", "m.wat")
    assert refused.returncode == 1 and "m.wat: this is not what" in refused.stderr


def test_phases_within_phases_count_once() -> None:
    began = time.perf_counter()
    with stopwatch.listen() as watch:
        with stopwatch.phase("outer"):
            with stopwatch.phase("inner"):
                threading.Event().wait(0.05)
            with stopwatch.phase("outer"):
                pass
        other = threading.Thread(target=lambda: stopwatch.phase("elsewhere").__enter__())
        other.start()
        other.join()
    assert watch.seconds.keys() == {"outer", "inner"}
    assert watch.seconds["inner"] >= 0.05 and sum(watch.seconds.values()) < time.perf_counter() - began
    with stopwatch.phase("unheard"):
        pass
    assert watch.seconds.keys() == {"outer", "inner"}
