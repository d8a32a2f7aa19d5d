"""What compiling may take: processor time in proportion to the text, and the limits of a Config."""

from __future__ import annotations

import functools
import io
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fuzz import shapes
from tests.timing import again_and_again, becomes_true, is_quick
from wasmjit import (
    CompileError,
    Config,
    Engine,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    WasmError,
    abi,
    run,
    thresholds,
)
from wasmjit.compile import limits, pipeline, workers
from wasmjit.compile.unit import Unit, plan_units
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.reading import read_module
from wasmjit.wasm import deadline
from wasmjit.wasm.decode import decode


def function(number: int, lines: list[str], params: str = "ptr %vmctx") -> str:
    return "\n".join((f"define weak dso_local void @f{number}({params}) #0 !dbg !2 {{", "entry:", *lines, "}\n"))


STORE, LOCAL, ADD = "  store i32 1, ptr %x2, align 1", "  store i32 1, ptr %l2", "  %v1 = add i32 1, 2"
JOIN = ["  br i1 %c1, label %b{0}, label %n{0}", "n{0}:", "  br label %b{0}", "b{0}:"]


def blocks(pattern: list[str], count: int, padding: int) -> list[str]:
    """A pattern for each of `count` blocks, and so many lines behind."""
    return [line.format(n) for n in range(count) for line in (*pattern, *[ADD] * padding)]


