"""Functions that are entered at one of their loops (compile/loop_entry.py): the code is right, and what is refused."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from wasmjit import abi, thresholds
from wasmjit.compile import llvm
from wasmjit.compile.function import FunctionLowering
from wasmjit.compile.loop_entry import LoopEntry
from wasmjit.compile.pipeline import GroupCompiler
from wasmjit.compile.unit import Unit
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.compile.walk import lower_body
from wasmjit.config import Config
from wasmjit.driver.group_code import GroupCode
from wasmjit.errors import CompileError
from wasmjit.runtime.code import LoadedCode, load
from wasmjit.target import host_machine
from wasmjit.wasm.decode import decode
from wasmjit.wasm.lowering import Frame
from wasmjit.wasm.module import Module
from wasmjit.wasm.text import wat2wasm
from wasmjit.wasm.validate import validate

# Two loops and what every place of an outer one can be: before, around and behind the inner one.
NESTED = """(module (func (param $n i32) (param $m i32) (result i32) (local $i i32) (local $j i32) (local $sum i32)
  (loop $rows
    (local.set $j (i32.mul (local.get $i) (i32.const 0)))
    (loop $columns
      (local.set $sum (i32.add (local.get $sum) (i32.mul (local.get $i) (local.get $j))))
      (br_if $columns (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 1))) (local.get $m))))
    (local.set $sum (i32.xor (local.get $sum) (local.get $i)))
    (br_if $rows (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
  (local.get $sum)))"""

# A state machine: loops in blocks and in both arms of an if, left by br_table and return, all reached again.
MACHINE = """(module (func (param $steps i32) (result i64) (local $state i32) (local $sum i64) (local $count i32)
  (loop $again
    (if (i32.eqz (local.tee $steps (i32.sub (local.get $steps) (i32.const 1))))
      (then (return (local.get $sum))))
    (block $third
      (block $second
        (if (i32.and (local.get $steps) (i32.const 1))
          (then
            (local.set $count (i32.const 3))
            (loop $odd
              (local.set $sum (i64.add (local.get $sum) (i64.const 1)))
              (block $first
                (br_table $first $second $third $first (i32.and (local.get $state) (i32.const 3))))
              (local.set $state (i32.add (local.get $state) (i32.const 1)))
              (br_if $odd (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
          (else
            (local.set $count (i32.const 2))
            (loop $even
              (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $steps))))
              (br_if $even (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))))
        (br $again))
      (local.set $state (i32.add (local.get $state) (i32.const 1)))
      (local.set $sum (i64.add (local.get $sum) (i64.const 100)))
      (br $again))
    (local.set $state (i32.const 0))
    (local.set $sum (i64.add (local.get $sum) (i64.const 1000)))
    (br $again))
  (unreachable)))"""

# Locals of every type, and more results than there are registers for.
TYPES = """(module (func (param i32 f64 externref) (result i32 i64 f32 f64 externref funcref)
    (local i64 f32 funcref i32)
  (loop
    (local.set 3 (i64.add (local.get 3) (i64.const 1)))
    (local.set 4 (f32.add (local.get 4) (f32.const 0.5)))
    (local.set 1 (f64.mul (local.get 1) (f64.const 2)))
    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
  (local.get 6) (local.get 3) (local.get 4) (local.get 1) (local.get 2) (local.get 5)))"""

# Parameters that have other values before the loop, and operands that are constants there.
REASSIGNED = """(module (func (param i32 i32) (result i32) (local i32)
  (local.set 0 (i32.const 1000))
  (local.set 2 (i32.add (local.get 0) (local.get 1)))
  (loop
    (local.set 2 (i32.add (local.get 2) (local.get 0)))
    (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
  (i32.add (local.get 2) (local.get 0))))"""

# A load whose value is overwritten behind the loop, one in a condition that decides nothing, one that is dropped.
TAINTED = """(module (memory 1) (func (param i32 i32) (result i32) (local i32)
  (local.set 2 (i32.load offset=4 (local.get 0)))
  (loop
    (local.set 2 (i32.load offset=8 (local.get 0)))
    (block (br_if 0 (i32.load offset=12 (local.get 0))))
    (drop (i32.load offset=16 (local.get 0)))
    (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
  (local.set 2 (i32.const 7))
  (local.get 2)))"""

# Two addresses checked before the loop, in it and behind it, where explicit checks are needed.
SUM = """(module (memory 1) (func (param $at i32) (param $end i32) (result i32) (local $sum i32)
  (local.set $sum (i32.load8_u (local.get $at)))
  (loop
    (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
    (i32.store offset=256 (local.get $at) (local.get $sum))
    (br_if 0 (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (local.get $end))))
  (i32.add (local.get $sum) (i32.load8_u (local.get $at)))))"""

CALLS = """(module
  (type $unary (func (param i32) (result i32)))
  (import "host" "f" (func $host (type $unary)))
  (table 4 funcref) (memory 1) (global $g (mut i64) (i64.const 5))
  (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "calls") (param i32) (result i32) (local i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (call $double (local.get 0))))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1))
  (func (param i32) (result i32) (local i32)
    (global.set $g (i64.add (global.get $g) (i64.const 1)))
    (loop
      (local.set 1 (call $host (call_indirect (type $unary) (local.get 1) (local.get 0))))
      (global.set $g (i64.add (global.get $g) (i64.const 1)))
      (local.set 1 (i32.div_s (local.get 1) (i32.trunc_f64_s (f64.convert_i32_s (memory.grow (local.get 0))))))
      (memory.fill (local.get 0) (i32.const 0) (memory.size))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1)))"""

# Loops and blocks with parameters and operands, around and behind a loop without.
OPERANDS = """(module (memory 1) (func (param i32 i32) (result i32)
  (loop $outer
    (loop $first (br_if $first (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
    (i32.load (local.get 0))
    (i32.load offset=4 (local.get 0))
    (if (param i32) (result i32) (local.get 1)
      (then
        (loop (param i32) (result i32)
          (i32.add (local.get 0))
          (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))))
      (else (i32.load offset=8) (loop (br_if 0 (local.get 1)))))
    (i32.add)
    (br_if $outer (local.tee 0)))
  (block (result i32) (loop (result i32) (i32.const 3) (br_if 1 (local.get 1)) (drop) (br 0)))))"""

VECTORS = """(module (memory 1) (func (param i32)
  (loop
    (v128.store offset=16 (local.get 0) (f32x4.add (v128.load (local.get 0)) (f32x4.splat (f32.const 1))))
    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"""

MEMORY_64 = SUM.replace("(memory 1)", "(memory i64 1)").replace("(param $at i32)", "(param $at i64)")
MEMORY_64 = MEMORY_64.replace("(i32.add (local.get $at) (i32.const 1))", "(i64.add (local.get $at) (i64.const 1))")
MEMORY_64 = MEMORY_64.replace("i32.lt_u", "i64.lt_u").replace("(param $end i32)", "(param $end i64)")

# A frame so large that the stack check counts it, and its locals are left in the frame.
LARGE = (
    f"(module (func (param i32) (result i64) (local {'i64 ' * 600})\n"
    "(loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))\n"
    + "\n".join(f"(local.set 1 (i64.add (local.get 1) (local.get {i})))" for i in range(2, 600))
    + "(local.get 1)))"
)

MODULES = {
    "nested": NESTED,
    "machine": MACHINE,
    "types": TYPES,
    "reassigned": REASSIGNED,
    "tainted": TAINTED,
    "sum": SUM,
    "calls": CALLS,
    "vectors": VECTORS,
    "memory64": MEMORY_64,
    "large": LARGE,
}


def module_of(wat: str) -> Module:
    return decode(wat2wasm(wat), Config().features)


def policy_of(*, counting: bool = True, **options: Any) -> CodePolicy:
    return CodePolicy.from_config(Config(**options), host_machine(), replaceable=True, counting=counting)


class Recorder(FunctionLowering):
    """Lists the loops of a function."""

    def __init__(self, unit: Unit, function: int) -> None:
        super().__init__(unit, function, 20)
        self.loops: list[int] = []

    def loop(self, frame: Frame, at: int) -> None:
        self.loops.append(at)
        super().loop(frame, at)


def loops_of(module: Module) -> Iterator[tuple[int, int]]:
    """Function and offset of every loop."""
    first = module.num_imported_functions
    unit = Unit(module, range(first, first + len(module.bodies)), policy_of(), abi.module_layout(module))
    for function in unit.functions:
        recorder = Recorder(unit, function)
        lower_body(recorder)
        yield from ((function, at) for at in recorder.loops)


def entry_text(module: Module, function: int, loop_at: int, **options: Any) -> str:
    return LoopEntry(module, function, loop_at, policy_of(**options), abi.module_layout(module)).text()


def compiled(text: str, output: str, opt_level: str = "speed") -> bytes:
    """What LLVM makes of a text that it verified."""
    request = {"triple": None, "cpu": None, "features": None, "guard_pages": True}
    request |= {"opt_level": opt_level, "verify": True, "output": output}
    return llvm.compile_text(text, request)[0]


POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "checked": {"signals_based_traps": False},
    "volatile": {"exact_traps": True},
    "canonical": {"nan_canonicalization": True},
    "epochs": {"epoch_interruption": True},
    "fuel": {"consume_fuel": True},
    "to stay in": {"counting": False},
    "to stay in, fuel": {"counting": False, "consume_fuel": True},
}


@pytest.mark.part(4)
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("wat", MODULES.values(), ids=MODULES)
def test_every_loop_can_be_entered(wat: str, options: dict[str, Any]) -> None:
    module = module_of(wat)
    loops = list(loops_of(module))
    assert loops
    for function, loop_at in loops:
        text = entry_text(module, function, loop_at, **options)
        assert compiled(text, "object").startswith(b"\x7fELF")


@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
def test_other_loops_may_have_operands(options: dict[str, Any]) -> None:
    module = module_of(OPERANDS)
    outcomes = []
    for function, loop_at in loops_of(module):
        try:
            compiled(entry_text(module, function, loop_at, **options), "object")
            outcomes.append("entered")
        except CompileError as error:
            outcomes.append(error.reason.partition(": ")[2])
    assert outcomes == [
        "entered",
        "entered",
        "it has parameters",
        "there are operands on the stack where it begins",
        "entered",
    ]


@pytest.mark.parametrize("level", ["none", "speed"])
def test_no_trap_is_lost(level: str) -> None:
    module = module_of(TAINTED)
    [(function, loop_at)] = loops_of(module)
    text = compiled(entry_text(module, function, loop_at), "optimised", level).decode()
    lines = [line for line in text.splitlines() if re.search(r" = load (volatile )?i32, ptr .*!tbaa", line)]
    assert len(lines) == 3  # the one before the loop never runs


def test_what_was_checked_before_the_loop_is_checked_again() -> None:
    module = module_of(SUM)
    [(function, loop_at)] = loops_of(module)
    text = compiled(entry_text(module, function, loop_at, signals_based_traps=False), "optimised", "none").decode()
    assert text.count("call void @llvm.ubsantrap") == 4  # of the stack, load and store in the loop, the load behind it


def test_the_calling_convention() -> None:
    module = module_of(TYPES)
    [(function, loop_at)] = loops_of(module)
    text = entry_text(module, function, loop_at)
    assert "@f0(ptr %vmctx, ptr %results, ptr %frame)" in text
    assert "define weak dso_local { i32, i64 }" in text
    module = module_of(SUM)
    [(function, loop_at)] = loops_of(module)
    assert "define weak dso_local i32 @f0(ptr %vmctx, ptr %frame)" in entry_text(module, function, loop_at)


REFUSED = {
    "tail calls": "(module (func $f (param i32) (loop (br_if 0 (local.get 0))) (return_call $f (i32.const 0))))",
    "operands on the stack": "(module (func (result i32) (i32.const 1) (loop (br 0))))",
    "parameters": "(module (func (param i32) (local.get 0) (loop (param i32) (drop))))",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals(reason: str) -> None:
    module = module_of(REFUSED[reason])
    [(function, loop_at)] = loops_of(module)
    with pytest.raises(CompileError, match=f"at offset {loop_at} cannot be entered: .*{reason}"):
        entry_text(module, function, loop_at)
    with pytest.raises(CompileError, match=reason):
        GroupCompiler(module, Config()).begin_loop(function, loop_at)


def test_a_loop_that_is_not_there_is_refused() -> None:
    module = module_of(NESTED)
    with pytest.raises(CompileError, match="there is no loop"):
        entry_text(module, 0, 1)
    unreachable = module_of("(module (func (unreachable) (loop (br 0))))")
    with pytest.raises(CompileError, match="there is no loop"):
        entry_text(unreachable, 0, unreachable.wasm.index(b"\x03\x40"))


# ---- run ----


class Pair(ctypes.Structure):
    """Two results that come back in registers."""

    _fields_ = (("first", ctypes.c_int32), ("second", ctypes.c_int64))


class Activation:
    """Code that is entered at a loop, and as much of an instance as it looks at."""

    def __init__(self, wat: str, loop: int, level: str, *, optimised: bool = False) -> None:
        """`loop` counts all loops of the module."""
        module = module_of(wat)
        layout = abi.module_layout(module)
        self.function, self.loop_at = list(loops_of(module))[loop]
        compiler = GroupCompiler(module, Config(opt_level=level))
        pending = compiler.begin_loop(self.function, self.loop_at, optimised=optimised)
        self.code: LoadedCode = load(GroupCode(module, pending.result(), pending.functions))
        self.functions = (ctypes.c_uint64 * (3 * len(module.bodies)))()
        self.store = (ctypes.c_uint64 * (abi.STORE["sizeof"] // 8))()  # with a stack limit of 0
        self.memory = ctypes.create_string_buffer(65536)
        self.context = ctypes.create_string_buffer(layout.size_bytes + 16)
        self._point(abi.VMCONTEXT["functions"], self.functions)
        self._point(abi.VMCONTEXT["store"], self.store)
        if module.memories:
            self._point(layout.memories + abi.MEMORY_SLOT["base"], self.memory)
        self.count = 2 * len(module.bodies) + self.function - module.num_imported_functions
        self.results = (ctypes.c_uint64 * 8)()
        self.builtins = (ctypes.c_void_p * len(abi.BUILTINS))()
        self._point(abi.VMCONTEXT["builtins"], self.builtins)

    def answer(self, hot_loop: Callable[[int, int], int]) -> None:
        """Has questions for better code, with position and loop, answered with an address or 0."""
        prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
        self._answer = prototype(lambda _, position, loop_at: hot_loop(position, loop_at))
        self.builtins[abi.BUILTIN_INDEX["hot_loop"]] = ctypes.cast(self._answer, ctypes.c_void_p).value

    def _point(self, offset: int, target: object) -> None:
        struct.pack_into("<Q", self.context, offset, ctypes.addressof(target))  # type: ignore[arg-type]

    def run(self, result: Any, slots: Sequence[int | bytes], with_area: bool = False) -> Any:
        """Enters the loop. The upper halves of 32-bit slots are not zeros."""
        frame = ctypes.create_string_buffer(
            b"".join(s if isinstance(s, bytes) else struct.pack("<iI", s, 0xDEADBEEF) for s in slots)
        )
        area = [self.results] if with_area else []
        prototype = ctypes.CFUNCTYPE(result, *[ctypes.c_void_p] * (2 + len(area)))
        code = prototype(self.code.function_addresses[0])
        return code(ctypes.addressof(self.context), *map(ctypes.addressof, area), ctypes.addressof(frame))


LEVELS = pytest.mark.parametrize("level", ["none", "speed"])
OPTIMISED = pytest.mark.parametrize("optimised", [False, True], ids=["", "to stay in"])


@LEVELS
@OPTIMISED
@pytest.mark.parametrize("loop", [0, 1])
def test_nested_loops(level: str, loop: int, optimised: bool) -> None:
    n, m, i, j, total = 7, 5, 3, 2, 1000
    activation = Activation(NESTED, loop, level, optimised=optimised)
    found = activation.run(ctypes.c_int32, [n, m, i, j, total])
    begins = 0
    j = j if loop == 1 else 0
    while True:
        total += sum(i * column for column in range(j, m))
        total ^= i
        begins += m - j
        i, j = i + 1, 0
        if i >= n:
            break
    assert found == total
    rows = n - 3 - (1 if loop == 1 else 0)
    assert activation.functions[activation.count] == (0 if optimised else begins + rows)


def machine(where: str, steps: int, state: int, total: int, count: int) -> int:
    """What MACHINE does from the loop `where` on."""
    while True:
        if where == "again":
            steps -= 1
            if steps == 0:
                return total
            where, count = ("odd", 3) if steps & 1 else ("even", 2)
        if where == "odd":
            while True:
                total += 1
                if state & 3 in (1, 2):
                    break
                state += 1
                count -= 1
                if count == 0:
                    break
            if count and state & 3 == 1:
                state += 1
                total += 100
            elif count and state & 3 == 2:
                state = 0
                total += 1000
        else:
            total += count * steps
        where = "again"


DEPTH = 6
TRIPS = 3


def deep_nest() -> str:
    """Loops in loops, each of which sets the counter of the next one and mixes its own into the total behind it."""
    code = ""
    for level in reversed(range(DEPTH)):
        counter = f"(local.get {level + 1})"
        code = f"""(local.set {level + 1} (i32.const 0))
          (loop {code}
            (local.set 0
              (i32.add (i32.mul (local.get 0) (i32.const 31)) (i32.add {counter} (i32.const {level}))))
            (local.set {level + 1} (i32.add {counter} (i32.const 1)))
            (br_if 0 (i32.lt_u {counter} (i32.const {TRIPS}))))"""
    return f"(module (func (param $total i32) (result i32) {'(local i32)' * DEPTH} {code} (local.get 0)))"


def after_deep_nest(total: int, counters: list[int], entered: int) -> int:
    """The total where all loops are done, from the header of one."""

    def mix(level: int) -> bool:
        nonlocal total
        total = (total * 31 + counters[level] + level) & 0xFFFFFFFF
        counters[level] += 1
        return counters[level] < TRIPS

    def run(level: int) -> None:
        while True:
            if level + 1 < DEPTH:
                counters[level + 1] = 0
                run(level + 1)
            if not mix(level):
                return

    run(entered)
    for level in reversed(range(entered)):
        if mix(level):
            run(level)
    return total


@pytest.mark.parametrize("loop", range(DEPTH))
def test_code_to_stay_in_has_a_copy_for_each_loop_around(loop: int) -> None:
    """But for the outermost ones of a deep nest, and of a loop with others in it, which are as fast in any copy."""
    activation = Activation(deep_nest(), loop, "speed", optimised=True)
    for counters in ([0] * DEPTH, [1, 0, 2, 1, 0, 2], [2] * DEPTH):
        expected = after_deep_nest(5, list(counters), loop)
        assert activation.run(ctypes.c_uint32, [5, *counters]) == expected, counters
    module = module_of(deep_nest())
    text = entry_text(module, activation.function, activation.loop_at, counting=False)
    assert len(re.findall(r"^start\.\d:$", text, re.MULTILINE)) == [0, 2, 2, 2, 2, 4][loop]


@pytest.mark.part(2)
@LEVELS
@OPTIMISED
@pytest.mark.parametrize("loop", [0, 1, 2])
@pytest.mark.parametrize("state", range(4))
def test_loops_in_blocks_and_arms(level: str, loop: int, state: int, optimised: bool) -> None:
    activation = Activation(MACHINE, loop, level, optimised=optimised)
    name = ("again", "odd", "even")[loop]
    for steps in (2, 9, 40):
        found = activation.run(ctypes.c_int64, [steps, state, struct.pack("<q", 1 << 40), 3])
        assert found == machine(name, steps, state, 1 << 40, 3)


@LEVELS
def test_locals_of_all_types_and_many_results(level: str) -> None:
    activation = Activation(TYPES, 0, level)
    frame = [3, struct.pack("<d", 1.25), struct.pack("<Q", 0x1234_5678_9ABC), struct.pack("<q", -(1 << 40))]
    frame += [struct.pack("<fI", 0.25, 0xFFFFFFFF), struct.pack("<Q", 0x7777_0000_1111), -9]
    pair = activation.run(Pair, frame, with_area=True)
    assert (pair.first, pair.second) == (-9, -(1 << 40) + 3)
    area = bytes(activation.results)
    assert struct.unpack_from("<f", area)[0] == 1.75
    assert struct.unpack_from("<d", area, 8)[0] == 10
    assert struct.unpack_from("<QQ", area, 16) == (0x1234_5678_9ABC, 0x7777_0000_1111)


@LEVELS
def test_the_frame_counts_not_what_is_before_the_loop(level: str) -> None:
    assert Activation(REASSIGNED, 0, level).run(ctypes.c_int32, [3, 4, 50]) == 50 + 4 * 3 + 3


@LEVELS
def test_memory_and_addresses(level: str) -> None:
    activation = Activation(SUM, 0, level)
    activation.memory[:100] = bytes(range(1, 101))
    assert activation.run(ctypes.c_int32, [10, 20, 5]) == 5 + sum(range(11, 21)) + 21
    assert struct.unpack_from("<I", activation.memory, 256 + 10)[0] & 0xFF == 5 + 11
    module = activation.code.artifact.module
    offsets = activation.code.artifact.address_map()[1]
    stores = [at for at in range(activation.loop_at, len(module.wasm)) if module.wasm[at : at + 3] == b"\x36\x02\x80"]
    assert stores and stores[0] in offsets  # a fault there is told as one of this instruction


@LEVELS
def test_calls_go_through_the_function_table(level: str) -> None:
    seen = []

    def callee(context: int, value: int) -> int:
        seen.append((context, value))
        return 10 * value

    activation = Activation(CALLS, 0, level)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32)(callee)
    activation.functions[0] = ctypes.cast(function, ctypes.c_void_p).value or 0
    assert activation.run(ctypes.c_int32, [3, 1]) == 1 + 60
    assert seen == [(ctypes.addressof(activation.context), value) for value in (3, 2, 1)]


def test_the_result_says_which_function_it_is() -> None:
    module = module_of(CALLS)
    function, loop_at = list(loops_of(module))[1]
    pending = GroupCompiler(module, Config()).begin_loop(function, loop_at)
    unit = pending.result()
    assert (pending.functions, unit.first_function, unit.count) == ([function], function, 1)


def test_a_value_from_before_the_loop_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM verifies the code: were a lowering to remember too much, there would be none.

    With debug information in a text LLVM does so when it reads it, and ends the worker.
    """
    monkeypatch.setattr("wasmjit.compile.loop_entry.LoopEntryLowering.loop", remembering_loop)
    module = module_of(REASSIGNED)
    [(function, loop_at)] = loops_of(module)
    pending = GroupCompiler(module, Config(opt_level="none")).begin_loop(function, loop_at)
    with pytest.raises(CompileError, match=r"dominate|process died"):
        pending.result()


def remembering_loop(self: Any, frame: Frame, at: int) -> None:
    """As LoopEntryLowering.loop, without forgetting the locals' values."""
    remembered = dict(self.cache)
    FunctionLowering.loop(self, frame, at)
    self.cache.update(remembered)
    self.is_found = True
    self.first_label = frame.label
    self.open_loops.append(frame)


# ---- handing over to better code ----


def offers(wat: str, *, policy: CodePolicy | None = None) -> int:
    """How many loops of all functions of a module ask for better code."""
    module = module_of(wat)
    validate(module)  # knows of tail calls then
    functions = range(module.num_imported_functions, module.num_imported_functions + len(module.bodies))
    unit = Unit(module, functions, policy or policy_of(), abi.module_layout(module))
    asked = unit.text().count(f"i64 {abi.BUILTIN_INDEX['hot_loop']}\n")
    compiled(unit.text(), "object")
    return asked


def test_loops_that_can_be_entered_ask() -> None:
    assert offers(NESTED) == 2
    assert offers(MACHINE) == 3
    assert offers(OPERANDS) == 3
    assert offers(LARGE) == 0
    assert offers(VECTORS) == offers(VECTORS.replace("(param i32)", "(param i32) (local v128)")) == 1
    for reason, wat in REFUSED.items():
        assert offers(wat) == 0, reason
    assert offers(NESTED, policy=policy_of(consume_fuel=True)) == 2
    assert offers(NESTED, policy=policy_of(epoch_interruption=True)) == 2


def test_other_code_does_not_ask() -> None:
    assert offers(NESTED, policy=CodePolicy.from_config(Config(), host_machine())) == 0
    assert offers(NESTED, policy=CodePolicy.from_config(Config(), host_machine(), replaceable=True)) == 0


def test_optimised_entries_do_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "HAND_OVER_PERIOD", 1)
    n, m = 7, 5
    activation = Activation(NESTED, 0, "none", optimised=True)  # whose table of builtins is empty
    activation.run(ctypes.c_int32, [n, m, 0, 0, 0])
    assert not any(activation.functions)  # nor does it count


def test_the_optimised_level_is_a_choice_of_its_own() -> None:
    module = module_of(SUM)
    [(function, loop_at)] = loops_of(module)
    sizes = {}
    for level in ("none", "speed", "speed_and_size"):
        compiler = GroupCompiler(module, Config(opt_level="none"), optimised_opt_level=level)
        sizes[level] = len(compiler.begin_loop(function, loop_at, optimised=True).result().object)
    assert len(set(sizes.values())) == 3


def test_only_live_locals_are_handed_over() -> None:
    text = entry_text(module_of(REASSIGNED), *next(loops_of(module_of(REASSIGNED))))
    stored = re.findall(r"store i32 (%x\d+l\d+), ptr %x", text)
    read = {index for index in range(3) if re.search(rf"= load i32, ptr %l{index}$", text, re.MULTILINE)}
    assert stored and {int(name.rpartition("l")[2]) for name in stored} <= read
    dead = """(module (func (param i32) (result i32) (local i32 i32)
      (local.set 1 (i32.const 9))
      (loop
        (local.set 2 (local.get 0))
        (br_if 0 (local.tee 0 (i32.sub (local.get 2) (i32.const 1)))))
      (local.get 1)))"""
    module = module_of(dead)
    text = entry_text(module, *next(loops_of(module)))
    assert sorted(re.findall(r"store i32 %x\d+l(\d+),", text)) == ["0", "1"]  # 2 is written before it is read


@pytest.mark.parametrize("asked_at", [1, 2, 9])
def test_a_hand_over(asked_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "HAND_OVER_PERIOD", 1)
    better = Activation(TYPES, 0, "speed", optimised=True)
    activation = Activation(TYPES, 0, "none")
    questions = []

    def hot_loop(position: int, loop_at: int) -> int:
        questions.append((position, loop_at))
        return better.code.function_addresses[0] if len(questions) == asked_at else 0

    activation.answer(hot_loop)
    frame = [20, struct.pack("<d", 1.25), struct.pack("<Q", 0x1234_5678_9ABC), struct.pack("<q", -(1 << 40))]
    frame += [struct.pack("<fI", 0.25, 0xFFFFFFFF), struct.pack("<Q", 0x7777_0000_1111), -9]
    found = activation.run(Pair, frame, with_area=True)
    expected = better.run(Pair, frame, with_area=True)
    assert (found.first, found.second) == (expected.first, expected.second)
    assert bytes(activation.results) == bytes(better.results)
    assert questions == [(0, activation.loop_at)] * asked_at
    assert activation.functions[activation.count] == asked_at  # the other code does not count


def test_counts_between_two_questions() -> None:
    activation = Activation(NESTED, 1, "none")
    questions = []
    activation.answer(lambda *question: questions.append(question) or 0)  # type: ignore[func-returns-value]
    activation.run(ctypes.c_int32, [1, 3 * thresholds.HAND_OVER_PERIOD, 0, 0, 0])
    assert questions == [(activation.function, activation.loop_at)] * 3


# ---- functions that are optimised a few at a time ----


def test_optimised_groups_call_their_own_functions_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recursion in code to stay in; other code is called through the function table, where it can be replaced."""
    module = module_of(
        """(module (func $down (param i32) (result i32)
             (if (result i32) (local.get 0)
               (then (i32.add (call $other) (call $down (i32.sub (local.get 0) (i32.const 1))))) (else (i32.const 0))))
           (func $other (result i32) (i32.const 7)))"""
    )
    texts = {}
    for optimised in (False, True):
        sent: list[bytes] = []
        compiler = GroupCompiler(module, Config())
        monkeypatch.setattr(compiler._workers, "begin", lambda fields, body, sent=sent: sent.append(body))
        compiler.begin(0, lambda _: False, optimised=optimised)
        texts[optimised] = sent[0].decode()
    assert "call i32 @f0(" not in texts[False] and "call i32 @f0(" in texts[True]
    assert not any("call i32 @f1(" in text for text in texts.values())
