"""What compiling may take: processor time in proportion to the text, and the limits of a Config."""

from __future__ import annotations

import io
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import shapes
from wasmjit import CompileError, Config, Engine, Instance, Module, Store, Trap, TrapCode, WasmError, run
from wasmjit.compile import limits, pipeline
from wasmjit.reading import read_module


def heads(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("define")]


def function(number: int, lines: list[str], params: str = "ptr %vmctx") -> str:
    return "\n".join((f"define weak dso_local void @f{number}({params}) #0 !dbg !2 {{", "entry:", *lines, "}\n"))


def test_only_functions_that_take_llvm_long_are_left_as_they_are() -> None:
    store, local, add = "  store i32 1, ptr %x2, align 1", "  store i32 1, ptr %l2", "  %v1 = add i32 1, 2"
    usual = function(1, [store] * 900 + ["next:"] + [store] * 900) + function(2, [local, add] * 3000)
    assert limits.simplify(usual) == usual
    stores, lines = function(3, [store] * 1100), function(4, [add] * 13_000)
    params = function(5, [], ", ".join(f"i32 %p{i}" for i in range(400)))
    call = function(6, [f"  call void @f5({', '.join(f'i32 %p{i}' for i in range(400))})"])
    text = limits.simplify(usual + stores + lines + params + call)
    assert [" optnone " in head for head in heads(text)] == [False, False, True, True, True, True]
    assert text.replace(" optnone", "") == usual + stores + lines + params + call


@pytest.mark.parametrize("name", ["init", "stores", "copies"])
def test_what_is_left_as_it_is_does_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make = shapes.SHAPES[name]
    outcomes = []
    for count in (200, 1500):
        store = Store(Engine(Config(tier="optimized")))
        f: Any = Instance(store, Module(store.engine, make(count)), []).exports(store)["f"]
        outcomes.append(f(store, 4))
        if name == "copies":
            with pytest.raises(Trap) as caught:
                f(store, -1)
            assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
    assert outcomes[0] == outcomes[1]


def test_a_unit_that_uses_up_its_processor_time_is_compiled_more_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def budget(opt_level: str, text_bytes: int) -> float:
        asked.append(opt_level)
        return 0.0 if opt_level == "speed" else 60.0

    monkeypatch.setattr(limits, "budget_seconds", budget)
    store = Store(Engine(Config(tier="optimized")))
    f: Any = Instance(store, Module(store.engine, shapes.SHAPES["switch"](1200)), []).exports(store)["f"]
    assert f(store, 1198) == 1198 + 1199
    assert asked[:2] == ["speed", "none"] or "none" in asked


def test_a_unit_that_takes_too_long_at_all_levels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "budget_seconds", lambda opt_level, text_bytes: 0.0)
    with pytest.raises(CompileError, match="functions 0 to 1: compiling took more than 0 s of processor time"):
        Module(Engine(Config(tier="optimized")), shapes._wide(1000, [shapes.I32], 40))


def test_budgets_grow_with_the_text() -> None:
    assert limits.budget_seconds("speed", 10_000_000) > 5 * limits.budget_seconds("speed", 1_000_000)
    assert limits.budget_seconds("none", 1_000) >= 10  # no machine is so slow
    assert limits.quicker({"output": "object", "opt_level": "speed"}) == {"output": "object", "opt_level": "none"}
    assert limits.quicker({"output": "object", "opt_level": "none"}) is None
    assert limits.quicker({"output": "target", "opt_level": "speed"}) is None


@pytest.mark.parametrize("parallel", [False, True])
def test_compiling_ends_when_its_time_is_over(parallel: bool) -> None:
    wasm = shapes.SHAPES["switch"](1500) if not parallel else shapes.SHAPES["functions"](20_000)
    config = Config(tier="optimized", compile_timeout=0.3, parallel_compilation=parallel)
    began = time.monotonic()
    with pytest.raises(CompileError, match=r"compiling took longer than Config.compile_timeout \(0\.\d+ s\)"):
        Module(Engine(config), wasm)
    assert time.monotonic() - began < 5


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


def test_a_compiler_without_memory_is_an_error() -> None:
    pipeline.pool().close()
    with pytest.raises(CompileError, match="functions 0 to 0"):
        Module(Engine(Config(tier="optimized", max_compiler_memory=300 << 20)), shapes.SHAPES["sets_then_ifs"](8000))
    pipeline.pool().close()


def test_an_interrupt_ends_compiling_and_its_workers() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.7)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            Module(Engine(Config(tier="optimized")), shapes.SHAPES["switch"](9000))
        assert time.monotonic() - began < 3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + 5
    while (left := compiling()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def compiling() -> list[pipeline.Worker]:
    """Workers that run and are not the pool's, which keeps a few."""
    pool = pipeline.pool()
    kept = (*pool.idle, *pool._busy)
    return [worker for worker in pipeline._workers if worker not in kept and worker.process.poll() is None]


def test_the_timeout_of_a_run_holds_while_its_module_is_compiled() -> None:
    began = time.monotonic()
    with pytest.raises(Trap) as caught:
        run(shapes.SHAPES["switch"](6000), timeout=0.3, engine=Engine(Config(tier="optimized")))
    assert caught.value.trap_code is TrapCode.INTERRUPT
    assert time.monotonic() - began < 4