COMPILED = Config(tier="optimized", signals_based_traps=False)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No function is left to the interpreter."""
    monkeypatch.setattr(thresholds, "INTERPRETS", False)


def test_what_llvm_takes_long_for_is_found_in_the_text() -> None:
    usual = [
        [STORE] * 900 + ["next:"] + [STORE] * 900,
        [LOCAL, ADD] * 3000,
        blocks(JOIN, 1000, 30),
        blocks([LOCAL, "k{0}:"], 1000, 30),
        blocks(["b{0}:", "  br i1 %c1, label %b{0}, label %e{0}", "e{0}:"], 100, 100),
        blocks(["  br i1 %c1, label %t{0}, label %k{0}, !prof !3", "k{0}:"], 2000, 60),
        blocks(["  store i32 1, ptr %l{0}", "k{0}:"], 1500, 1),
        blocks(["  br i1 %c1, label %n{0}, label %return", "n{0}:"], 3000, 6),
    ]
    tangled = [
        [STORE] * 1100,
        [ADD] * 13_000,
        blocks(JOIN, 1000, 3),
        blocks([LOCAL, "k{0}:"], 1000, 3),
        blocks(["b{0}:", "  br i1 %c1, label %b{0}, label %e{0}", "e{0}:"], 1000, 100),
        blocks(["  br i1 %c1, label %t{0}, label %k{0}, !prof !3", "k{0}:"], 2000, 10),
        blocks(["  br i1 %c1, label %n{0}, label %return", "n{0}:"], 3000, 1),
    ]
    assert [limits.is_tangled(function(1, lines)) for lines in usual] == [False] * len(usual)
    assert [limits.is_tangled(function(1, lines)) for lines in tangled] == [True] * len(tangled)
    assert limits.is_tangled(function(1, [ADD]), operands=301)
    assert not limits.is_tangled(function(1, [ADD]), operands=300)


# Shapes of which LLVM takes the square of the length, or worse.
TANGLED = [
    "ifs", "returns", "if_elses", "chain", "loops", "loops_memory", "tables_in_sequence", "nested_blocks", "nested_ifs",
    "nested_if_elses", "nested_loops_locals", "switch", "switch_break", "interpreter", "operands_and_loops",
    "operands_and_branches", "sets_then_ifs", "sets_in_ifs", "loops_and_locals", "init", "stores", "stores_unknown",
    "copies", "loads_and_stores", "loads_dropped", "rotations", "memory_sizes", "calls", "calls_indirect", "wide_calls",
]  # fmt: skip


def unit_of(wasm: bytes) -> Unit:
    """The first unit of a module, with its text made."""
    module = decode(wasm, Config().features)
    policy = CodePolicy.from_config(Config(), "x86_64")
    unit = Unit(module, next(plan_units(module)), policy, abi.module_layout(module))
    unit.text()
    return unit


@functools.cache
def large_shape(name: str) -> tuple[bytes, frozenset[int]]:
    """A large module, and which of its functions are tangled."""
    make = shapes.SHAPES[name]
    wasm = make(shapes.count_for(make, 80_000 if name == "rotations" else 40_000))
    return wasm, frozenset(unit_of(wasm).tangled)


@pytest.mark.part(2)
@pytest.mark.parametrize("name", TANGLED)
def test_tangled_shapes_are_left_as_they_are(name: str) -> None:
    assert 0 in large_shape(name)[1]
    assert not unit_of(shapes.SHAPES[name](20)).tangled


def outcome(f: Any, store: Store, argument: int) -> Any:
    try:
        return f(store, argument)
    except Trap as trap:
        return trap.trap_code


# Those that run for long, and what is tested below.
ENDLESS = (
    "loops",
    "loops_memory",
    "nested_loops_locals",
    "interpreter",
    "loops_and_locals",
    "operands_and_loops",
    "wide_calls",
)


@pytest.mark.part(8)
@pytest.mark.parametrize("name", [name for name in TANGLED if name not in (*ENDLESS, "memory_sizes")])
def test_what_is_left_as_it_is_does_the_same(name: str) -> None:
    wasm, tangled = large_shape(name)
    assert tangled
    functions = []
    for tier in ("auto", "optimized"):
        store = Store(Engine(Config(tier=tier)), timeout=30)
        functions.append((Instance(store, Module(store.engine, wasm), []).exports(store)["f"], store))
    for argument in (5, 1, 0, 1200, -1, 1 << 20):
        first, second = (outcome(f, store, argument) for f, store in functions)
        assert first == second, argument


def test_functions_of_many_parameters_and_results_get_them_all() -> None:
    types = [shapes.I32, shapes.I64, shapes.F32, shapes.F64] * 90
    gets = b"".join(map(shapes.get, range(len(types))))
    bodies = [shapes.body(gets), shapes.body(gets + b"\x10\x00")]
    wasm = shapes.program(bodies, types=[shapes.functype(types, types)], export=1)
    assert unit_of(wasm).tangled == {0, 1}
    store = Store(Engine(Config(tier="optimized")))
    f: Any = Instance(store, Module(store.engine, wasm), []).exports(store)["f"]
    given = [float(n) if n % 4 >= 2 else n for n in range(len(types))]
    assert f(store, *given) == given


def test_short_blocks_are_the_same_program() -> None:
    text = function(
        1,
        ["  %l1 = alloca i32", LOCAL] * 1000
        + ["  br label %b1", "b1:", *[ADD] * 900, "  br i1 %c, label %b2, label %b3", "b3:", "  br label %b2", "b2:"]
        + ["  %b2.0 = phi i32 [ %v1, %b1 ], [ 0, %b3 ]", "  ret void"],
    )
    lines = limits.short_blocks(text + "attributes #0 = {}\n" + "!0 = !{}\n" * 1000).split("\n")
    assert [line for line in lines if line[-1:] == ":"] == ["entry:", "b1:", "short1:", "short2:", "b3:", "b2:"]
    assert "  %b2.0 = phi i32 [ %v1, %short2 ], [ 0, %b3 ]" in lines
    assert 0 < lines.index("short2:") - lines.index("short1:") <= limits._BLOCK_LINES + 4
    assert limits.short_blocks(text[: text.index("  br label %b1")]) == text[: text.index("  br label %b1")]


def test_tangled_functions_are_units_of_their_own() -> None:
    def split(functions: range, tangled: set[int], left: set[int]) -> list[tuple[int, int]]:
        unit: Any = SimpleNamespace(tangled=tangled, left=left)
        return [(part.start, part.stop) for part in pipeline.split_unit(functions, unit)]

    assert split(range(3, 9), {4, 5, 8}, set()) == [(3, 4), (4, 6), (6, 8), (8, 9)]
    assert split(range(3, 9), {4, 5, 8}, {6}) == [(3, 4), (4, 6), (6, 7), (7, 8), (8, 9)]
    assert split(range(3, 5), set(), set()) == split(range(3, 5), {3, 4}, set()) == split(range(3, 5), set(), {3, 4})
    assert split(range(3, 5), set(), set()) == [(3, 5)]
    body, get, put = shapes.body, shapes.get, shapes.put
    ifs = b"".join(get(0) + b"\x04\x40" + shapes.i32(i) + put(1) + b"\x0b" for i in range(800)) + get(1)
    wasm = shapes.program([body(get(0) + b"\x10\x01\x10\x02"), body(ifs, [(1, 0x7F)]), body(get(0) + b"\x10\x01")])
    made: list[int] = []
    store = Store(Engine(Config(tier="optimized")))
    module = Module(store.engine, wasm, progress=lambda progress: made.append(progress.units_done))
    assert made == [1, 2, 3]
    f: Any = Instance(store, module, []).exports(store)["f"]
    assert (f(store, 7), f(store, 0)) == (799, 0)


def test_a_unit_that_uses_up_its_processor_time_is_compiled_more_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def budget(opt_level: str, text_bytes: int) -> float:
        asked.append(opt_level)
        return 0.0 if opt_level == "speed" else 60.0

    monkeypatch.setattr(limits, "budget_seconds", budget)
    store = Store(Engine(Config(tier="optimized")))
    f: Any = Instance(store, Module(store.engine, shapes.SHAPES["functions"](1000)), []).exports(store)["f"]
    assert f(store, 0) == 0
    assert asked[:2] == ["speed", "none"] or "none" in asked


@pytest.mark.usefixtures("compiled")
def test_a_unit_that_takes_too_long_at_all_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "budget_seconds", lambda opt_level, text_bytes: 0.0)
    with pytest.raises(CompileError, match=r"functions \d to \d: compiling took more than 0 s of processor time"):
        Module(Engine(COMPILED), shapes._wide(1000, [shapes.I32], 40))


def test_budgets_grow_with_the_text() -> None:
    assert limits.budget_seconds("speed", 10_000_000) > 5 * limits.budget_seconds("speed", 1_000_000)
    assert limits.budget_seconds("none", 1_000) >= 10  # no machine is so slow
    assert limits.quicker({"output": "object", "opt_level": "speed"}) == {"output": "object", "opt_level": "none"}
    assert limits.quicker({"output": "object", "opt_level": "none"}) is None
    assert limits.quicker({"output": "target", "opt_level": "speed"}) is None


@pytest.mark.parametrize("parallel", [False, True])
def test_compiling_ends_when_its_time_is_over(parallel: bool) -> None:
    wasm = shapes.SHAPES["functions"](20_000)
    config = Config(tier="optimized", compile_timeout=0.3, parallel_compilation=parallel)

    def compile_for_too_long() -> None:
        with pytest.raises(CompileError, match=r"compiling took longer than Config.compile_timeout \(0\.\d+ s\)"):
            Module(Engine(config), wasm)

    assert is_quick(compile_for_too_long, 5)


@pytest.mark.parametrize("tier", ["auto", "optimized", "baseline"])
def test_modules_and_functions_can_be_too_large(tier: str) -> None:
    wasm = shapes.SHAPES["additions"](400)
    Module(Engine(Config(tier=tier, max_module_bytes=len(wasm), max_function_bytes=len(wasm))), wasm)
    with pytest.raises(CompileError, match=f"the module has {len(wasm)} bytes: Config.max_module_bytes is 100"):
        Module(Engine(Config(tier=tier, max_module_bytes=100)), wasm)
    with pytest.raises(CompileError, match=r"bytes: Config.max_function_bytes is 100 \(at function 0, offset 0x"):
        Module(Engine(Config(tier=tier, max_function_bytes=100)), wasm)


class Endless(io.RawIOBase):
    """A file without an end, that counts what is read."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self.first, self.then, self.count = first, then, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        found, self.first = self.first[:size] or self.then * size, self.first[size:]
        self.count += len(found)
        return found


