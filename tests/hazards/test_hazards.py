"""Every hazard of the architecture page, by name: what LLVM, signals and loaders are known to break."""

from __future__ import annotations

import platform
import re
import struct
import subprocess
import sys
import textwrap
import threading

import pytest

from wasmjit import Config, Engine, Func, FuncType, Instance, Module, Store, Trap, TrapCode, ValType, wat2wasm
from wasmjit.compile import pipeline, workers
from wasmjit.errors import CompileError
from wasmjit.wasm.decode import decode

MODES = {
    "speed": {},
    "none": {"opt_level": "none"},
    "size": {"opt_level": "speed_and_size"},
    "checked": {"signals_based_traps": False},
    "exact": {"exact_traps": True},
}


@pytest.fixture(params=MODES)
def config(request: pytest.FixtureRequest) -> Config:
    return Config(**MODES[request.param])


class Program:
    """An instance whose exports are called by name."""

    def __init__(self, wat: str, config: Config | None = None, imports: tuple[object, ...] = ()) -> None:
        self.engine = Engine(config or Config())
        self.store = Store(self.engine)
        self.module = Module(self.engine, wat)
        self.instance = Instance(self.store, self.module, [make(self.store) for make in imports])
        self.exports = self.instance.exports(self.store)

    def __call__(self, name: str, *args: object) -> object:
        return self.exports[name](self.store, *args)

    def raw(self, name: str, *slots: int) -> list[int]:
        return self.exports[name].call_unchecked(self.store, list(slots))

    def trap(self, name: str, *args: object) -> Trap:
        with pytest.raises(Trap) as caught:
            self(name, *args)
        return caught.value


def assembly(wat: str, **options: object) -> str:
    return pipeline.render(decode(bytes(wat2wasm(wat))), Config(**options), "assembly")


def optimised(wat: str, **options: object) -> str:
    return pipeline.render(decode(bytes(wat2wasm(wat))), Config(**options), "optimised")


# ---- exact traps ----


@pytest.mark.parametrize("opt_level", ["none", "speed"])
def test_a_load_that_decides_nothing_traps_with_exact_traps(opt_level: str) -> None:
    """Both ways out of the `if` are the same, so LLVM forgets the condition (found by tests/fuzz/differential.py)."""
    program = Program(
        """(module (memory 0) (func $trap unreachable)
        (func (export "f") (i32.load16_s (i32.const 0)) (call $trap) (if (then return))))""",
        Config(opt_level=opt_level, exact_traps=True),
    )
    with pytest.raises(Trap) as caught:
        program("f")
    assert caught.value.trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("store", "second", "read"),
    [
        ("global.set $g (i32.const 7)", "global.set $g (i32.load (local.get 0))", "global.get $g"),
        (
            "table.set $t (i32.const 0) (ref.func $seven)",
            "drop (i32.load (local.get 0)) (table.set $t (i32.const 0) (ref.null func))",
            "call_indirect $t (result i32) (i32.const 0)",
        ),
        (
            "i32.store (i32.const 0) (i32.const 7)",
            "i32.store (i32.const 0) (i32.load (local.get 0))",
            "i32.load (i32.const 0)",
        ),
    ],
    ids=["global", "table", "memory"],
)
def test_what_was_stored_before_a_trap_is_there_with_exact_traps(store: str, second: str, read: str) -> None:
    """Else the store behind the load, which LLVM knows to follow, is all that it leaves (differential.py, 100698)."""
    program = Program(
        f"""(module (memory 1) (global $g (mut i32) (i32.const 5)) (table $t 1 funcref)
        (func $seven (result i32) (i32.const 7)) (elem declare func $seven)
        (func (export "f") (param i32) ({store}) ({second}))
        (func (export "read") (result i32) ({read})))""",
        Config(exact_traps=True),
    )
    program.trap("f", -4)
    assert program("read") == 7


def test_dropped_load_still_traps(config: Config) -> None:
    program = Program('(module (memory 1) (func (export "f") (param i32) (drop (i32.load (local.get 0)))))', config)
    program("f", 65532)
    assert program.trap("f", 65533).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


