"""Module: text and binary, errors, imports and exports, serialisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BINARY = b"\0asm\x01\0\0\0"


def test_text_as_str_and_bytes(api: Any, engine: Any) -> None:
    api.Module(engine, "(module)")
    api.Module(engine, b"(module)")


def test_binary_as_bytes_and_bytearray(api: Any, engine: Any) -> None:
    api.Module(engine, BINARY)
    api.Module(engine, bytearray(BINARY))


def test_wat2wasm(api: Any) -> None:
    assert api.wat2wasm("(module)") == BINARY
    assert api.wat2wasm(b"(module)") == BINARY
    assert isinstance(api.wat2wasm("(module)"), bytearray)


@pytest.mark.parametrize("text", ["(module", "(module (func $x) (func $x))", "(modul)", "(module (func nonsense))"])
def test_wrong_text(api: Any, engine: Any, text: str) -> None:
    with pytest.raises(api.WasmtimeError):
        api.wat2wasm(text)
    with pytest.raises(api.WasmtimeError):
        api.Module(engine, text)


def test_errors_in_text_show_the_place(api: Any) -> None:
    with pytest.raises(api.WasmtimeError, match=r":2:9|line 2, column 9"):
        api.wat2wasm("(module\n  (func nonsense))")


@pytest.mark.parametrize("wasm", [b"\0", b"\0asm", b"\0asm\x01\0\0", b"\0asm\x02\0\0\0", BINARY + b"\x01", b"\0" * 20])
def test_malformed_binaries(api: Any, engine: Any, wasm: bytes) -> None:
    with pytest.raises(api.WasmtimeError):
        api.Module(engine, wasm)
    with pytest.raises(api.WasmtimeError):
        api.Module.validate(engine, wasm)


@pytest.mark.parametrize(
    "text",
    [
        "(module (func (result i32)))",
        "(module (func i32.const 1))",
        "(module (func local.get 0))",
        "(module (func call 7))",
        "(module (func (result i32) i64.const 1))",
        "(module (memory 1) (func i32.const 0 i32.load8_u align=2 drop))",
        "(module (global i32 (i64.const 0)))",
        '(module (func) (export "a" (func 0)) (export "a" (func 0)))',
        "(module (memory 2 1))",
        "(module (start 0) (func (param i32)))",
    ],
)
def test_invalid_modules(api: Any, engine: Any, text: str) -> None:
    with pytest.raises(api.WasmtimeError):
        api.Module(engine, text)


def test_validation_errors_name_the_offset(api: Any, engine: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="offset"):
        api.Module(engine, "(module (func (result i32) i64.const 1))")


def test_validate_returns_nothing(api: Any, engine: Any) -> None:
    assert api.Module.validate(engine, api.wat2wasm("(module (func))")) is None
    assert api.Module.validate(engine, bytes(BINARY)) is None


def test_validate_takes_binaries_only(api: Any, engine: Any) -> None:
    for wrong in ("(module)", 1, None):
        with pytest.raises(TypeError):
            api.Module.validate(engine, wrong)


@pytest.mark.parametrize("wrong", [1, None, 1.5, object()])
def test_wrong_kinds_of_arguments(api: Any, engine: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        api.Module(engine, wrong)
    with pytest.raises(TypeError):
        api.Module(wrong, "(module)")


def test_from_file(api: Any, engine: Any, tmp_path: Path) -> None:
    text, binary = tmp_path / "text.wat", tmp_path / "binary.wasm"
    text.write_text('(module (func (export "f")))')
    binary.write_bytes(api.wat2wasm(text.read_text()))
    for path in (text, binary, str(text), str(binary), bytes(binary)):
        assert [export.name for export in api.Module.from_file(engine, path).exports] == ["f"]


def test_from_file_without_a_file(api: Any, engine: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        api.Module.from_file(engine, tmp_path / "missing.wasm")


def test_from_file_with_something_else(api: Any, engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "wrong.wasm"
    path.write_bytes(b"\0no module")
    with pytest.raises(api.WasmtimeError):
        api.Module.from_file(engine, path)


def test_imports(api: Any, engine: Any) -> None:
    module = api.Module(
        engine,
        """(module
          (import "a" "f" (func (param i32 f64) (result i64)))
          (import "b" "g" (global (mut f32)))
          (import "" "m" (memory 1 2))
          (import "b" "" (table 3 funcref))
          (import "a" "f" (func)))""",
    )
    assert [(item.module, item.name) for item in module.imports] == [
        ("a", "f"), ("b", "g"), ("", "m"), ("b", ""), ("a", "f"),
    ]  # fmt: skip
    function, global_, memory, table, other = (item.type for item in module.imports)
    assert isinstance(function, api.FuncType) and isinstance(other, api.FuncType)
    assert [str(t) for t in function.params + function.results] == ["i32", "f64", "i64"]
    assert isinstance(global_, api.GlobalType) and global_.mutable and global_.content == api.ValType.f32()
    assert isinstance(memory, api.MemoryType) and memory.limits == api.Limits(1, 2)
    assert isinstance(table, api.TableType) and table.limits == api.Limits(3, None)
    assert table.element == api.ValType.funcref()


def test_exports(api: Any, engine: Any) -> None:
    module = api.Module(
        engine,
        """(module
          (func (export "f") (export "again") (param i32))
          (global (export "g") i64 (i64.const 1))
          (memory (export "m") 2)
          (table (export "") 1 5 externref))""",
    )
    assert [item.name for item in module.exports] == ["f", "again", "g", "m", ""]
    function, again, global_, memory, table = (item.type for item in module.exports)
    assert [str(t) for t in function.params] == [str(t) for t in again.params] == ["i32"]
    assert function.results == []
    assert (global_.mutable, global_.content) == (False, api.ValType.i64())
    assert (memory.limits.min, memory.limits.max, memory.is_64, memory.is_shared) == (2, None, False, False)
    assert (table.limits.min, table.limits.max, table.element) == (1, 5, api.ValType.externref())


def test_no_imports_no_exports(api: Any, engine: Any) -> None:
    module = api.Module(engine, "(module (func))")
    assert (module.imports, module.exports) == ([], [])


def test_item_types_outlive_the_module(api: Any, engine: Any) -> None:
    module = api.Module(engine, '(module (import "a" "f" (func (param i32))) (memory (export "m") 1))')
    imported, exported = module.imports[0], module.exports[0]
    del module
    assert (imported.module, str(imported.type.params[0]), exported.type.limits.min) == ("a", "i32", 1)


def test_names_are_unicode(api: Any, engine: Any) -> None:
    module = api.Module(engine, '(module (import "mödül" "näme" (func)) (func (export "\\e2\\82\\ac")))')
    assert (module.imports[0].module, module.imports[0].name, module.exports[0].name) == ("mödül", "näme", "€")


def test_serialize_round_trip(api: Any, engine: Any) -> None:
    module = api.Module(
        engine, '(module (func (export "f") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3))))'
    )
    encoded = module.serialize()
    assert isinstance(encoded, bytearray)
    for data in (encoded, bytes(encoded)):
        again = api.Module.deserialize(engine, data)
        store = api.Store(engine)
        assert api.Instance(store, again, []).exports(store)["f"](store, 14) == 42
    assert [item.name for item in again.exports] == ["f"]


def test_serialize_is_deterministic(api: Any, engine: Any) -> None:
    text = '(module (memory 1) (data (i32.const 0) "abc") (func (export "f") (result i32) i32.const 1))'
    assert api.Module(engine, text).serialize() == api.Module(engine, text).serialize()


def test_deserialize_file(api: Any, engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "module.cwasm"
    path.write_bytes(api.Module(engine, '(module (func (export "f") (result i64) i64.const 7))').serialize())
    store = api.Store(engine)
    assert api.Instance(store, api.Module.deserialize_file(engine, str(path)), []).exports(store)["f"](store) == 7


def test_deserialize_file_without_a_file(api: Any, engine: Any, tmp_path: Path) -> None:
    with pytest.raises(api.WasmtimeError):
        api.Module.deserialize_file(engine, str(tmp_path / "missing.cwasm"))


@pytest.mark.parametrize("data", [b"", b"\0", b"\x7fELF", BINARY, b"(module)", b"x" * 1000])
def test_deserialize_refuses_other_bytes(api: Any, engine: Any, data: bytes) -> None:
    with pytest.raises(api.WasmtimeError):
        api.Module.deserialize(engine, data)


def test_deserialize_refuses_truncated_bytes(api: Any, engine: Any) -> None:
    encoded = api.Module(engine, "(module)").serialize()
    with pytest.raises(api.WasmtimeError):
        api.Module.deserialize(engine, encoded[:64])


def test_deserialize_takes_bytes_only(api: Any, engine: Any) -> None:
    for wrong in ("text", 1, None):
        with pytest.raises(TypeError):
            api.Module.deserialize(engine, wrong)


def test_deserialize_refuses_another_configuration(api: Any, engine: Any) -> None:
    encoded = api.Module(engine, "(module (memory 1))").serialize()
    config = api.Config()
    config.signals_based_traps = False
    with pytest.raises(api.WasmtimeError):
        api.Module.deserialize(api.Engine(config), encoded)


def test_one_module_in_many_stores(api: Any, engine: Any) -> None:
    module = api.Module(
        engine,
        """(module (global $n (mut i32) (i32.const 0))
          (func (export "next") (result i32)
            (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)))""",
    )
    first, second = api.Store(engine), api.Store(engine)
    one, two = (api.Instance(store, module, []).exports(store)["next"] for store in (first, second))
    assert [one(first), one(first), two(second), one(first)] == [1, 2, 1, 3]
