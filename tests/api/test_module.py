from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wasmjit
from wasmjit import (
    ArtifactError,
    ClosedError,
    CompileProgress,
    Config,
    Engine,
    Instance,
    MalformedError,
    Module,
    Store,
    UnsupportedError,
    ValidationError,
    WasmError,
    wat2wasm,
)
from wasmjit.driver import build as driver

TEXT = """(module $named (import "a" "b" (func $i (param i32))) (memory (export "m") 1) (data (i32.const 3) "hello")
(func $f (export "f") (param i32) (result i32) local.get 0 i32.const 2 i32.mul))"""


def test_binary_and_text_make_the_same_module(engine: Engine) -> None:
    binary = wat2wasm(TEXT)
    artifacts = {
        bytes(Module(engine, source).serialize())
        for source in (TEXT, TEXT.encode(), binary, bytes(binary), memoryview(binary))
    }
    assert len(artifacts) == 1


def test_wat2wasm() -> None:
    assert wat2wasm("(module)") == bytearray(b"\0asm\1\0\0\0")
    assert wat2wasm(b"(module)") == wat2wasm("(module)")
    with pytest.raises(WasmError, match="line 2, column 3"):
        wat2wasm("(module\n (foo))")
    with pytest.raises(TypeError):
        wat2wasm(3)  # type: ignore[arg-type]