def test_selects_in_loops_stay_selects() -> None:
    """What was chosen at random would be mispredicted half of the time, were it a branch (bench: levenshtein)."""
    text = assembly(
        """(module (memory 1)
        (func (export "f") (param $p i32) (param $q i32) (param $c i32) (param $diagonal i32) (param $left i32)
          (local $best i32) (local $other i32)
        (loop $l
          (local.set $best (i32.add (local.get $diagonal) (i32.ne (local.get $c) (i32.load8_u (local.get $q)))))
          (local.set $diagonal (i32.load (local.get $p)))
          (local.set $other (i32.add (local.get $diagonal) (i32.const 1)))
          (local.set $best
            (select (local.get $other) (local.get $best) (i32.lt_s (local.get $other) (local.get $best))))
          (local.set $left (i32.add (local.get $left) (i32.const 1)))
          (local.set $left
            (select (local.get $left) (local.get $best) (i32.lt_s (local.get $left) (local.get $best))))
          (i32.store (local.get $p) (local.get $left))
          (local.set $p (i32.add (local.get $p) (i32.const 4)))
          (br_if $l (local.tee $q (i32.add (local.get $q) (i32.const 1)))))))""",
        target="x86_64-unknown-linux-gnu",
        cpu="sapphirerapids",
    )
    assert text.count("\tcmov") == 2 * text.count("\tsetne") > 0


DEAD = """(module (memory 1)
  (func (export "overwritten") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load (local.get 0))) (local.set 1 (i32.const 1)) (local.get 1))
  (func (export "at_end") (param i32) (local i32) (local.set 1 (i32.add (i32.load (local.get 0)) (i32.const 1))))
  (func (export "across_blocks") (param i32) (local i32)
    (local.set 1 (i32.load (local.get 0)))
    (if (local.get 0) (then (local.set 1 (i32.const 1))) (else (local.set 1 (i32.const 2)))))
  (func (export "in_then_read_in_else") (param i32) (result i32) (local i32)
    (if (local.get 0) (then (local.set 1 (i32.load (local.get 0)))) (else (return (local.get 1))))
    (i32.const 7))
  (func (export "after_branch_that_reads") (param i32) (result i32) (local i32)
    (block $exit (br_if $exit (i32.eqz (local.get 0))) (local.set 1 (i32.load (local.get 0))) (return (i32.const 1)))
    (local.get 1))
  (func (export "in_loop") (param i32) (local i32 i32)
    (loop $l
      (local.set 1 (i32.load (local.get 0)))
      (br_if $l (i32.lt_u (local.tee 2 (i32.add (local.get 2) (i32.const 1))) (i32.const 10)))))
  (func (export "discarded_by_branch") (param i32) (result i32) (i32.load (local.get 0)) (return (i32.const 1)))
  (func (export "discarded_by_br_table") (param i32) (result i32)
    (block $a (result i32)
      (i32.load (local.get 0)) (i32.const 3) (i32.const 0) (br_table $a $a)))
  (func (export "masked") (param i32) (result i32) (i32.and (i32.load (local.get 0)) (i32.const 0)))
  (func (export "times_zero") (param i32) (result i32) (i32.mul (i32.const 0) (i32.load (local.get 0))))
  (func (export "compared_with_itself") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load (local.get 0))) (i32.eq (local.get 1) (local.get 1)))
  (func (export "never_below_zero") (param i32) (result i32) (i32.lt_u (i32.load (local.get 0)) (i32.const 0)))
  (func (export "dropped_sum") (param i32) (drop (i64.add (i64.load (local.get 0)) (i64.const 1))))
  (func (export "dropped_float") (param i32) (drop (f64.add (f64.load (local.get 0)) (f64.const 1))))
  (func (export "same_targets") (param i32) (block (br_table 0 0 (i32.load (local.get 0)))))
  (func (export "branch_to_what_follows") (param i32) (block (br_if 0 (i32.load (local.get 0)))))
  (func (export "empty_arms") (param i32) (if (i32.eqz (i32.load (local.get 0))) (then) (else)))
  (func (export "same_choice") (param i32) (result i32)
    (select (i32.const 3) (i32.const 3) (i32.load (local.get 0))))
  (func $ignores (param i32))
  (func (export "ignored_argument") (param i32) (call $ignores (i32.load (local.get 0))))
  (func (export "used_on_one_path") (param i32) (result i32) (local i32)
    (local.set 1 (i32.load (local.get 0)))
    (if (result i32) (i32.eq (local.get 0) (i32.const 8)) (then (local.get 1)) (else (i32.const 5))))
)"""


