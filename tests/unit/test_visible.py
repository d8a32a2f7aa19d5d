"""References that LLVM is told to keep, for the collector: where something may be collected, and nowhere else."""

from __future__ import annotations

import re

from wasmjit import abi
from wasmjit.compile.unit import Unit
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.config import Config
from wasmjit.target import host_machine
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

LOOP = """(loop $more
    (local.set $s (i32.add (local.get $s) (array.get $a (local.get $x) (local.get $i))))
    (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (array.len (local.get $x)))))"""
USE = '  call void asm sideeffect "", "r"(ptr '


def lines_of(body: str) -> list[str]:
    module = decode(
        wat2wasm(f"""(module (type $a (array (mut i32))) (import "" "" (func $f))
      (func (param $x (ref $a)) (result i32) (local $i i32) (local $s i32) {body} (local.get $s)))""")
    )
    policy = CodePolicy.from_config(Config(), host_machine())
    return Unit(module, range(1, 2), policy, abi.module_layout(module)).text().split("\n")


def test_nothing_is_kept_where_nothing_is_collected() -> None:
    assert not [line for line in lines_of(LOOP) if line.startswith(USE)]


def test_references_are_kept_in_loops_that_call() -> None:
    lines = lines_of(LOOP.replace("(loop $more", "(loop $more (call $f)"))
    (use,) = [at for at, line in enumerate(lines) if line.startswith(USE)]
    assert lines.index("b1:") < use  # the loop's label


def test_of_a_loop_without_calls_in_one_with_some_they_are_kept_in_front() -> None:
    lines = lines_of(f"(loop $again (call $f) (local.set $i (i32.const 0)) {LOOP} (br_if $again (local.get $s)))")
    (use,) = [at for at, line in enumerate(lines) if line.startswith(USE)]
    labels = [at for at, line in enumerate(lines) if re.fullmatch(r"b\d+:", line)]
    assert labels[0] < use < labels[1]


def test_an_array_that_changes_in_the_loop_is_not_kept_in_front() -> None:
    """There is no address of it in front of the loop."""
    inner = LOOP.replace("(local.get $x) (local.get $i)", "(table.get $t (local.get $i)) (local.get $i)")
    module = decode(
        wat2wasm(f"""(module (type $a (array (mut i32))) (import "" "" (func $f)) (table $t 1 (ref null $a))
      (func (param $x (ref $a)) (result i32) (local $i i32) (local $s i32) (call $f) {inner} (local.get $s)))""")
    )
    policy = CodePolicy.from_config(Config(), host_machine())
    text = Unit(module, range(1, 2), policy, abi.module_layout(module)).text()
    assert USE not in text
