"""Config.tier: baseline code at once, optimised code from the background, and everything that runs meanwhile."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from wasmjit import (
    ArtifactError,
    CompileError,
    Config,
    Engine,
    Func,
    FuncType,
    Instance,
    Module,
    Store,
    Trap,
    TrapCode,
    ValidationError,
    ValType,
    WasmError,
    inspection,
    thresholds,
    wat2wasm,
)
from wasmjit.compile import wire
from wasmjit.runtime import code as runtime_code
from wasmjit.runtime import entries
from wasmjit.runtime.module import LoadedModule
from wasmjit.tiers import messages
from wasmjit.tiers import optimiser as client

# As long as the stress test may take; the full run sets minutes.
STRESS_SECONDS = float(os.environ.get("WASMJIT_STRESS_SECONDS", "0.5"))
SEED = int(os.environ.get("WASMJIT_STRESS_SEED", "1"))
MANY = " ".join(f"(param $p{i} i64)" for i in range(12))
TWELVE = " ".join(f"(local.get {i})" for i in range(12))
TAILS = f"""(func $tail (export "tail") {MANY} (result i64)
    (if (i64.eqz (local.get 0)) (then (return (local.get $p11))))
    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
    (return_call $tail {TWELVE}))
  (func $tail_indirect (export "tail_indirect") {MANY} (result i64)
    (if (i64.eqz (local.get 0)) (then (return (local.get $p11))))
    (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
    (return_call_indirect (type $many) {TWELVE} (i32.const 2)))"""
WAT = f"""(module $m
  (type $unary (func (param i32) (result i32)))
  (type $many (func {MANY} (result i64)))
  (import "" "host" (func $host (param i32) (result i32)))
  (memory (export "memory") 1)
  (table $t (export "t") 4 funcref) (elem (i32.const 0) $double $deep $tail_indirect)
  (global $started (export "started") (mut i32) (i32.const 0))
  (start $start)
  (func $start (global.set $started (call $double (i32.const 21))))
  (func $double (export "double") (param i32) (result i32) (i32.add (local.get 0) (local.get 0)))
  (func $fib (export "fib") (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                     (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
  (func $deep (export "deep") (param i32) (result i32)
    (if (i32.eqz (local.get 0)) (then unreachable))
    (i32.add (i32.const 1) (call_indirect (type $unary) (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))
  (func $out_of_bounds (export "out_of_bounds") (param i32) (result i32) (call $load (local.get 0)))
  (func $load (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "spin") (local i32)
    (loop (local.set 0 (call $double (local.get 0)))
          (drop (call_indirect (type $unary) (local.get 0) (i32.const 0))) (br 0)))
  (func (export "sum") (param i32) (result i32) (local $sum i32)
    (loop (local.set $sum (i32.add (local.get $sum) (call $double (local.get 0))))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get $sum))
  (func (export "ask") (param i32) (result i32) (i32.add (call $host (local.get 0)) (call $double (i32.const 1))))
{TAILS})
"""
FIB_20 = 6765
DOUBLE, SPIN = 2, 7  # function indices


@pytest.fixture(params=["lazy", "interpreted"])
def wat(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module whose baseline code is made when it is called, or when it is hot."""
    monkeypatch.setattr(thresholds, "INTERPRETS", request.param == "interpreted")
    return WAT


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Config(tier="auto"))


def make(module: Module, host: Callable[[int], int] = lambda n: n + 1, **options: Any) -> tuple[Store, Any]:
    store = Store(module.engine, **options)
    function = Func(store, FuncType([ValType.i32()], [ValType.i32()]), host)
    return store, Instance(store, module, [function]).exports(store)


def check(store: Store, exports: Any) -> None:
    """Calls of every kind give what they should."""
    assert exports["started"].value(store) == 42
    assert exports["fib"](store, 20) == FIB_20
    assert exports["sum"](store, 1000) == 1001000
    assert exports["ask"](store, 5) == 8
    for name in {"tail", "tail_indirect"} & set(
        exports
    ):  # more arguments than registers; frames left behind would fill the stack
        assert exports[name](store, 50_000, *range(1, 12)) == 11
    with pytest.raises(Trap) as caught:
        exports["deep"](store, 3)
    assert [frame.func_name for frame in caught.value.frames] == ["deep"] * 4
    assert caught.value.trap_code is TrapCode.UNREACHABLE
    with pytest.raises(Trap) as caught:
        exports["out_of_bounds"](store, 1 << 20)
    assert [frame.func_name for frame in caught.value.frames] == ["load", "out_of_bounds"]


def test_tiers_are_checked() -> None:
    with pytest.raises(WasmError, match="unknown tier"):
        Config(tier="fast")


@pytest.mark.parametrize("tier", ["baseline", "optimized", "auto"])
@pytest.mark.parametrize("explicit", [False, True])
def test_every_tier_runs_everything(wat: str, tier: str, explicit: bool) -> None:
    module = Module(Engine(Config(tier=tier, signals_based_traps=not explicit)), wat)
    store, exports = make(module)
    check(store, exports)
    assert module.wait_optimized()
    check(store, exports)
    check(*make(module))


def test_baseline_is_opt_level_none(wat: str) -> None:
    baseline = Module(Engine(Config(tier="baseline")), wat)
    none = Module(Engine(Config(opt_level="none")), wat)
    assert baseline.serialize() == none.serialize()
    assert Module.deserialize(none.engine, baseline.serialize()).name == "m"


@pytest.mark.parametrize("level", ["none", "speed", "speed_and_size"])
def test_auto_ends_with_what_optimized_makes(wat: str, level: str) -> None:
    auto = Module(Engine(Config(tier="auto", opt_level=level)), wat)
    optimised = Module(Engine(Config(opt_level=level)), wat)
    assert auto._artifact.to_bytes() == optimised.serialize()
    assert auto.functions() == optimised.functions()
    assert auto.text == optimised.text
    assert list(auto.address_map() or ()) == list(optimised.address_map() or ())
    assert Module.deserialize(auto.engine, optimised.serialize()).wait_optimized()


def test_precompiling_makes_optimised_code(wat: str, engine: Engine) -> None:
    assert engine.precompile_module(wat) == Engine().precompile_module(wat)
    other = Config(tier="auto", target="aarch64-unknown-linux-gnu")
    assert Module(Engine(other), wat).wait_optimized()


def test_the_code_that_runs_is_replaced(wat: str, engine: Engine) -> None:
    module = Module(engine, wat)
    store, exports = make(module)
    loaded = module._load()
    baseline = loaded.code
    check(store, exports)
    assert module.wait_optimized()
    assert loaded.code is not baseline
    assert module.image_range() == range(loaded.code.text_start, loaded.code.text_end)
    position = 1  # of $double
    assert loaded._entries is not None
    assert loaded._entries._table[position] == loaded.code.function_addresses[position]
    check(store, exports)


def test_activations_of_baseline_code_go_on(wat: str, engine: Engine) -> None:
    module = Module(engine, wat)

    def host(number: int) -> int:
        assert module.wait_optimized()
        with pytest.raises(Trap):
            exports["deep"](store, 1)
        return number

    store, exports = make(module, host)
    assert exports["ask"](store, 5) == 7  # its frame was baseline code's all along


def test_a_backtrace_across_tiers(wat: str, engine: Engine) -> None:
    module = Module(engine, wat)

    def host(number: int) -> int:
        module.wait_optimized()
        return int(exports["deep"](store, number))

    store, exports = make(module, host)
    with pytest.raises(Trap) as caught:
        exports["ask"](store, 2)
    names = [frame.func_name for frame in caught.value.frames]
    assert names[:3] == ["deep", "deep", "deep"]
    with pytest.raises(Trap) as again:
        exports["ask"](store, 2)
    assert [str(f) for f in again.value.frames] == [str(f) for f in caught.value.frames]


def test_instances_of_both_times_share_tables_and_functions(wat: str, engine: Engine) -> None:
    early_module = Module(engine, wat)
    store, early = make(early_module)
    early_module.wait_optimized()
    function = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n)
    late = Instance(store, early_module, [early["double"]]).exports(store)
    assert late["ask"](store, 5) == 12
    late["t"].set(store, 0, early["t"].get(store, 0))
    assert late["t"].get(store, 0)(store, 4) == 8
    other = Instance(store, Module(engine, wat), [function]).exports(store)
    other["t"].set(store, 0, early["fib"])
    assert other["t"].get(store, 0)(store, 10) == 55


def test_invalid_modules_are_refused_at_once(engine: Engine) -> None:
    with pytest.raises(ValidationError):
        Module(engine, "(module (func (result i32)))")


def test_modules_without_functions(engine: Engine) -> None:
    module = Module(engine, '(module (memory (export "m") 1))')
    assert module.wait_optimized(0)
    assert module._artifact.to_bytes() == Module(Engine(), '(module (memory (export "m") 1))')._artifact.to_bytes()


def test_copies_pickles_and_closing(wat: str, engine: Engine) -> None:
    module = Module(engine, wat)
    other = copy.copy(module)
    store, exports = make(module)
    module.close()
    with pytest.raises(ValueError):
        module.wait_optimized()
    assert other.wait_optimized()
    check(store, exports)
    again = pickle.loads(pickle.dumps(other))
    assert again.serialize() == other.serialize()
    check(*make(again))
    store.close()
    check(*make(other))


def test_waiting_can_time_out() -> None:
    engine = Engine(Config(tier="auto"))
    module = Module(engine, large(15))
    assert module.wait_optimized(0) is False
    assert module.wait_optimized(timeout=0.001) is False
    with pytest.raises(TypeError):
        module.wait_optimized("soon")  # type: ignore[arg-type]
    assert module.wait_optimized(60)


def large(count: int) -> bytes:
    """A module whose optimised code takes some hundred milliseconds."""
    product = "(i32.mul (local.get 1) (i32.load (local.get 0)))"
    body = f"(local.set 1 (i32.add {product} (i32.rotl (local.get 0) (local.get 1))))"
    functions = "".join(
        f'(func (export "f{i}") (param i32) (result i32) (local i32) (loop {body * 40} (local.tee 0 (i32.shr_u '
        f"(local.get 0) (i32.const 1))) (br_if 0)) (i32.add (local.get 1) (i32.const {i})))"
        for i in range(count)
    )
    return bytes(wat2wasm(f"(module (memory 1) {functions})"))


def test_what_nobody_has_is_not_made(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make_one = client._Optimiser._make

    def note(optimiser: Any, job: Any) -> None:
        made.append(len(job.wasm))
        make_one(optimiser, job)

    monkeypatch.setattr(client._Optimiser, "_make", note)
    first = Module(engine, large(8))
    second = Module(engine, wat)
    gone = weakref.ref(second._code.optimisation)
    del second
    gc.collect()
    assert gone() is None
    third = Module(engine, wat + " ")
    assert first.wait_optimized() and third.wait_optimized()
    assert len(made) == 2


def test_an_instance_is_enough_to_get_optimised_code(wat: str, engine: Engine) -> None:
    before = Module(engine, large(20))
    module = Module(engine, wat)
    store, exports = make(module)
    loaded: LoadedModule = module._load()
    baseline = loaded.code
    del module
    gc.collect()
    before.wait_optimized()
    deadline = time.monotonic() + 120
    while loaded.code is baseline and time.monotonic() < deadline:
        assert exports["fib"](store, 20) == FIB_20  # what is used
        time.sleep(0.01)
    assert loaded.code is not baseline
    check(store, exports)


def test_code_is_unmapped_with_the_module(wat: str, engine: Engine) -> None:
    def use() -> list[Any]:
        module = Module(engine, wat)
        store, exports = make(module)
        loaded = module._load()
        module.wait_optimized()
        check(store, exports)
        store.close()
        codes = loaded._codes + (loaded._lazy.codes if loaded._lazy is not None else [])
        assert len(codes) >= 2
        return [weakref.ref(code) for code in codes]

    codes = use()
    gc.collect()
    deadline = time.monotonic() + 120
    while any(code() is not None for code in codes) and time.monotonic() < deadline:
        time.sleep(0.01)  # the optimiser's thread lets go of the module a moment after it said that it is done
        gc.collect()
    assert not any(code() for code in codes)


def test_a_dead_optimiser_is_an_error_of_that_module_only(wat: str) -> None:
    engine = Engine(Config(tier="auto"))
    assert Module(engine, wat).wait_optimized()
    optimiser = client._current_optimiser()
    gc.collect()  # modules of other tests, which it would begin with
    assert optimiser.process is not None
    os.kill(optimiser.process.pid, signal.SIGSTOP)
    module = Module(engine, wat)
    store, exports = make(module)
    while optimiser._waiting:
        time.sleep(0.01)
    assert not module.wait_optimized(0.2)  # it has the request now
    optimiser.process.kill()
    with pytest.raises(CompileError, match=r"optimising in the background failed: .*died"):
        module.wait_optimized()
    check(store, exports)
    check(*make(module_after := Module(engine, wat)))
    assert module_after.wait_optimized()
    assert module.wait_optimized(), "who asks again gets it"
    assert module.text == module_after.text
    check(store, exports)


def test_errors_of_the_compiler_are_kept(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "options", lambda config: {"no_such_option": 1})
    module = Module(engine, wat)
    store, exports = make(module)
    with pytest.raises(CompileError, match=r"optimising in the background failed: TypeError: .*no_such_option"):
        module.wait_optimized()
    check(store, exports)


def test_a_finalizer_may_end_the_optimiser_while_its_own_thread_does() -> None:
    optimiser = client._Optimiser()

    def close() -> None:
        with optimiser._lock:
            optimiser.close()

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_an_optimiser_that_cannot_read_requests_ends(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_nonsense(stream: IO[bytes], fields: dict[str, Any], body: bytes) -> None:
        stream.write(wire.LENGTHS.pack(1, 0) + b"{")
        stream.flush()

    monkeypatch.setattr(wire, "write_message", write_nonsense)  # the compiler has its own name for it
    module = Module(engine, wat)
    store, exports = make(module)
    with pytest.raises(CompileError, match="optimising in the background failed: the optimising process died"):
        module.wait_optimized()
    check(store, exports)


def test_damaged_answers_are_errors(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client._Optimiser, "_request", lambda optimiser, job: b"nonsense")
    module = Module(engine, wat)
    store, exports = make(module)
    with pytest.raises(CompileError, match="not a compiled wasmjit module"):
        module.wait_optimized()
    check(store, exports)


def test_refused_memory_for_code_is_an_error(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise WasmError("the system refuses executable memory")

    module = Module(engine, wat + " ")
    monkeypatch.setattr(module._code.optimisation, "_load", refuse)
    store, exports = make(module)
    with pytest.raises(CompileError, match="refuses executable memory"):
        module.wait_optimized()
    check(store, exports)


def test_an_idle_optimiser_ends_and_comes_back(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "OPTIMISER_IDLE_SECONDS", 0.05)
    assert Module(engine, wat).wait_optimized()
    optimiser = client._current_optimiser()
    deadline = time.monotonic() + 120
    while optimiser.process is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert optimiser.process is None
    assert Module(engine, wat).wait_optimized()


def test_there_is_no_progress_of_what_is_not_waited_for(wat: str, engine: Engine) -> None:
    seen: list[Any] = []
    module = Module(engine, wat, progress=seen.append)
    assert module.wait_optimized()
    assert seen == []


# ---- bytes of what is compiled as it runs ----


def test_what_is_serialized_is_compiled_as_it_runs(wat: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that keep what they compiled (`Module(...)`, then `serialize`) waited for LLVM over the whole module."""

    def refuse(optimisation: object, timeout: float | None = None) -> None:
        raise AssertionError("optimised code was waited for")

    module = Module(engine, wat)
    with monkeypatch.context() as patched:
        patched.setattr(client.Optimisation, "wait", refuse)
        serialized = module.serialize()
        pickled = pickle.dumps(module)
    assert module.wait_optimized()
    assert module.serialize() == serialized and pickle.dumps(module) == pickled, "whatever is compiled"
    again = Module.deserialize(engine, serialized)
    assert {function.tier for function in again.tier_report()} != {"optimized"}
    assert again.serialize() == serialized
    check(*make(again))
    check(*make(pickle.loads(pickled)))
    optimised = Module.deserialize(Engine(Config(tier="optimized")), serialized)
    assert {function.tier for function in optimised.tier_report()} == {"optimized"}
    assert optimised.serialize() == engine.precompile_module(wat)


def test_damaged_bytes_of_what_is_compiled_as_it_runs(wat: str, engine: Engine, tmp_path: Path) -> None:
    serialized = Module(engine, wat).serialize()
    path = tmp_path / "m.cwasm"
    path.write_bytes(serialized)
    check(*make(Module.deserialize_file(engine, path)))
    for at in range(0, len(serialized), 7):
        damaged = bytearray(serialized)
        damaged[at] ^= 0x10
        with pytest.raises(ArtifactError):
            Module.deserialize(engine, damaged)
    damaged = bytearray(serialized)
    damaged[serialized.index(b"\0asm") + 20] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArtifactError, match=r"m\.cwasm: damaged: section wasm has a wrong checksum"):
        Module.deserialize_file(engine, path)
    with pytest.raises(ArtifactError, match="consume_fuel is False, expected True"):
        Module.deserialize(Engine(Config(tier="auto", consume_fuel=True)), serialized)
    with pytest.raises(ArtifactError, match="holds no code"):
        inspection.functions(bytes(serialized))


# ---- the cache ----


def test_the_optimised_code_goes_into_the_cache(wat: str, tmp_path: Path) -> None:
    config = Config(tier="auto", cache=str(tmp_path / "cache"))
    module = Module(Engine(config), wat)
    assert module.wait_optimized()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    again = Module(Engine(config), wat)
    assert {function.tier for function in again.tier_report()} == {"optimized"}
    assert again._artifact.to_bytes() == module._artifact.to_bytes()
    check(*make(again))
    config.tier = "optimized"  # the same entry
    assert Module(Engine(config), wat).serialize() == module._artifact.to_bytes()
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("moment", ["before it is begun", "while it is made"])
def test_the_cache_is_filled_behind_programs_that_end_early(moment: str, tmp_path: Path) -> None:
    """Else a program that is always quicker than the optimiser would never be cached."""
    program = (
        "import sys\nfrom wasmjit import thresholds\nfrom wasmjit.tiers import optimiser\n"
        "thresholds.OPTIMISER_NICENESS = thresholds.BACKGROUND_NICENESS = 0\n"  # a busy machine would keep it waiting
        "thresholds.INTERPRETS = False\n"  # what is interpreted is not made before it is used
        "engine = Engine(Config(tier='auto', cache=sys.argv[1]))\n"
        "Module(engine, WAT)\n"  # nobody has it any more
    )
    if moment == "while it is made":
        program += "Module(engine, WAT.replace('$m', '$n')).wait_optimized(0.05)\n"
    result = run_program(program, arguments=[str(tmp_path / "cache")])
    assert (result.returncode, result.stderr) == (0, "")
    wanted = 1 if moment == "before it is begun" else 2
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("cache/*.cwasm"))) < wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(tmp_path.glob("cache/*.cwasm"))) == wanted
    module = Module(Engine(Config(tier="auto", cache=str(tmp_path / "cache"))), WAT)
    assert {function.tier for function in module.tier_report()} == {"optimized"}


# ---- processes ----


def run_program(program: str, arguments: Sequence[str] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    head = f"import os, threading, time\nfrom wasmjit import *\nWAT = {WAT!r}\nengine = Engine(Config(tier='auto'))\n"
    return subprocess.run(
        [sys.executable, "-c", head + program, *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_the_interpreter_ends_while_code_is_made() -> None:
    result = run_program("module = Module(engine, WAT)\nprint('made')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "made\n", "")


def test_the_interpreter_ends_while_a_thread_runs_code() -> None:
    result = run_program(
        "module = Module(engine, WAT); store = Store(engine)\n"
        "f = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n)\n"
        "exports = Instance(store, module, [f]).exports(store)\n"
        "threading.Thread(target=lambda: exports['spin'](store), daemon=True).start()\n"
        "time.sleep(0.1); print('ends', flush=True)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "ends\n", "")


def test_no_process_is_left_behind() -> None:
    result = run_program(
        "from wasmjit.tiers import optimiser\nmodule = Module(engine, WAT)\nmodule.wait_optimized()\n"
        "print(optimiser._current_optimiser().process.pid)"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.stdout), 0)


def test_no_process_is_left_behind_by_a_killed_one() -> None:
    program = (
        "from wasmjit.tiers import optimiser\nmodule = Module(engine, WAT)\nmodule.wait_optimized()\n"
        "print(optimiser._current_optimiser().process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    result = run_program(program)
    assert result.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 120
    while is_running(int(result.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(int(result.stdout))


def is_running(pid: int) -> bool:
    """Whether the process is there; one that nobody has waited for yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_forked_child_gets_its_own_optimised_code() -> None:
    result = run_program(
        "module = Module(engine, WAT); expected = None\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    assert module.wait_optimized(60)\n"
        "    store = Store(engine)\n"
        "    f = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n)\n"
        "    print(Instance(store, module, [f]).exports(store)['fib'](store, 10), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert module.wait_optimized(60)"
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "55\n", "")


@pytest.mark.parametrize("tier", ["baseline", "optimized", "auto"])
def test_the_command_line_has_tiers(tier: str, tmp_path: Path) -> None:
    (tmp_path / "m.wat").write_text('(module (func (export "f") (result i32) (i32.const 7)))')
    command = [sys.executable, "-m", "wasmjit", "run", "--tier", tier, "--invoke", "f", "m.wat"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "7\n"), result.stderr


# ---- the jumps ----


@pytest.mark.parametrize("at", [0, 16, 4096, 65536 - 16])
@pytest.mark.parametrize("entry", [65536, 65536 + 8, 65536 + 4096 - 8, 1 << 24])
def test_jumps_of_both_architectures(at: int, entry: int) -> None:
    kind, distance, _ = entries._X86_64_JUMP.unpack(entries._x86_64_jump(at, entry))
    assert kind.to_bytes(2, "little") == b"\xff\x25" and at + 6 + distance == entry
    adrp, ldr, br, _ = entries._AARCH64_JUMP.unpack(entries._aarch64_jump(at, entry))
    pages = (adrp >> 5 & 0x7FFFF) << 2 | adrp >> 29 & 3
    assert adrp & 0x9F00001F == 0x90000010  # adrp x16
    assert ldr & 0xFFC003FF == 0xF9400210  # ldr x16, [x16, #...]
    assert (at // 4096 + pages) * 4096 + (ldr >> 10 & 0xFFF) * 8 == entry
    assert br == 0xD61F0200  # br x16


# ---- stress ----


@pytest.fixture
def replacing() -> Iterator[tuple[Module, threading.Event]]:
    """A module whose code is replaced by that of another level again and again, and what ends the test."""
    engine = Engine(Config(tier="auto"))
    module = Module(engine, WAT)
    loaded = module._load()
    codes = []
    for level in ("none", "speed"):
        compiled = Module(Engine(Config(tier="optimized", opt_level=level)), WAT)
        codes.append(runtime_code.load(compiled._artifact))
    over = threading.Event()

    def replace() -> None:
        number = 0
        while not over.is_set():
            loaded.replace_code(codes[number % 2])
            number += 1
            time.sleep(0.0002 * (number % 3))

    threads = [threading.Thread(target=replace) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield module, over
    over.set()
    for thread in threads:
        thread.join()


def test_four_threads_while_code_is_replaced(replacing: tuple[Module, threading.Event]) -> None:
    module, over = replacing
    deadline = time.monotonic() + STRESS_SECONDS
    rounds = [0] * 4
    failures: list[BaseException] = []

    def work(index: int) -> None:
        order = random.Random(SEED * 4 + index)
        try:
            while time.monotonic() < deadline and not failures:
                with Store(module.engine, timeout=60) as store:
                    function = Func(store, FuncType([ValType.i32()], [ValType.i32()]), lambda n: n + 1)
                    exports = Instance(store, module, [function]).exports(store)
                    for _ in range(10):
                        one_call(order, store, exports)
                        rounds[index] += 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    assert not failures, failures
    assert min(rounds) >= 10


def one_call(order: random.Random, store: Store, exports: Any) -> None:
    """Some call, trap or interrupt, checked."""
    if order.random() < 0.6:
        check(store, exports)
        return
    timer = threading.Timer(order.random() * 0.005, store.interrupt)
    if order.random() < 0.5:
        timer = threading.Timer(0, lambda: None)
        store.timeout = order.random() * 0.005 + 1e-4
    else:
        store.timeout = 0.1  # should the interrupt come before the call
    timer.start()
    with pytest.raises(Trap) as caught:
        exports["spin"](store)
    assert caught.value.trap_code is TrapCode.INTERRUPT
    # Callers of a function that is interrupted in its first instructions can be missing, whatever the tier.
    assert {frame.func_index for frame in caught.value.frames} <= {SPIN, DOUBLE}
    timer.join()  # it must not meet a later call
    store.timeout = 60


def test_modules_come_and_go_while_their_code_is_made(wat: str, engine: Engine) -> None:
    failures: list[BaseException] = []
    mapped = len(runtime_code._live)

    def work(index: int) -> None:
        order = random.Random(index)
        try:
            for number in range(2):
                module = Module(engine, wat + " " * (4 * index + number))
                store, exports = make(module)
                for _ in range(order.randrange(1, 20)):
                    check(store, exports)
                if order.random() < 0.5:
                    module.wait_optimized()
                    check(store, exports)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    Module(engine, wat).wait_optimized()  # behind all others
    gc.collect()
    assert len(runtime_code._live) <= mapped + 4


@pytest.mark.parametrize(("num_processors", "times"), [(1, thresholds.OPTIMISER_PATIENCE_ALONE), (2, 1)])
def test_the_optimiser_is_patient(
    num_processors: int, times: int, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More so on one processor, where it takes its time from the program."""
    monkeypatch.setattr(client.processes, "num_processors", lambda: num_processors)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 1000.0)
    optimisation = client.Optimisation(engine._config, b"", lambda code: code)
    assert 0 <= time.monotonic() + 1000 * times - optimisation.begin_at < 100


@pytest.mark.parametrize("num_processors", [1, 2])
def test_on_one_processor_the_optimiser_waits_for_the_program(
    num_processors: int, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others kept the processor from it, a task of three seconds took ten, of which the optimiser had five."""
    used = 7.0
    monkeypatch.setattr(client.processes, "num_processors", lambda: num_processors)
    monkeypatch.setattr(client.time, "process_time", lambda: used)
    monkeypatch.setattr(thresholds, "OPTIMISER_PATIENCE_SECONDS", 1000.0)
    optimisation = client.Optimisation(engine._config, b"", lambda code: code)
    optimisation.begin_at = 5.0  # long ago
    assert (optimisation.due_at() > time.monotonic() + 4000) is (num_processors == 1)
    used += 1000 * thresholds.OPTIMISER_PATIENCE_ALONE
    assert optimisation.due_at() == 5.0
    used, optimisation.is_awaited = 7.0, True
    assert optimisation.due_at() == 5.0


def test_what_is_waited_for_gives_way_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that looks at the code stands still until it is there."""
    client._current_optimiser()._end_process()
    niceness: list[int] = []
    start = client.processes.start

    def started(main: str, **options: Any) -> Any:
        niceness.append(options["niceness"])
        return start(main, **options)

    monkeypatch.setattr(client.processes, "start", started)
    engine = Engine(Config(tier="auto"))
    assert Module(engine, "(module (func))").text
    assert niceness == [0]