@pytest.mark.parametrize("name", re.findall(r'export "(\w+)"', DEAD))
def test_unused_load_still_traps(name: str, config: Config) -> None:
    program = Program(DEAD, config)
    program(name, 16)
    assert program.trap(name, -8).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


def test_dropped_call_of_a_pure_function_still_traps(config: Config) -> None:
    """LLVM infers `willreturn memory(read)` for $get and deletes calls whose result is unused."""
    program = Program(
        """(module (memory 1)
          (func $get (param i32) (result i32) (i32.load (local.get 0)))
          (func $get_twice (param i32) (result i32) (call $get (local.get 0)))
          (func (export "f") (param i32) (drop (call $get_twice (local.get 0))))
          (func (export "g") (param i32) (local i32) (local.set 1 (call $get (local.get 0)))))""",
        config,
    )
    for name in ("f", "g"):
        program(name, 0)
        assert program.trap(name, 65536).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


def test_load_before_a_call_that_never_returns_traps(config: Config) -> None:
    """LLVM would find that $never does not return, and delete the code behind it with the load's only use."""
    program = Program(
        """(module (memory 1) (func $never unreachable)
          (func (export "f") (param i32) (result i32) (i32.load (local.get 0)) (call $never)))""",
        config,
    )
    assert program.trap("f", 0).trap_code == TrapCode.UNREACHABLE
    assert program.trap("f", -1).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


def test_stores_before_a_trap_happen(config: Config) -> None:
    """`ubsantrap` is noreturn and reads no memory, so LLVM would drop the stores before it."""
    program = Program(
        """(module (memory (export "m") 1) (global (export "g") (mut i32) (i32.const 0))
          (func (export "f") (i32.store (i32.const 8) (i32.const 42)) (global.set 0 (i32.const 7)) (unreachable))
          (func (export "d") (param i32) (result i32)
            (i32.store (i32.const 12) (i32.const 43)) (i32.div_u (i32.const 1) (local.get 0))))""",
        config,
    )
    assert program.trap("f").trap_code == TrapCode.UNREACHABLE
    assert program.trap("d", 0).trap_code == TrapCode.INTEGER_DIVISION_BY_ZERO
    memory = program.exports["m"]
    assert memory.read(program.store, 8, 16) == struct.pack("<II", 42, 43)
    assert program.exports["g"].value(program.store) == 7


def test_unbounded_recursion_traps(config: Config) -> None:
    """LLVM turns unbounded tail recursion into an endless loop without `disable-tail-calls`."""
    program = Program(
        """(module (func $f (export "f") (call $f))
           (func $g (export "g") (param i32) (result i32) (call $g (i32.add (local.get 0) (i32.const 1))))
           (func $even (export "even") (param i32) (result i32) (call $odd (local.get 0)))
           (func $odd (param i32) (result i32) (call $even (local.get 0))))""",
        config,
    )
    for _ in range(3):
        assert program.trap("f").trap_code == TrapCode.STACK_OVERFLOW
        assert program.trap("g", 1).trap_code == TrapCode.STACK_OVERFLOW
        assert program.trap("even", 1).trap_code == TrapCode.STACK_OVERFLOW


def test_large_frames_cannot_step_over_the_guard_page(config: Config) -> None:
    """A frame larger than a page skips the guard page unless it is probed; many locals count in the stack check."""
    count = 3000
    sets = "".join(f"(local.set {i + 1} (i64.load (i32.const {8 * (i % 100)})))" for i in range(count))
    uses = "".join(f"(i64.store (i32.const {8 * (i % 100)}) (local.get {i + 1}))" for i in range(count))
    program = Program(
        f"""(module (memory 1) (func $f (export "f") (param i32) (local {"i64 " * count})
          {sets} (call $f (local.get 0)) {uses}))""",
        config,
    )
    assert program.trap("f", 1).trap_code == TrapCode.STACK_OVERFLOW


# ---- what LLVM makes of loops and addresses ----