def test_wrong_arguments(engine: Engine) -> None:
    for wrong in (3, None, "", ["(module)"]):
        with pytest.raises(TypeError, match="expected wasm bytes"):
            Module(engine, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Engine"):
        Module("engine", "(module)")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an Engine"):
        Module.validate(None, b"")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (b"", MalformedError, "offset 0x0"),
        (b"\0asm\1\0\0\0\xff", MalformedError, "offset 0x8"),
        (b"\0as", MalformedError, "offset"),
        ("(module", MalformedError, "line 1"),
        ("(module (func i32.add))", ValidationError, "function 0, offset 0x17"),
        ("(module (func $f (result i32) f32.const 0))", ValidationError, "function 0"),
    ],
)
def test_bad_modules(engine: Engine, source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Module(engine, source)


def test_features_of_the_config_count() -> None:
    engine = Engine(Config(wasm_bulk_memory=False))
    with pytest.raises(UnsupportedError, match="off in the Config"):
        Module(engine, '(module (memory 1) (data "passive"))')


def test_validate(engine: Engine) -> None:
    Module.validate(engine, wat2wasm(TEXT))
    Module.validate(engine, bytes(wat2wasm(TEXT)))
    with pytest.raises(WasmError, match="magic header"):
        Module.validate(engine, TEXT.encode())
    with pytest.raises(WasmError, match="type mismatch"):
        Module.validate(engine, wat2wasm("(module (func i32.add))"))
    with pytest.raises(TypeError, match="expected wasm bytes"):
        Module.validate(engine, TEXT)  # type: ignore[arg-type]


def test_from_file(engine: Engine, tmp_path: Path) -> None:
    text, binary, broken = tmp_path / "m.wat", tmp_path / "m.wasm", tmp_path / "broken.wasm"
    text.write_text(TEXT)
    binary.write_bytes(wat2wasm(TEXT))
    broken.write_bytes(wat2wasm(TEXT)[:-3])
    for path in (text, binary, str(binary), os.fsencode(binary)):
        assert Module.from_file(engine, path).name == "named"
    with pytest.raises(MalformedError, match=r"broken.wasm.*offset"):
        Module.from_file(engine, broken)
    with pytest.raises(FileNotFoundError):
        Module.from_file(engine, tmp_path / "missing")


def test_properties(engine: Engine) -> None:
    module = Module(engine, TEXT)
    assert module.name == "named"
    assert Module(engine, "(module)").name is None
    assert [item.name for item in module.exports] == ["m", "f"]
    assert [(item.module, item.name) for item in module.imports] == [("a", "b")]
    assert repr(module) == "<Module named>"


def test_imports_are_not_deduplicated(engine: Engine) -> None:
    module = Module(engine, '(module (import "a" "b" (func)) (import "a" "b" (func)) (import "a" "b" (memory 1)))')
    assert [item.name for item in module.imports] == ["b", "b", "b"]


def test_serialize_and_deserialize(engine: Engine, tmp_path: Path, store: Store) -> None:
    module = Module(engine, TEXT)
    artifact = module.serialize()
    assert isinstance(artifact, bytearray)
    assert artifact == Module(engine, TEXT).serialize()
    path = tmp_path / "m.cwasm"
    path.write_bytes(artifact)
    for again in (
        Module.deserialize(engine, artifact),
        Module.deserialize(engine, bytes(artifact)),
        Module.deserialize_file(engine, str(path)),
        Module.deserialize_file(engine, path),
    ):
        assert again.serialize() == artifact
        assert (again.name, len(again.imports)) == ("named", 1)
        host = wasmjit.Func(store, wasmjit.FuncType([wasmjit.ValType.i32()], []), lambda number: None)
        exports = Instance(store, again, [host]).exports(store)
        assert exports["f"](store, 21) == 42
        assert exports["m"].read(store, 3, 8) == b"hello"


def test_deserialize_refuses(engine: Engine, tmp_path: Path) -> None:
    artifact = Module(engine, TEXT).serialize()
    with pytest.raises(TypeError, match="expected bytes"):
        Module.deserialize(engine, "text")  # type: ignore[arg-type]
    for wrong in (b"", b"abc", bytes(wat2wasm(TEXT)), artifact[:-1], artifact[: len(artifact) // 2]):
        with pytest.raises(ArtifactError):
            Module.deserialize(engine, wrong)
    with pytest.raises(WasmError, match=r"missing\.cwasm"):
        Module.deserialize_file(engine, tmp_path / "missing.cwasm")
    with pytest.raises(WasmError, match=r"use Module\.deserialize"):
        Module(engine, artifact)
    with pytest.raises(ArtifactError, match="opt_level is none, expected speed"):
        Module.deserialize(Engine(), artifact)
    with pytest.raises(ArtifactError, match="memory is guarded"):
        Module.deserialize(Engine(Config(opt_level="none", signals_based_traps=False)), artifact)


def test_deserialization_imports_no_compiler_stage(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "m.cwasm"
    path.write_bytes(Module(engine, '(module (func (export "f") (result i32) i32.const 5))').serialize())
    program = f"""
import sys, wasmjit
store = wasmjit.Store(wasmjit.Engine(wasmjit.Config(opt_level="none")))
module = wasmjit.Module.deserialize_file(store.engine, {str(path)!r})
print(wasmjit.Instance(store, module, []).exports(store)["f"](store))
stages = ("wasmjit.compile", "wasmjit.wasm.decode", "wasmjit.wasm.validate", "wasmjit.wasm.text", "llvmlite")
print([name for name in sys.modules if name.startswith(stages)])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "5\n[]\n", done.stderr


def test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(tier="optimized", opt_level="none", cache=str(tmp_path / "cache"))
    first = Module(Engine(config), TEXT).serialize()
    assert len(list((tmp_path / "cache").iterdir())) == 1

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(driver, "_compile", refuse)
    assert Module(Engine(config), wat2wasm(TEXT)).serialize() == first
    for opt_level, cache in (("speed", config.cache), ("none", False)):
        other = Config(tier="optimized", opt_level=opt_level)
        other.cache = cache
        with pytest.raises(AssertionError, match="compiled again"):
            Module(Engine(other), TEXT)
    with pytest.raises(AssertionError, match="compiled again"):
        Module(Engine(config), TEXT.replace("hello", "hallo"))


def test_close(engine: Engine) -> None:
    with Module(engine, TEXT) as module:
        pass
    module.close()
    for use in (
        lambda: module.imports,
        lambda: module.name,
        module.serialize,
        lambda: Instance(Store(engine), module, []),
    ):
        with pytest.raises(ClosedError, match="module is closed"):
            use()


def test_code_is_unloaded_with_its_last_user(engine: Engine) -> None:
    from wasmjit.runtime import code

    gc.collect()
    before = len(code._live)
    store = Store(engine)
    module = Module(engine, TEXT.replace("named", "unloaded"))
    host = wasmjit.Func(store, wasmjit.FuncType([wasmjit.ValType.i32()], []), lambda number: None)
    Instance(store, module, [host])
    assert len(code._live) == before + 1
    del module
    assert len(code._live) == before + 1
    store.close()
    assert len(code._live) == before


def test_progress_is_told_after_each_unit() -> None:
    functions = 40
    big = "(i32.store (i32.const 0) (i32.const 1))" * 800
    text = f"(module (memory 1) {f'(func {big})' * functions})"
    seen: list[CompileProgress] = []
    Module(Engine(Config(opt_level="none")), text, progress=seen.append)
    assert len(seen) == seen[-1].units_total > 1
    assert [p.units_done for p in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].functions_done == seen[-1].functions_total == functions
    assert sorted(p.functions_done for p in seen) == [p.functions_done for p in seen]


def test_what_progress_raises_ends_the_compilation() -> None:
    class Enough(BaseException):
        pass

    def stop(progress: CompileProgress) -> None:
        raise Enough

    with pytest.raises(Enough):
        Module(Engine(Config(tier="optimized")), "(module (func))", progress=stop)
    assert Module(Engine(), "(module (func))").exports == []