def test_no_more_of_a_file_is_read_than_a_module_may_have() -> None:
    for first in (b"\0asm\1\0\0\0", b"\0asm"):
        file = Endless(first, b"\0")
        with pytest.raises(CompileError, match="more than 5000000 bytes: Config"):
            read_module(file, 5_000_000)  # type: ignore[arg-type]
        assert file.count == 5_000_001
    zeros = Endless(b"", b"\0")
    assert read_module(zeros, 5_000_000) == bytes(4) and zeros.count == 4  # type: ignore[arg-type]
    for contents in (b"", b"\0", b"(module)", b"\0asm\1\0\0\0"):
        assert read_module(io.BytesIO(contents), 8) == contents
        assert read_module(io.BytesIO(contents[3:]), 8, contents[:3]) == contents


def test_a_file_without_end_is_no_module(tmp_path: Path) -> None:
    with pytest.raises(WasmError, match="/dev/zero: "):
        Module.from_file(Engine(), "/dev/zero")
    path = tmp_path / "large.wasm"
    path.write_bytes(b"\0asm\1\0\0\0" + bytes(100))
    with pytest.raises(CompileError, match=r"large.wasm: the module has more than 100 bytes"):
        Module.from_file(Engine(Config(max_module_bytes=100)), path)


def test_the_longest_time_of_a_run_is_no_error() -> None:
    assert run(b'(module (func (export "_start")))', timeout=1e30, engine=Engine()).exit_code == 0