FILL = """(module (memory (export "m") 1)
  (func (export "fill") (param i32 i32)
    (loop $l (i32.store8 (local.get 0) (i32.const 65))
      (local.set 0 (i32.add (local.get 0) (i32.const 1)))
      (br_if $l (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))))
  (func (export "copy") (param i32 i32 i32)
    (loop $l (i32.store8 (local.get 0) (i32.load8_u (local.get 1)))
      (local.set 0 (i32.add (local.get 0) (i32.const 1))) (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if $l (local.tee 2 (i32.sub (local.get 2) (i32.const 1))))))
  (func (export "length") (param i32) (result i32) (local i32)
    (loop $l (if (i32.load8_u (i32.add (local.get 0) (local.get 1)))
      (then (local.set 1 (i32.add (local.get 1) (i32.const 1))) (br $l))))
    (local.get 1)))"""


def test_loop_idioms_do_not_become_libc_calls(config: Config) -> None:
    """A fault inside memset or strlen is not in our code: the handler must not claim it, and the process would die."""
    program = Program(FILL, config)
    assert program.trap("fill", 65000, 1000).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    assert program.trap("copy", 65000, 0, 1000).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    program("fill", 0, 65536)
    assert program.trap("length", 10).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    text = assembly(FILL)
    assert not re.search(r"\b(memset|memcpy|memmove|strlen|bcmp)\b", text)


def test_no_address_is_made_by_inttoptr() -> None:
    """LLVM 22 miscompiles inttoptr addresses, and they block vectorisation."""
    assert "inttoptr" not in optimised(FILL)
    assert "inttoptr" not in optimised(FILL, signals_based_traps=False)


def test_addresses_are_zero_extended(config: Config) -> None:
    """Sign extension of the 32-bit address would reach 2 GiB below the memory: a sandbox escape."""
    program = Program(
        """(module (memory 1)
          (func (export "l") (param i32) (result i32) (i32.load (local.get 0)))
          (func (export "s") (param i32) (i32.store offset=4 (local.get 0) (i32.const 1)))
          (func (export "c") (result i32) (i32.load offset=0xffffffff (i32.const -1)))
          (func (export "far") (param i32) (result i32) (i32.load offset=0xfffffff0 (local.get 0))))""",
        config,
    )
    for address in (-1, -4, -65536, -(1 << 31), (1 << 31) - 1, 65533):
        assert program.trap("l", address).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
        assert program.trap("s", address).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    assert program.trap("c").trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS
    assert program.trap("far", 20).trap_code == TrapCode.MEMORY_OUT_OF_BOUNDS


def test_loops_still_vectorise() -> None:
    """No polling in loops, no volatile, no anchor in them: they block vectorisation."""
    dot = """(module (memory 1) (func (export "f") (param i32 i32 i32) (result i32) (local i32)
      (loop $l
        (local.set 3 (i32.add (local.get 3) (i32.mul (i32.load (local.get 0)) (i32.load (local.get 1)))))
        (local.set 0 (i32.add (local.get 0) (i32.const 4))) (local.set 1 (i32.add (local.get 1) (i32.const 4)))
        (br_if $l (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
      (local.get 3)))"""
    assert re.search(r"mul <\d+ x i32>", optimised(dot, target="x86_64-unknown-linux-gnu", cpu="x86-64-v3"))


def test_phi_has_an_entry_for_every_edge(config: Config) -> None:
    """A br_table that names a label twice has two edges to it; LLVM wants both in the phi."""
    program = Program(
        """(module (func (export "f") (param i32) (result i32)
          (block $a (result i32) (block $b (result i32)
            (br_table $a $b $a $b $a (i32.const 7) (local.get 0))) (i32.add (i32.const 1)))))""",
        config,
    )
    assert [program("f", i) for i in range(6)] == [7, 8, 7, 8, 7, 7]


def test_many_results_use_the_results_area(config: Config) -> None:
    """More results than registers is a fatal error for LLVM's musttail; our convention never has more than two."""
    types = [ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()] * 5
    wat_types = "i32 i64 f32 f64 " * 5
    constants = " ".join(f"({t}.const {n})" for n, t in enumerate(wat_types.split()))
    program = Program(
        f"""(module (import "h" "h" (func $h (result {wat_types})))
          (func $own (result {wat_types}) {constants})
          (func (export "own") (result {wat_types}) (call $own))
          (func (export "host") (result {wat_types}) (call $h)))""",
        config,
        (lambda store: Func(store, FuncType([], types), lambda: [float(n) if n % 4 > 1 else n for n in range(20)]),),
    )
    assert program("own") == list(range(20))
    assert program("host") == list(range(20))


