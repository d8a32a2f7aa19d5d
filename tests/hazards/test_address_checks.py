"""Checks between a number of wasm's and an address of the host's that no other test would miss."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wasmjit import (
    Config,
    Engine,
    Instance,
    Limits,
    Module,
    Store,
    Table,
    TableType,
    ValType,
)
from wasmjit.runtime import tiers
from wasmjit.runtime.native import lib
from wasmjit.wasm import module as wasm
from wasmjit.wasm import validate


def in_process(program: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs Python text in a process of its own: what is tested crashes where it fails."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=timeout_seconds
    )


def test_segments_are_copied_into_a_memory_that_does_not_move_meanwhile() -> None:
    """Another thread grows a memory while an instantiation, without the GIL, copies its data segments there."""
    done = in_process(
        """
        import threading
        from wasmjit import *
        store = Store(Engine(Config(signals_based_traps=False, memory_reservation=0, tier="optimized")))
        data = " ".join(f'(data (global.get 0) "{"x" * 60000}")' for _ in range(30))
        module = Module(store.engine, f'(module (import "" "m" (memory 1)) (import "" "o" (global i32)) {data})')
        start = Global(store, GlobalType(ValType.i32(), False), 0)
        for _ in range(20):
            memory = Memory(store, MemoryType(Limits(1, None)))
            def grow():
                for _ in range(400):
                    memory.grow(store, 1)
            thread = threading.Thread(target=grow)
            thread.start()
            for _ in range(30):
                Instance(store, module, [memory, start])
            thread.join()
        print("done")
        """
    )
    assert done.stdout == "done\n", (done.returncode, done.stderr[-2000:])


@pytest.mark.parametrize("count", [0, 1, 5, 257, 513, 1025, 5000])
def test_what_the_mask_of_an_index_lets_through_is_the_tables(count: int) -> None:
    """A table of fixed size has its indices masked with the next power of two less one: storage goes up to there."""
    store = Store()
    table = Table(store, TableType(ValType.funcref(), Limits(count, count)), None)
    elements = int(lib.wj_table_elements(table._item.pointer))
    wanted_bytes = 8 << max(count - 1, 0).bit_length()
    if wanted_bytes > 8 * 512:  # a mapping of its own
        ranges = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()]
        end = elements
        while end < elements + wanted_bytes:
            end = next((int(high, 16) for low, high in ranges if int(low, 16) <= end < int(high, 16)), 0)
            assert end, "not mapped"
        return
    usable = ctypes.CDLL(None).malloc_usable_size
    usable.restype, usable.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    record_bytes = 16  # wj_allocation
    assert usable(elements - record_bytes) >= record_bytes + wanted_bytes


def test_the_interpreter_masks_every_index_of_a_table(root: Path) -> None:
    """What a processor does behind a mispredicted bounds check cannot be seen: this looks at the source."""
    text = (root / "runtime_c" / "interpret.c").read_text()
    accesses = re.findall(r"->elements\[(.*?)\](?: =|;)", text)
    assert len(accesses) == text.count("->elements[") == 3
    assert all(index == "masked(index, table->length)" for index in accesses), accesses


def test_unknown_instructions_in_dead_code_are_not_read_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules with tail calls are not interpreted today. Were they, the index of a `return_call` in code that cannot be
    reached would be taken for the next opcode, here `end`, and the function would end there."""

    original = validate.validate

    def forgetting(module: wasm.Module) -> None:
        original(module)
        module.has_tail_calls = False

    monkeypatch.setattr(validate, "validate", forgetting)
    store = Store(Engine(Config(tier="auto")))
    functions = "(func (result i32) (i32.const 3))" * 12
    module = Module(
        store.engine,
        f'(module {functions} (func (export "f") (result i32) (block (br 0) (return_call 11)) (i32.const 7)))',
    )
    assert tiers.INTERPRETS
    assert Instance(store, module, []).exports(store)["f"](store) == 7
