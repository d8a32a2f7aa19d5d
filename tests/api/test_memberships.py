"""Code of two stores in one memory. Linking does not do that yet: a private handle stands for it."""

from __future__ import annotations

import pytest

from wasmjit import Config, Engine, Instance, Limits, Memory, MemoryType, Module, Store, Trap, TrapCode
from wasmjit.runtime.native import lib

PAGE = 65536


def joined(store: Store, other: Memory) -> Memory:
    """A handle, in `store`, of a memory of another store: what linking does not do yet."""
    native = store._record.open()
    assert lib.wj_memory_join(other._item.pointer, native.pointer) == 0
    return Memory._wrap(store._record, other._item)


@pytest.mark.parametrize("tier", ["auto", "optimized"])
def test_instances_of_two_stores(tier: str) -> None:
    engine = Engine(Config(tier=tier))  # type: ignore[arg-type]
    module = Module(
        engine,
        """(module (import "" "m" (memory 1))
             (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
             (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
             (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
             (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2))))""",
    )
    first, second = Store(engine), Store(engine)
    memory_of_first = Memory(first, MemoryType(Limits(1, 10)))
    memory_of_second = joined(second, memory_of_first)
    here = Instance(first, module, [memory_of_first]).exports(first)
    there = Instance(second, module, [memory_of_second]).exports(second)
    here["store"](first, 16, 99)
    assert there["load"](second, 16) == 99
    for name, arguments in (("load", (PAGE - 3,)), ("store", (-4, 1)), ("copy", (0, PAGE - 1, 2))):
        with pytest.raises(Trap) as trapped:
            there[name](second, *arguments)
        assert trapped.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS
    assert there["grow"](second, 1) == 1
    assert here["load"](first, 2 * PAGE - 4) == 0 and memory_of_first.size(first) == memory_of_second.size(second) == 2
    first.close()
    there["copy"](second, 2 * PAGE - 4, 16, 4)
    assert there["load"](second, 2 * PAGE - 4) == 99 and memory_of_second[16] == 99
    with pytest.raises(Trap):
        there["load"](second, 2 * PAGE)
    second.close()