# ---- floating point ----

SIGNALLING = 0x7FF0000000000001
QUIET = 0x7FF8000000000001


@pytest.mark.parametrize(
    "operation",
    [
        "(f64.mul (local.get 0) (f64.const 1))",
        "(f64.mul (f64.const -1) (local.get 0))",
        "(f64.div (local.get 0) (f64.const 1))",
        "(f64.add (local.get 0) (f64.const -0.0))",
        "(f64.sub (local.get 0) (f64.const 0))",
        "(f64.sub (f64.const -0.0) (local.get 0))",
        "(f64.min (local.get 0) (f64.const inf))",
        "(f64.max (local.get 0) (local.get 0))",
        "(f64.ceil (local.get 0))",
        "(f64.sqrt (local.get 0))",
        "(f64.nearest (local.get 0))",
    ],
)
def test_arithmetic_quietens_signalling_nans(operation: str, config: Config) -> None:
    program = Program(f'(module (func (export "f") (param f64) (result f64) {operation}))', config)
    (result,) = program.raw("f", SIGNALLING)
    assert result & QUIET == QUIET, f"{result:#x}"


def test_demoting_a_promotion_quietens(config: Config) -> None:
    program = Program(
        '(module (func (export "f") (param f32) (result f32) (f32.demote_f64 (f64.promote_f32 (local.get 0)))))', config
    )
    (result,) = program.raw("f", 0x7F800001)
    assert result & 0x7FC00000 == 0x7FC00000


def test_signalling_constants_keep_their_bits(config: Config) -> None:
    """LLVM writes float constants as doubles, which would quieten them."""
    program = Program(
        """(module (func (export "f") (result i32) (i32.reinterpret_f32 (f32.const nan:0x200001)))
          (func (export "d") (result i64) (i64.reinterpret_f64 (f64.const -nan:0x4000000000001))))""",
        config,
    )
    assert program("f") == 0x7FA00001
    assert program.raw("d") == [0xFFF4000000000001]


# ---- symbols and processes ----


@pytest.mark.skipif(platform.machine() != "x86_64", reason="AArch64 cannot be without the instruction")
def test_undefined_symbol_is_a_compile_error() -> None:
    """LLVM may invent a libcall (`ceil` without SSE4.1): found before loading, it would abort the process there."""
    engine = Engine(Config(tier="optimized", cpu_features="-sse4.1,-sse4.2,-avx,-avx2,-avx512f"))
    with pytest.raises(CompileError, match="ceil"):
        Module(engine, '(module (func (export "f") (param f64) (result f64) (f64.ceil (local.get 0))))')


def test_a_dying_compiler_process_is_an_error() -> None:
    """LLVM aborts on some fatal errors; that must not take the user's process with it."""
    pool = workers.pool()
    fields = pipeline._request_fields(Config(), "object")
    with pytest.raises(CompileError, match="LLVM refused"):
        pool.request(fields, b"define void @f( {")
    # Inline asm for a machine whose assembler is not there is one of LLVM's fatal errors.
    fatal = 'define void @f() {\n call void asm sideeffect "nop", ""()\n ret void\n}\n'
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    foreign = pipeline._request_fields(Config(target=f"{other}-unknown-linux-gnu"), "object")
    with pytest.raises(CompileError, match="process died"):
        pool.request(foreign, fatal.encode())
    assert Program('(module (func (export "f") (result i32) (i32.const 3)))')("f") == 3


def test_call_indirect_masks_the_index() -> None:
    """Spectre v1: a mispredicted bounds check must not read outside of the table."""
    growing = optimised(
        """(module (table 1 funcref) (type $t (func))
          (func (export "f") (param i32) (call_indirect (type $t) (local.get 0))))"""
    )
    assert re.search(r"select i1 %\S+, i32 %\S+, i32 0", growing)
    fixed = optimised(
        """(module (table 3 3 funcref) (type $t (func))
          (func (export "f") (param i32) (call_indirect (type $t) (local.get 0))))"""
    )
    assert re.search(r"and i32 %\S+, 3\b", fixed)


# ---- the traps that users see, many times, in many threads ----