def test_options_are_checked() -> None:
    for value in (0, -1, 1 << 40):
        with pytest.raises(WasmError, match="compile_timeout"):
            Config(compile_timeout=value)
    with pytest.raises(TypeError):
        Config(compile_timeout="1")


@pytest.mark.usefixtures("compiled")
def test_a_compiler_without_memory_is_an_error() -> None:
    workers.pool().close()
    config = COMPILED.copy()
    config.max_compiler_memory = 300 << 20
    with pytest.raises(CompileError, match="functions 0 to 0"):
        Module(Engine(config), shapes.SHAPES["loads"](2_000))
    workers.pool().close()


@pytest.mark.usefixtures("compiled")
def test_less_memory_than_a_compiler_begins_with_is_an_error() -> None:
    """A small module was compiled in the memory that the process had already, far beyond the limit."""
    config = COMPILED.copy()
    config.max_compiler_memory = 1 << 20
    for _ in range(2):  # in a fresh process, and in one that has compiled
        with pytest.raises(CompileError, match="the compiler process has no memory"):
            Module(Engine(config), shapes.SHAPES["additions"](10))
        Module(Engine(COMPILED), shapes.SHAPES["additions"](11))


@pytest.mark.usefixtures("compiled")
def test_what_a_compiler_took_for_others_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.WorkerPool, "_num_workers", lambda pool: 1)
    Module(Engine(COMPILED), shapes.SHAPES["loads"](20_000))
    config = COMPILED.copy()
    config.max_compiler_memory = 900 << 20
    Module(Engine(config), shapes.SHAPES["additions"](12))


def test_what_bounds_a_compilation_does_not_bound_questions_after_it() -> None:
    """Several on what a processor has (some 0.1 s each) took what was left of the compilation's two seconds."""
    worker = workers.Worker()
    try:
        bounds = []
        for output in ("object", "target"):
            worker.send(pipeline._request_fields(COMPILED, output), b"")
            assert worker.receive() is not None
            bounds.append(resource.prlimit(worker.process.pid, resource.RLIMIT_CPU)[0])
        assert bounds[1] - bounds[0] >= 10
    finally:
        worker.close()


@pytest.mark.parametrize("tier", ["auto", "baseline", "optimized"])
def test_a_signal_handler_makes_modules_while_code_is_made_that_nobody_wants(tier: Any) -> None:
    """They ended with what was being made: `NotWantedError`."""
    with deadline.until(lambda: True):
        Module(Engine(Config(tier=tier)), shapes.SHAPES["additions"](2))
        with pytest.raises(deadline.NotWantedError):
            deadline.check()


@pytest.mark.part(2)
@pytest.mark.parametrize("tier", ["auto", "baseline", "optimized"])
@pytest.mark.parametrize("name", ["additions", "switch", "data_segments", "element_entries"])
def test_validation_and_generation_look_at_the_clock(monkeypatch: pytest.MonkeyPatch, tier: str, name: str) -> None:
    make = shapes.SHAPES[name]
    wasm = make(shapes.count_for(make, 300_000))
    looks, last = 0, 20
    look = deadline.check

    def check(function: int | None = None) -> None:
        nonlocal looks, last
        looks += 1
        if looks == last or (tier == "auto" and function is not None):  # each of some milliseconds
            last = looks
            monkeypatch.setattr(deadline.time, "monotonic", lambda: began + 100)
        look(function)

    began = time.monotonic()
    monkeypatch.setattr(deadline, "check", check)
    where = "at function 0" if name in ("additions", "switch") else ""
    with pytest.raises(CompileError, match=rf"compiling took longer than Config.compile_timeout \(50 s\).*{where}"):
        Module(Engine(Config(tier=tier, compile_timeout=50)), wasm)
    assert looks == last


def test_a_deadline_holds_in_its_block_only() -> None:
    with deadline.within(1e-9):
        with deadline.within(None):
            deadline.check()
        with pytest.raises(CompileError, match="compile_timeout"):
            deadline.check()
    deadline.check()


