"""``wasmjit wast``: a script passes only if everything it asserts holds, and each kind of lie is found."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wasmjit import WasmError
from wasmjit.cli import wast

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
OPTIONS = wast.WastOptions("none")

GOOD = """
(module $first
  (memory (export "memory") 1 1)
  (global (export "g") i64 (i64.const -3))
  (global (export "nan") f32 (f32.const nan:0x123))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "pair") (result i32 f64) (i32.const -1) (f64.const 2.5))
  (func (export "nan32") (result f32) (f32.div (f32.const 0) (f32.const 0)))
  (func (export "signalling") (param f64) (result f64) (local.get 0))
  (func (export "bool") (param externref) (result i32) (ref.is_null (local.get 0)))
  (func (export "ref") (param externref) (result externref) (local.get 0))
  (func $self (export "self") (result funcref) (ref.func $self))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func $down (export "down") (result i32) (i32.add (call $down) (call $down))))
(assert_return (invoke "add" (i32.const 0xffffffff) (i32.const 2)) (i32.const 1))
(assert_return (invoke "pair") (i32.const -1) (f64.const 2.5))
(assert_return (invoke "nan32") (f32.const nan:canonical))
(assert_return (invoke "signalling" (f64.const nan:0x4000000000001)) (f64.const nan:0x4000000000001))
(assert_return (invoke "bool" (ref.null extern)) (i32.const 1))
(assert_return (invoke "bool" (ref.extern 0)) (i32.const 0))
(assert_return (invoke "ref" (ref.extern 7)) (ref.extern 7))
(assert_return (invoke "ref" (ref.null extern)) (ref.null extern))
(assert_return (invoke "self") (ref.func))
(assert_return (get "g") (i64.const -3))
(assert_trap (invoke "load" (i32.const 65533)) "out of bounds memory access")
(assert_exhaustion (invoke "down") "call stack exhausted")
(register "first" $first)
(module
  (import "first" "add" (func $add (param i32 i32) (result i32)))
  (import "spectest" "global_i32" (global i32))
  (import "spectest" "memory" (memory 1))
  (import "spectest" "table" (table 10 funcref))
  (import "spectest" "print_i32_f32" (func $print (param i32 f32)))
  (func (export "use") (result i32)
    (call $print (i32.const 1) (f32.const 2)) (call $add (global.get 0) (i32.const 1))))
(assert_return (invoke "use") (i32.const 667))
(assert_return (invoke $first "add" (i32.const 1) (i32.const 1)) (i32.const 2))
(invoke "use")
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_malformed (module quote "(func (result i33))") "unknown type")
(assert_malformed (module binary "\\00asm\\02\\00\\00\\00") "unknown binary version")
(assert_unlinkable (module (import "first" "missing" (func))) "unknown import")
(assert_unlinkable (module (import "first" "add" (func))) "incompatible import type")
(assert_trap (module (memory 0) (data (i32.const 0) "x")) "out of bounds memory access")
"""
# A script of one command that does not hold, and what the failure says.
LIES = {
    "value": ('(assert_return (invoke "one") (i32.const 2))', "expected"),
    "results": ('(assert_return (invoke "one"))', "expected 0 results"),
    "zero's sign": ('(assert_return (invoke "zero") (f32.const -0))', "expected"),
    "nan": ('(assert_return (invoke "zero") (f32.const nan:arithmetic))', "expected"),
    "payload": ('(assert_return (invoke "payload") (f32.const nan:canonical))', "expected"),
    "no trap": ('(assert_trap (invoke "one") "unreachable")', "no trap"),
    "other trap": ('(assert_trap (invoke "trap") "integer overflow")', "expected the trap"),
    "exhaustion": ('(assert_exhaustion (invoke "one") "call stack exhausted")', "no trap"),
    "valid": ('(assert_invalid (module) "type mismatch")', "accepted"),
    "well formed": ('(assert_malformed (module quote "(func)") "unexpected token")', "accepted"),
    "linkable": ('(assert_unlinkable (module) "unknown import")', "linked"),
    "instantiable": ('(assert_trap (module) "unreachable")', "no trap"),
    "trapped": ('(invoke "trap")', "Trap"),
    "no export": ('(invoke "missing")', "no export"),
    "global": ('(assert_return (get "g") (i32.const 1))', "expected"),
    "null": ('(assert_return (invoke "null") (ref.extern 1))', "expected"),
}
LIAR = """(module
  (global (export "g") i32 (i32.const 0))
  (func (export "one") (result i32) (i32.const 1))
  (func (export "zero") (result f32) (f32.const 0))
  (func (export "payload") (result f32) (f32.const nan:0x200001))
  (func (export "null") (result externref) (ref.null extern))
  (func (export "trap") (unreachable)))
