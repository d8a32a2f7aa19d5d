"""What a Module tells of itself: exports, resources, code, address map; its copies and its pickled form."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wasmjit import (
    ArtifactError,
    ClosedError,
    Config,
    Engine,
    Func,
    FuncType,
    GlobalType,
    Instance,
    MalformedError,
    MemoryType,
    Module,
    ModuleExport,
    ModuleFunction,
    ResourcesRequired,
    Store,
    TableType,
    Trap,
    WasmError,
    wat2wasm,
)

TEXT = """(module $named (import "a" "b" (func $i (param i32)))
  (memory (export "m") 2) (table (export "t") 5 funcref) (global (export "g") i32 (i32.const 7))
  (func $f (export "f") (export "again") (param i32) (result i32) local.get 0 i32.const 2 i32.mul)
  (func (export "unnamed")))"""


@pytest.fixture(scope="module")
def module(engine: Engine) -> Module:
    return Module(engine, TEXT)


def exports_of(module: Module, store: Store) -> Any:
    host = Func(store, FuncType([], []), lambda: None)
    return Instance(store, module, [host] if module.imports else []).exports(store)


# ---- from where a module comes ----


def test_from_binary_refuses_text(engine: Engine) -> None:
    binary = wat2wasm(TEXT)
    assert Module.from_binary(engine, bytes(binary)).serialize() == Module(engine, TEXT).serialize()
    assert Module.from_binary(engine, memoryview(binary)).name == "named"
    for text in (TEXT.encode(), b"(module)", b"", b"\0as"):
        with pytest.raises(MalformedError):
            Module.from_binary(engine, text)
    with pytest.raises(WasmError, match=r"use Module\.deserialize"):
        Module.from_binary(engine, bytes(Module(engine, TEXT).serialize()))
    with pytest.raises(TypeError, match="expected wasm bytes"):
        Module.from_binary(engine, TEXT)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Engine"):
        Module.from_binary(None, bytes(binary))  # type: ignore[arg-type]


def test_from_trusted_file_takes_every_form(engine: Engine, module: Module, tmp_path: Path) -> None:
    forms = {"m.wat": TEXT.encode(), "m.wasm": wat2wasm(TEXT), "m.cwasm": module.serialize()}
    for name, contents in forms.items():
        (tmp_path / name).write_bytes(contents)
        for path in (tmp_path / name, str(tmp_path / name), os.fsencode(tmp_path / name)):
            assert Module.from_trusted_file(engine, path).serialize() == module.serialize()
    (tmp_path / "m.cwasm").write_bytes(module.serialize()[:-8])
    with pytest.raises(ArtifactError, match=r"m\.cwasm: truncated"):
        Module.from_trusted_file(engine, tmp_path / "m.cwasm")
    with pytest.raises(ArtifactError, match=r"m\.cwasm: .*expected speed"):
        (tmp_path / "m.cwasm").write_bytes(module.serialize())
        Module.from_trusted_file(Engine(), tmp_path / "m.cwasm")
    (tmp_path / "m.wasm").write_bytes(b"\0asm\1\0\0\0\xff")
    with pytest.raises(MalformedError, match=r"m\.wasm"):
        Module.from_trusted_file(engine, tmp_path / "m.wasm")
    with pytest.raises(FileNotFoundError):
        Module.from_trusted_file(engine, tmp_path / "missing")


def test_deserialize_open_file(engine: Engine, tmp_path: Path, store: Store) -> None:
    path = tmp_path / "m.cwasm"
    path.write_bytes(Module(engine, '(module (func (export "f") (result i32) i32.const 5))').serialize())
    with path.open("rb") as file:
        file.seek(17)  # the position plays no part
        by_file = Module.deserialize_open_file(engine, file)
        by_number = Module.deserialize_open_file(engine, file.fileno())
    path.unlink()  # the mapping stays
    for module in (by_file, by_number):
        assert exports_of(module, store)["f"](store) == 5


def test_deserialize_open_file_refuses(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.cwasm"
    path.write_bytes(wat2wasm(TEXT))
    with path.open("rb") as file, pytest.raises(ArtifactError, match=r"m\.cwasm: not a compiled wasmjit module"):
        Module.deserialize_open_file(engine, file)
    with pytest.raises(WasmError, match="failed to map file"):
        Module.deserialize_open_file(engine, file_descriptor_of_nothing())
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"), pytest.raises(WasmError):
        Module.deserialize_open_file(engine, pipe)
    with pytest.raises(TypeError, match="expected an open file"):
        Module.deserialize_open_file(engine, "m.cwasm")  # type: ignore[arg-type]


def file_descriptor_of_nothing() -> int:
    number = os.open("/dev/null", os.O_RDONLY)
    os.close(number)
    return number


# ---- exports ----


def test_get_export(module: Module) -> None:
    found = module.get_export("f")
    assert isinstance(found, FuncType)
    assert str(found.params) == "[i32]" or len(found.params) == 1
    assert isinstance(module.get_export("m"), MemoryType)
    assert isinstance(module.get_export("t"), TableType)
    assert isinstance(module.get_export("g"), GlobalType)
    assert module.get_export("missing") is None
    with pytest.raises(TypeError, match="expected a str"):
        module.get_export(0)  # type: ignore[arg-type]


def test_get_export_index(module: Module, engine: Engine, store: Store) -> None:
    instance = Instance(store, copy.copy(module), [Func(store, FuncType([wasm_i32()], []), lambda n: None)])
    exports = instance.exports(store)
    for name in ("f", "m", "t", "g"):
        index = module.get_export_index(name)
        assert isinstance(index, ModuleExport)
        assert repr(index) == f"<ModuleExport {name}>"
        assert type(instance.get_module_export(store, index)) is type(exports[name])
    index = module.get_export_index("f")
    assert index is not None
    assert instance.get_module_export(store, index)(store, 21) == 42  # type: ignore[operator, misc]
    assert module.get_export_index("missing") is None
    # Of an equal module, but not this one.
    other = Module(engine, TEXT).get_export_index("f")
    assert other is not None and instance.get_module_export(store, other) is None
    with pytest.raises(TypeError, match="expected a ModuleExport"):
        instance.get_module_export(store, "f")  # type: ignore[arg-type]
    with Store(engine) as stranger, pytest.raises(WasmError, match="another Store"):
        instance.get_module_export(stranger, index)
    with pytest.raises(WasmError, match="no constructor"):
        ModuleExport()


def wasm_i32() -> Any:
    from wasmjit import ValType

    return ValType.i32()


# ---- what it takes and what it is made of ----


def test_resources_required(module: Module, engine: Engine) -> None:
    assert module.resources_required() == ResourcesRequired(1, 2, 1, 5)
    assert Module(engine, "(module)").resources_required() == ResourcesRequired(0, None, 0, None)
    imports = '(module (import "" "" (memory 9)) (import "" "" (table 9 funcref)) (table 3 funcref) (table 4 funcref))'
    assert Module(engine, imports).resources_required() == ResourcesRequired(0, None, 2, 4)


def test_engine(module: Module, engine: Engine) -> None:
    assert module.engine is engine


def test_functions_lie_in_the_text(module: Module) -> None:
    functions = module.functions()
    assert [(f.index, f.name) for f in functions] == [(1, "f"), (2, None)]
    assert all(isinstance(f, ModuleFunction) for f in functions)
    text = module.text
    assert isinstance(text, bytes)
    end = 0
    for function in functions:
        assert end <= function.offset and function.size > 0
        end = function.offset + function.size
    assert end <= len(text)


def test_a_module_without_functions(engine: Engine) -> None:
    module = Module(engine, "(module (memory 1))")
    assert (module.text, module.functions(), list(module.address_map() or ())) == (b"", [], [])
    assert len(module.image_range()) == 0


def test_image_range_holds_the_text(module: Module) -> None:
    import ctypes

    found = module.image_range()
    assert len(found) == len(module.text) and found == module.image_range()
    assert ctypes.string_at(found.start, len(found)) == module.text


TRAPS = {
    "unreachable": "unreachable",
    "memory": "(drop (i32.load (i32.const -1)))",
    "store": "(i32.store offset=4 (i32.const -1) (i32.const 1))",
    "divide": "(drop (i32.div_s (i32.const 1) (local.get $zero)))",
    "overflow": "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))",
    "convert": "(drop (i32.trunc_f64_s (f64.const nan)))",
    "load and add": "(global.set $g (i32.add (global.get $g) (i32.load (i32.const -1))))",
    "load and compare": "(global.set $g (i32.eq (global.get $g) (i32.load (i32.const -1))))",
    "load and branch": "(if (i32.eq (global.get $g) (i32.load (i32.const -1))) (then (call $pad)))",
    "load and test": "(if (i32.and (i32.const 8) (i32.load (i32.const -1))) (then (call $pad)))",
    "load and multiply": "(global.set $g (i32.mul (global.get $g) (i32.load (i32.const -1))))",
    "load and widen": "(global.set $d (f64.convert_i32_s (i32.load (i32.const -1))))",
    "float load and add": "(global.set $d (f64.add (global.get $d) (f64.load (i32.const -1))))",
    "float load and compare": "(global.set $g (f64.lt (global.get $d) (f64.load (i32.const -1))))",
    "load and store": "(i32.store (i32.const -1) (i32.add (i32.const 1) (i32.load (i32.const -1))))",
    "load and copy": "(i64.store (i32.const 0) (i64.load (i32.const -1)))",
    "load and shift": "(global.set $g (i32.shl (i32.load (i32.const -1)) (global.get $g)))",
    "load and select": "(global.set $g (select (i32.load (i32.const -1)) (i32.const 3) (global.get $g)))",
    "load and divide": "(global.set $g (i32.div_u (i32.const 77) (i32.load (i32.const -1))))",
    "load and call": "(call_indirect (type $v) (i32.load (i32.const -1)))",
    "load and count": "(global.set $g (i32.popcnt (i32.load (i32.const -1))))",
    "null call": "(call_indirect (type $v) (i32.const 1))",
    "call outside": "(call_indirect (type $v) (i32.const 99))",
    "call of another type": "(call_indirect (type $v) (i32.const 2))",
    "table.get": "(drop (table.get $t (i32.const 99)))",
    "table.set": "(table.set $t (i32.const 99) (ref.null func))",
    "memory.fill": "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))",
    "memory.copy": "(memory.copy (i32.const 0) (i32.const 0) (i32.const -1))",
    "table.init": "(table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 99))",
}


@pytest.mark.part(3)
@pytest.mark.parametrize("opt_level", ["none", "speed"])
@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("trap", TRAPS)
def test_the_address_map_is_exact_for_traps_and_calls(trap: str, guarded: bool, opt_level: str) -> None:
    """A trap's frames say the offset of the very instruction, in the function that trapped and in its callers.

    `i64.const 81985529216486895` in front of each instruction marks its place in the binary.
    """
    mark = "(drop (i64.const 81985529216486895))"
    body = TRAPS[trap].replace("(local.get $zero)", "(i32.const 0)")
    # The instruction comes last in its folded form, so its offset is what comes before the next mark.
    wat = f"""(module (type $v (func)) (memory 1) (table $t 3 funcref)
      (global $g (mut i32) (i32.const 0)) (global $d (mut f64) (f64.const 0))
      (elem (table $t) (i32.const 2) func $other) (elem $passive func $other)
      (func $other (param i32))
      (func $outer (export "f") (call $inner) {mark} (call $other (i32.const 0)))
      (func $inner (call $pad) {body} {mark} (call $pad))
      (func $pad))"""
    binary = bytes(wat2wasm(wat))
    config = Config(opt_level=opt_level, signals_based_traps=guarded)
    if trap == "load and store":  # the map is of optimised code; the interpreter knows no such instruction
        config.tier = "optimized"
    store = Store(Engine(config))
    module = Module(store.engine, binary)
    with pytest.raises(Trap) as caught:
        Instance(store, module, []).exports(store)["f"](store)
    inner, outer = caught.value.frames
    assert (inner.func_name, outer.func_name) == ("inner", "outer")
    marks = [found.start() for found in re.finditer(re.escape(marker_bytes()), binary)]
    assert len(marks) == 2
    offsets = instruction_offsets(binary)
    # Both in the order of the file: outer is function 1, inner function 2.
    before_outer = max(at for at in offsets if at < marks[0])
    trapping = [at for at in offsets if before_outer < at < marks[1]]
    loads = [at for at in trapping if binary[at] in (0x28, 0x29, 0x2B)]
    if trap == "load and store" and opt_level == "speed" and guarded:
        loads = []  # one instruction of the processor does both: it is reported as the store
    # A load traps first; else it is the last instruction that is no `drop`.
    at = loads[0] if loads else [at for at in trapping if binary[at] != 0x1A][-1]
    assert outer.module_offset == before_outer
    assert inner.module_offset == at
    known = {offset for _, offset in module.address_map() or ()}
    assert {at, before_outer} <= known


def marker_bytes() -> bytes:
    binary = bytes(wat2wasm("(module (func (drop (i64.const 81985529216486895))))"))
    return binary[binary.index(b"\x42\xef") : -1]


def instruction_offsets(binary: bytes) -> list[int]:
    """Where the instructions of all bodies start, by wasm-tools."""
    from wasmjit.wasm.text import find_wasm_tools

    done = subprocess.run([str(find_wasm_tools()), "dump", "-"], input=binary, capture_output=True, check=True)
    return [
        int(found[1], 16)
        for line in done.stdout.decode().splitlines()
        if (found := re.match(r"\s*(0x[0-9a-f]+) \|(?: [0-9a-f]{2})+ +\| (?!size|\d+ local)[a-z_]+", line))
    ]


def test_the_address_map_is_ascending_and_lies_in_bodies(examples: Path, engine: Engine) -> None:
    module = Module.from_file(engine, examples / "mandelbrot.wasm")
    pairs = list(module.address_map() or ())
    offsets = [offset for offset, _ in pairs]
    assert offsets == sorted(set(offsets)) and offsets[-1] <= len(module.text)
    bodies = module._decoded.bodies
    known = [wasm for _, wasm in pairs if wasm is not None]
    assert len(known) > 500
    assert all(any(body.start <= wasm < body.end for body in bodies) for wasm in known[:200])


def test_without_address_map() -> None:
    engine = Engine(Config(opt_level="none", generate_address_map=False))
    module = Module(engine, '(module (func (export "f") nop nop unreachable))')
    assert module.address_map() is None
    store = Store(engine)
    with pytest.raises(Trap) as caught:
        exports_of(module, store)["f"](store)
    assert caught.value.frames[0].func_offset == 0
    with pytest.raises(ArtifactError, match="generate_address_map is False, expected True"):
        Module.deserialize(Engine(Config(opt_level="none")), module.serialize())


# ---- images of initial memory contents ----

LARGE = '(module (memory (export "m") 64) (data (i32.const 65530) "{}") (data (i32.const 65536) "over"))'


@pytest.fixture(scope="module")
def large(engine: Engine) -> Module:
    return Module(engine, LARGE.format("0123456789abcdef" * 40000))


def test_instances_have_their_own_copy(large: Module, engine: Engine) -> None:
    large.initialize_copy_on_write_image()
    large.initialize_copy_on_write_image()
    for _ in range(3):  # the later ones get a used mapping
        with Store(engine) as store, Store(engine) as other:
            first, second = exports_of(large, store)["m"], exports_of(large, other)["m"]
            for memory, owner in ((first, store), (second, other)):
                assert memory.read(owner, 65520, 65550) == b"\0" * 10 + b"012345over" + b"abcdef0123"
                assert memory.read(owner, 4_000_000, 4_000_010) == bytes(10)
            first.write(store, b"mine", 65536)
            first.write(store, b"mine", 4_000_000)
            assert second.read(other, 65536, 65540) == b"over"
            first.grow(store, 3)
            first.write(store, b"new", 66 * 65536)
            assert (first.data_len(store), second.data_len(other)) == (67 * 65536, 64 * 65536)


def test_reused_memories_read_as_zero_and_end_where_they_should(engine: Engine) -> None:
    small = Module(
        engine,
        """(module (memory (export "m") 1) (func (export "load") (param i32) (result i32)
      (i32.load8_u (local.get 0))))""",
    )
    for _ in range(40):
        with Store(engine) as store:
            exports = exports_of(small, store)
            memory, load = exports["m"], exports["load"]
            assert not any(memory.read(store))
            with pytest.raises(Trap, match="out of bounds"):
                load(store, 65536)
            memory.grow(store, 2)
            assert load(store, 3 * 65536 - 1) == 0
            memory.write(store, b"\xff" * (3 * 65536), 0)


def test_images_give_way_to_other_modules(large: Module, engine: Engine) -> None:
    plain = Module(engine, '(module (memory (export "m") 64))')
    for module, expected in ((large, b"over"), (plain, bytes(4))) * 3:
        with Store(engine) as store:
            assert exports_of(module, store)["m"].read(store, 65536, 65540) == expected


def test_images_are_an_option(large: Module) -> None:
    engine = Engine(Config(opt_level="none", memory_init_cow=False))
    module = Module.deserialize(engine, large.serialize())
    module.initialize_copy_on_write_image()
    assert module._load().plan.image(engine._config).__class__ is not None
    with Store(engine) as store:
        assert exports_of(module, store)["m"].read(store, 65536, 65540) == b"over"


def test_without_memfd_contents_are_copied(large: Module, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from wasmjit.runtime import plan

    class NoImages:
        def __getattr__(self, name: str) -> Any:
            return (lambda *_: plan.ffi.NULL) if name == "wj_image_new" else getattr(real, name)

    real = plan.lib
    monkeypatch.setattr(plan, "lib", NoImages())
    module = Module.deserialize(engine, large.serialize())
    module.initialize_copy_on_write_image()
    for _ in range(2):
        with Store(engine) as store:
            assert exports_of(module, store)["m"].read(store, 65530, 65540) == b"012345over"


def test_data_that_does_not_fit_still_traps(engine: Engine) -> None:
    contents = "x" * 300_000
    module = Module(engine, f'(module (memory 4) (data (i32.const 0) "{contents}"))')
    module.initialize_copy_on_write_image()
    for _ in range(3):
        with Store(engine) as store, pytest.raises(Trap, match="out of bounds memory access"):
            Instance(store, module, [])


def test_small_data_is_mapped_from_the_second_instance_on(engine: Engine) -> None:
    module = Module(engine, '(module (memory (export "m") 1) (data (i32.const 8) "hello") (data "passive"))')
    for _ in range(4):
        with Store(engine) as store:
            memory = exports_of(module, store)["m"]
            assert memory.read(store, 7, 15) == b"\0hello\0\0"
            memory.write(store, b"\xff" * 65536, 0)


# ---- copies, pickles ----


def test_copies_share_the_code(module: Module, store: Store) -> None:
    for duplicate in (copy.copy(module), copy.deepcopy(module)):
        assert duplicate is not module and duplicate.engine is module.engine
        assert duplicate.image_range() == module.image_range()
        duplicate.close()
        with pytest.raises(ClosedError):
            copy.copy(duplicate)
    assert module.name == "named"


def test_a_pickled_module_runs() -> None:
    config = Config(opt_level="none", max_wasm_stack=1 << 19)
    module = Module(Engine(config), '(module (func (export "f") (result i32) i32.const 5))')
    pickled = pickle.dumps(module)
    first, second = pickle.loads(pickled), pickle.loads(pickled)
    assert first.engine is second.engine is not module.engine
    assert first.engine._config == config
    assert first.serialize() == module.serialize()
    with Store(first.engine) as store:
        assert exports_of(second, store)["f"](store) == 5
    other = pickle.loads(pickle.dumps(Module(Engine(Config(opt_level="speed")), "(module)")))
    assert other.engine is not first.engine


def test_pickles_are_checked(module: Module) -> None:
    pickled = bytearray(pickle.dumps(module))
    at = pickled.index(b".wasmjit.header") if b".wasmjit.header" in pickled else len(pickled) // 2
    pickled[at] ^= 1
    with pytest.raises(ArtifactError):
        pickle.loads(bytes(pickled))
    with Module(module.engine, "(module)") as closed:
        pass
    with pytest.raises(ClosedError):
        pickle.dumps(closed)


def test_modules_travel_to_other_processes() -> None:
    module = Module(
        Engine(Config(opt_level="none")), '(module (func (export "f") (param i32) (result i32) local.get 0))'
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(_call_f, [(module, 3), (module, 4)]) == [(3, False), (4, False)]


def _call_f(module: Module, number: int) -> tuple[int, bool]:
    """Its result, and whether a compiler stage was imported for it."""
    with Store(module.engine) as store:
        return Instance(store, module, []).exports(store)["f"](store, number), "wasmjit.compile.pipeline" in sys.modules


# ---- the Engine's part ----


def test_detect_precompiled(module: Module) -> None:
    assert Engine.detect_precompiled(module.serialize()) == "module"
    assert Engine.detect_precompiled(bytes(module.serialize()[:200])) == "module"
    for other in (b"", wat2wasm(TEXT), b"\x7fELF" + bytes(200)):
        assert Engine.detect_precompiled(other) is None
    with pytest.raises(TypeError, match="expected bytes"):
        Engine.detect_precompiled("module")  # type: ignore[arg-type]


def test_compatibility_hash(module: Module, engine: Engine) -> None:
    found = engine.precompile_compatibility_hash()
    assert len(found) == 32
    same = Engine(Config(opt_level="none", max_wasm_stack=1 << 20))
    assert same.precompile_compatibility_hash() == found
    Module.deserialize(same, module.serialize())
    for config in (Config(), Config(opt_level="none", cpu="x86-64"), Config(opt_level="none", exact_traps=True)):
        assert Engine(config).precompile_compatibility_hash() != found


def test_same(engine: Engine) -> None:
    assert Engine.same(engine, engine)
    assert not Engine.same(engine, Engine(Config(opt_level="none")))
    with pytest.raises(TypeError, match="expected an Engine"):
        Engine.same(engine, None)  # type: ignore[arg-type]


# ---- many instances ----


def resident_kib() -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


@pytest.mark.parametrize("close", [True, False])
def test_many_instances_leave_nothing_behind(close: bool, engine: Engine) -> None:
    module = Module(
        engine,
        """(module (import "" "" (func $host)) (memory (export "m") 4) (table 20 funcref)
      (global (mut i32) (i32.const 1)) (data (i32.const 9) "hello") (elem (i32.const 0) $f)
      (func $f (export "f") (i32.store (i32.const 100000) (i32.const 1)) (call $host)))""",
    )

    def run(count: int) -> None:
        for _ in range(count):
            store = Store(engine)
            # The host function refers to its store: only the garbage collector finds that.
            host = Func(store, FuncType([], []), lambda store=store: None)
            exports = Instance(store, module, [host]).exports(store)
            exports["f"](store)
            if close:
                store.close()
        del store, host, exports
        gc.collect()

    run(300)
    before = resident_kib()
    run(1000)
    assert resident_kib() - before < 2000