TRAPS = """(module (memory 1) (table 2 funcref) (type $void (func)) (type $other (func (param i32)))
  (elem (i32.const 0) $other)
  (func $other (type $other))
  (func (export "out_of_bounds") (drop (i32.load (i32.const 0x10000))))
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "overflow") (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1))))
  (func (export "unreachable") unreachable)
  (func $recurse (export "recurse") (call $recurse))
  (func (export "mismatch") (call_indirect (type $void) (i32.const 0)))
  (func (export "null") (call_indirect (type $void) (i32.const 1)))
  (func (export "outside") (call_indirect (type $void) (i32.const 2)))
  (func (export "convert") (drop (i32.trunc_f64_s (f64.const nan))))
  (func (export "bulk") (memory.fill (i32.const 65535) (i32.const 0) (i32.const 2)))
  (func (export "fine")))"""
EXPECTED = {
    "out_of_bounds": TrapCode.MEMORY_OUT_OF_BOUNDS,
    "divide": TrapCode.INTEGER_DIVISION_BY_ZERO,
    "overflow": TrapCode.INTEGER_OVERFLOW,
    "unreachable": TrapCode.UNREACHABLE,
    "recurse": TrapCode.STACK_OVERFLOW,
    "mismatch": TrapCode.BAD_SIGNATURE,
    "null": TrapCode.INDIRECT_CALL_TO_NULL,
    "outside": TrapCode.TABLE_OUT_OF_BOUNDS,
    "convert": TrapCode.BAD_CONVERSION_TO_INTEGER,
    "bulk": TrapCode.MEMORY_OUT_OF_BOUNDS,
}


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_trap_many_times(config: Config, times: int) -> None:
    program = Program(TRAPS, config)
    for name, code in EXPECTED.items():
        for _ in range(times):
            assert program.trap(name).trap_code == code
        program("fine")


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_trap_from_four_threads(times: int) -> None:
    engine = Engine()
    module = Module(engine, TRAPS)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            store = Store(engine)
            exports = Instance(store, module, []).exports(store)
            for _ in range(times):
                for name, code in EXPECTED.items():
                    with pytest.raises(Trap) as caught:
                        exports[name](store)
                    assert caught.value.trap_code == code
                exports["fine"](store)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _python(program: str) -> subprocess.CompletedProcess[str]:
    """Runs `program` in a process of its own; it finds TRAPS in the variable `WAT`."""
    source = f"WAT = {TRAPS!r}\n{textwrap.dedent(program)}"
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False)


def test_faulthandler_reports_real_crashes_after_traps() -> None:
    """Our handler claims only its own faults: a null dereference elsewhere still reaches faulthandler."""
    done = _python(
        """
        import ctypes, faulthandler
        import wasmjit as w
        engine = w.Engine()
        store = w.Store(engine)
        exports = w.Instance(store, w.Module(engine, WAT), []).exports(store)
        faulthandler.enable()
        for _ in range(3):
            try:
                exports["out_of_bounds"](store)
            except w.Trap as trap:
                print(trap.trap_code.name, flush=True)
        ctypes.string_at(8)
        """
    )
    assert done.stdout.split() == ["MEMORY_OUT_OF_BOUNDS"] * 3
    assert "Segmentation fault" in done.stderr and done.returncode == -11


@pytest.mark.parametrize("order", ["wasmjit first", "wasmtime first"])
def test_both_engines_trap_in_one_process(order: str) -> None:
    pytest.importorskip("wasmtime")
    done = _python(
        f"""
        import faulthandler
        order = {["wasmjit", "wasmtime"] if order == "wasmjit first" else ["wasmtime", "wasmjit"]}
        engines = [__import__(name) for name in order]
        def run(w):
            engine = w.Engine()
            store = w.Store(engine)
            exports = w.Instance(store, w.Module(engine, WAT), []).exports(store)
            for name in ("out_of_bounds", "unreachable", "recurse"):
                try:
                    exports[name](store)
                except w.Trap as trap:
                    print(trap.trap_code.name)
        for _ in range(2):
            for engine in engines:
                run(engine)
        faulthandler.enable()
        run(__import__("wasmjit"))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["MEMORY_OUT_OF_BOUNDS", "UNREACHABLE", "STACK_OVERFLOW"] * 5
