"""Packages of npm for Node's threads validate, compile and instantiate, with the memory that their threads share."""

from __future__ import annotations

import pytest

import wasmjit
from tests.realworld.packages import THREADED, Package, UnavailableError
from wasmjit import Config, Engine, Linker, Module, SharedMemory, Store


@pytest.mark.realworld
@pytest.mark.parametrize("tier", ["auto", pytest.param("baseline", marks=pytest.mark.slow)])
@pytest.mark.parametrize("package", THREADED, ids=lambda package: package.name.partition("/")[2])
def test_a_threaded_package_instantiates(package: Package, tier: str) -> None:
    """What it imports of Node are functions that raise when they are called."""
    try:
        name = package.name.removeprefix("@node-rs/").removesuffix("-wasm32-wasi")
        wasm = package.read(f"package/{name}.wasm32-wasi.wasm")
    except UnavailableError as error:
        pytest.skip(f"needs the network: {error}")
    engine = Engine(Config(shared_memory=True, tier=tier))
    Module.validate(engine, wasm)
    module = Module(engine, wasm)
    store, linker = Store(engine), Linker(engine)
    store.set_wasi(wasmjit.WasiConfig())
    linker.define_wasi(threads=True)
    memory_type = next(item.type for item in module.imports if isinstance(item.type, wasmjit.MemoryType))
    assert memory_type.is_shared
    memory = SharedMemory(engine, memory_type)
    linker.define(store, "env", "memory", memory)
    linker.define_unknown_imports_as_traps(module)
    exports = linker.instantiate(store, module).exports(store)
    assert "napi_register_wasm_v1" in exports
    allocate = exports["malloc"]
    first, second = allocate(store, 1000), allocate(store, 1000)
    assert 0 < first < second and any(memory.view()[: memory_type.limits.min << 16])