def test_the_memory_of_a_request_is_that_of_no_other() -> None:
    """A worker that compiled for an Engine with `max_compiler_memory` went on with that limit for others."""
    program = (
        "import resource; from wasmjit.compile import limits; before = resource.getrlimit(resource.RLIMIT_AS);"
        "limits.begin({'cpu_seconds': 10, 'memory_bytes': 1 << 40});"
        "assert resource.getrlimit(resource.RLIMIT_AS)[0] == 1 << 40;"
        "limits.begin({'cpu_seconds': 10, 'memory_bytes': None});"
        "assert resource.getrlimit(resource.RLIMIT_AS) == before"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def call_of_heavy_text(options: dict[str, Any]) -> tuple[Store, Module, Any]:
    """A call that is endless, of a function whose text takes a second."""
    heavy = "(if (i32.eqz (local.get $n)) (then (return (i32.const 7))))" + "(local.set $n (i32.const 5))" * 40_000
    engine = Engine(Config(tier="auto", **options))
    module = Module(
        engine,
        f"""(module (func $heavy (param $n i32) (result i32) {heavy} (local.get $n))
          (func (export "f") (loop $l (drop (call $heavy (i32.const 0))) (br $l))))""",
    )
    store = Store(engine)
    if options:
        store.set_fuel(1 << 60)
    return store, module, Instance(store, module, []).exports(store)["f"]


def looks_at_heavy(monkeypatch: pytest.MonkeyPatch, at_third: Callable[[], object]) -> list[int]:
    """The looks at the clock in which the text of the function is made: what `at_third` does comes with the third."""
    looks: list[int] = []
    look = deadline.check

    def check(function: int | None = None) -> None:
        if function == 0:
            looks.append(threading.get_ident())
            if len(looks) == 3:
                at_third()
        look(function)

    monkeypatch.setattr(deadline, "check", check)
    return looks


@pytest.mark.parametrize("options", [{}, {"consume_fuel": True}], ids=["auto", "fuel"])
def test_text_of_a_function_is_given_up_with_the_call_that_wants_it(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """timeout-ignored.py generate: a call generated all of the text of what it found hot behind the end of its time."""
    monkeypatch.setattr(thresholds, "INTERPRETER_IS_PATIENT", False)  # no other thread does
    store, _, function = call_of_heavy_text(options)
    looks = looks_at_heavy(monkeypatch, store.interrupt)
    with pytest.raises(Trap) as caught:
        function(store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert len(looks) == 3


def test_a_call_ends_while_text_is_made_for_it_and_that_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread, which may take only so long, and does not try again."""
    monkeypatch.setattr(thresholds, "MOST_TEXT_SECONDS", 0.0)
    store, module, function = call_of_heavy_text({})
    looks = looks_at_heavy(monkeypatch, lambda: None)
    # Not before it has been looked at: that may take its time.
    with again_and_again(lambda: looks and store.interrupt(), 2), pytest.raises(Trap) as caught:
        function(store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert len(looks) == 1 and threading.get_ident() not in looks
    lazy = module._load()._lazy
    assert lazy is not None and 0 in lazy._left


def test_an_interrupt_ends_compiling_and_its_workers() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    def compile_and_interrupt() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.7)
        with pytest.raises(Interrupted):
            Module(Engine(Config(tier="optimized")), shapes.SHAPES["functions"](20_000))

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        assert is_quick(compile_and_interrupt, 3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert becomes_true(lambda: not compiling())


def compiling() -> list[workers.Worker]:
    """Workers that run and are not the pools', which keep a few."""
    kept = [worker for pool in (workers.pool(), workers.background_pool()) for worker in (*pool.idle, *pool._busy)]
    return [worker for worker in workers._workers if worker not in kept and worker.process.poll() is None]


def test_the_timeout_of_a_run_holds_while_its_module_is_compiled() -> None:
    def run_for_too_long() -> None:
        with pytest.raises(Trap) as caught:
            run(shapes.SHAPES["functions"](20_000), timeout=0.3, engine=Engine(Config(tier="optimized")))
        assert caught.value.trap_code is TrapCode.INTERRUPT

    assert is_quick(run_for_too_long, 4)


def test_too_many_operands_of_calls_that_the_interpreter_cannot_run_are_an_error() -> None:
    """6 kB took 19 s and 750 MB: results that stay on the stack, more than the interpreter takes."""
    results = shapes.functype([], [shapes.I32] * 1000)
    bodies = [shapes.body(b"\x10\x01" * 1500 + b"\x00"), shapes.body(shapes.i32(5) * 1000)]
    wasm = shapes.program(bodies, types=[shapes.UNARY, results], function_types=[0, 1])
    with pytest.raises(CompileError, match="function 0 is too large: its calls carry too many operands"):
        Module(Engine(Config(tier="optimized")), wasm)