"""


@pytest.mark.parametrize("through_artifact", [False, True])
@pytest.mark.parametrize("explicit_checks", [False, True])
def test_a_good_script(tmp_path: Path, explicit_checks: bool, through_artifact: bool) -> None:
    (tmp_path / "good.wast").write_text(GOOD)
    result = wast.run_file(tmp_path / "good.wast", wast.WastOptions("none", explicit_checks, through_artifact))
    assert result.failures == []
    assert result.passed == 24


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(tmp_path: Path, lie: str) -> None:
    command, reason = LIES[lie]
    (tmp_path / "lie.wast").write_text(LIAR + command)
    result = wast.run_file(tmp_path / "lie.wast", OPTIONS)
    assert result.passed == 1
    assert len(result.failures) == 1 and reason in result.failures[0].reason
    assert result.failures[0].line == LIAR.count("\n") + 1


def test_command_line(wasmjit: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "good.wast").write_text(GOOD)
    (tmp_path / "lie.wast").write_text(LIAR + LIES["value"][0])
    done = wasmjit("wast", "-O0", "good.wast")
    assert done.returncode == 0, done.stdout
    assert done.stdout == "good.wast: 24 passed, 0 failed\n1 files: 24 passed, 0 failed\n"
    done = wasmjit("wast", "-O0", "-v", "--jobs", "2", "good.wast", "lie.wast")
    assert done.returncode == 1
    assert "lie.wast: 1 passed, 1 failed" in done.stdout and f"lie.wast:{LIAR.count(chr(10)) + 1}:" in done.stdout
    assert done.stdout.endswith("2 files: 25 passed, 1 failed\n")
    done = wasmjit("wast", "missing.wast")
    assert done.returncode == 1 and "missing.wast: 0 passed, 1 failed" in done.stdout
    assert wasmjit("wast").returncode == 1


def test_what_does_not_end_is_not_read_for_ever(wasmjit: CommandLine) -> None:
    done = wasmjit("wast", "-v", "/dev/zero")
    assert done.returncode == 1 and "more than 64 MiB: '/dev/zero'" in done.stdout
    done = wasmjit("wast", "--list", "/dev/zero")
    assert done.returncode == 1 and "more than 1 MiB: '/dev/zero'" in done.stderr


def test_a_script_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "script"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_text, GOOD)
        result = wast.run_file(pipe, OPTIONS)
    assert (result.passed, result.failures) == (24, [])


def test_lists_name_files_with_dashes_for_slashes(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    for name in ("a", "skip-stack-guard-page", "proposals/custom-page-sizes/binary"):
        path = suite / f"{name}.wast"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("(module)")
    names = tmp_path / "names.txt"
    names.write_text("skip-stack-guard-page\n# a comment\n\nproposals-custom-page-sizes-binary\n")
    assert wast.listed_files(names, suite) == [
        suite / "skip-stack-guard-page.wast",
        suite / "proposals/custom-page-sizes/binary.wast",
    ]
    names.write_text("b\n")
    with pytest.raises(WasmError, match=r"has no b$"):
        wast.listed_files(names, suite)


@pytest.mark.parametrize(
    ("kind", "text", "bits", "matches"),
    [
        ("i32", "-1", 0xFFFFFFFF, True),
        ("i32", "4294967295", 0xDEAD_0000_FFFFFFFF, True),  # the high half is unspecified
        ("i64", "-1", 2**64 - 1, True),
        ("i64", "1", 1 << 32 | 1, False),
        ("f32", "2143289344", 0x7FC00000, True),
        ("f32", "nan:canonical", 0xFFC00000, True),
        ("f32", "nan:canonical", 0x7FC00001, False),
        ("f32", "nan:arithmetic", 0x7FC00001, True),
        ("f32", "nan:arithmetic", 0x7FA00000, False),
        ("f64", "nan:canonical", 0x7FF8 << 48, True),
        ("f64", "nan:canonical", 0x7FF8 << 48 | 1, False),
        ("f64", "nan:arithmetic", 0xFFF8 << 48 | 5, True),
        ("f64", "nan:arithmetic", 0x7FF0 << 48, False),
    ],
)
def test_numbers_match_by_bits(kind: str, text: str, bits: int, matches: bool) -> None:
    assert wast.slots_match({"type": kind, "value": text}, [bits]) is matches
    either = {"type": "either", "values": [{"type": kind, "value": "12345"}, {"type": kind, "value": text}]}
    assert wast.slots_match(either, [bits]) is matches


def test_vectors_match_lane_by_lane() -> None:
    value = {"type": "v128", "lane_type": "f32", "value": ["nan:canonical", "0", "nan:arithmetic", "1"]}
    low, high = 0x7FC00000, 0x7FC12345 | 1 << 32
    assert wast.slots_match(value, [low, high])
    assert not wast.slots_match(value, [low | 1, high])
    lanes = {"type": "v128", "lane_type": "i16", "value": ["-1", "1", "0", "0", "2", "0", "0", "-2"]}
    assert wast.encode_value(lanes) == [0x1FFFF, 2 | 0xFFFE << 48]
    assert wast.slots_match(lanes, wast.encode_value(lanes))


class Bomb(type(Path())):  # type: ignore[misc]
    """A path that ends any process it is sent to, as a crash in generated code would."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (1,)


def test_a_script_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    paths = [tmp_path / "one.wast", Bomb(tmp_path / "bad.wast"), tmp_path / "two.wast"]
    for path in paths:
        path.write_text("(module)")
    results = {result.path.name: result for result in wast.run_files(paths, OPTIONS, jobs=2)}
    assert {name: (result.passed, len(result.failures)) for name, result in results.items()} == {
        "one.wast": (1, 0),
        "bad.wast": (0, 1),
        "two.wast": (1, 0),
    }
    assert "died" in results["bad.wast"].failures[0].reason
