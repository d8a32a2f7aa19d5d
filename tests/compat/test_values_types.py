"""Val, ValType and the types of items."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [("i32", 5, 5), ("i32", 2**31, -(2**31)), ("i64", 2**63, -(2**63)), ("f32", 1.5, 1.5), ("f64", 0.1, 0.1)],
)
def test_numbers(api: Any, type: str, value: Any, expected: Any) -> None:
    val = getattr(api.Val, type)(value)
    assert val.value == expected
    assert val.type == getattr(api.ValType, type)()
    others = {"i32", "i64", "f32", "f64", "externref", "funcref"} - {type}
    assert getattr(val, f"as_{type}")() == expected
    assert [getattr(val, f"as_{other}")() for other in others] == [None] * 5


@pytest.mark.parametrize(("type", "wrong"), [("i32", 1.0), ("i64", "1"), ("f32", 1), ("f64", None), ("i32", None)])
def test_wrong_numbers(api: Any, type: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a"):
        getattr(api.Val, type)(wrong)


def test_a_float_is_rounded_to_f32(api: Any) -> None:
    assert api.Val.f32(0.1).value == 0.10000000149011612


def test_references(api: Any, store: Any, host: Any) -> None:
    thing = object()
    assert api.Val.externref(thing).value is thing
    assert api.Val.externref(thing).as_externref() is thing
    assert api.Val.externref(None).value is None
    function = host("->", lambda: None)
    assert api.Val.funcref(function).as_funcref() is function
    assert api.Val.funcref(None).value is None
    assert str(api.Val.externref(1).type) == str(api.ValType.externref())
    assert api.Val.funcref(None).type == api.ValType.funcref()


def test_null_references(api: Any) -> None:
    assert api.Val.ref_null(api.ValType.externref()).type == api.ValType.externref()
    assert api.Val.ref_null(api.ValType.funcref()).value is None
    with pytest.raises(api.WasmtimeError, match="Invalid reference type"):
        api.Val.ref_null(api.ValType.i32())


def test_equality(api: Any) -> None:
    assert api.Val.i32(1) == api.Val.i32(1)
    assert api.Val.i32(1) == 1
    assert api.Val.i32(1) != api.Val.i64(1)
    assert api.Val.i32(1) != 2
    assert api.Val.f64(1.0) == 1.0


def test_value_types(api: Any) -> None:
    names = ["i32", "i64", "f32", "f64", "funcref"]
    types = [getattr(api.ValType, name)() for name in names]
    assert [str(type) for type in types] == names
    assert [repr(type) for type in types] == names
    for n, type in enumerate(types):
        assert type == getattr(api.ValType, names[n])()
        assert all(type != other for other in types[:n])
    assert api.ValType.i32() != "i32"


def test_value_types_are_not_constructed(api: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="cannot construct directly"):
        api.ValType()


def test_function_types(api: Any) -> None:
    type = api.FuncType([api.ValType.i32(), api.ValType.f64()], [api.ValType.i64()])
    assert ([str(t) for t in type.params], [str(t) for t in type.results]) == (["i32", "f64"], ["i64"])
    empty = api.FuncType([], [])
    assert (empty.params, empty.results) == ([], [])


@pytest.mark.parametrize("arguments", [([1], []), ([], ["i32"]), ([None], [None])])
def test_function_types_of_something_else(api: Any, arguments: Any) -> None:
    with pytest.raises(TypeError, match="expected ValType"):
        api.FuncType(*arguments)


def test_global_types(api: Any) -> None:
    type = api.GlobalType(api.ValType.f32(), True)
    assert (type.content, type.mutable) == (api.ValType.f32(), True)
    assert api.GlobalType(api.ValType.f32(), False).mutable is False
    with pytest.raises(TypeError):
        api.GlobalType("i32", True)


def test_limits(api: Any) -> None:
    limits = api.Limits(1, None)
    assert (limits.min, limits.max) == (1, None)
    assert limits == api.Limits(1, None) and limits != api.Limits(1, 2) and limits != api.Limits(2, None)
    assert limits != (1, None)


def test_table_types(api: Any) -> None:
    type = api.TableType(api.ValType.externref(), api.Limits(1, 9))
    assert (type.element, type.limits) == (api.ValType.externref(), api.Limits(1, 9))
    with pytest.raises(TypeError, match="expected Limits"):
        api.TableType(api.ValType.funcref(), (1, 2))
    with pytest.raises(TypeError):
        api.TableType("funcref", api.Limits(1, 2))


def test_memory_types(api: Any) -> None:
    type = api.MemoryType(api.Limits(1, None))
    assert (type.limits, type.is_64, type.is_shared) == (api.Limits(1, None), False, False)
    assert (type.page_size, type.page_size_log2) == (65536, 16)
    wide = api.MemoryType(api.Limits(1, 1 << 40), is_64=True)
    assert (wide.is_64, wide.limits.max) == (True, 1 << 40)
    assert api.MemoryType(api.Limits(1, 2), shared=True).is_shared is True
    small = api.MemoryType(api.Limits(1, 2), page_size_log2=0)
    assert (small.page_size, small.page_size_log2) == (1, 0)


@pytest.mark.parametrize("limits", [(1 << 32, None), (1, 1 << 32), (1 << 17, None)])
def test_memory_types_that_are_too_large(api: Any, limits: tuple[int, int | None]) -> None:
    with pytest.raises(api.WasmtimeError):
        api.MemoryType(api.Limits(*limits))


def test_wrong_memory_types(api: Any) -> None:
    with pytest.raises(TypeError, match="expected Limits"):
        api.MemoryType((1, 2))
    with pytest.raises(api.WasmtimeError):
        api.MemoryType(api.Limits(1, None), shared=True)
    with pytest.raises(api.WasmtimeError):
        api.MemoryType(api.Limits(1, 2), page_size_log2=5)
    with pytest.raises(api.WasmtimeError):
        api.MemoryType(api.Limits(2, 1))


# ---- references through wasm ----

REFERENCES = """(module
  (table $t (export "t") 4 externref)
  (func (export "same") (param externref) (result externref) local.get 0)
  (func (export "null") (param externref) (result i32) (ref.is_null (local.get 0)))
  (func (export "keep") (param i32 externref) (table.set $t (local.get 0) (local.get 1)))
  (func (export "kept") (param i32) (result externref) (table.get $t (local.get 0)))
  (func (export "f_same") (param funcref) (result funcref) local.get 0)
  (func (export "f_null") (param funcref) (result i32) (ref.is_null (local.get 0))))"""


@pytest.mark.parametrize("value", ["text", 5, 1.5, [], {}, False, 0, ()], ids=repr)
def test_any_object_is_an_externref(instantiate: Any, store: Any, value: Any) -> None:
    exports = instantiate(REFERENCES)
    assert exports["same"](store, value) is value
    assert exports["null"](store, value) == 0


def test_none_is_the_null_externref(api: Any, instantiate: Any, store: Any) -> None:
    exports = instantiate(REFERENCES)
    assert exports["same"](store, None) is None
    assert exports["null"](store, None) == 1
    assert exports["null"](store, api.Val.externref(None)) == 1


def test_externrefs_stay_alive_in_wasm(instantiate: Any, store: Any) -> None:
    exports = instantiate(REFERENCES)

    class Thing:
        pass

    exports["keep"](store, 1, Thing())
    store.gc()
    assert isinstance(exports["kept"](store, 1), Thing)
    assert isinstance(exports["t"].get(store, 1), Thing)


def test_externrefs_are_let_go(instantiate: Any, store: Any) -> None:
    import gc
    import weakref

    class Thing:
        pass

    exports = instantiate(REFERENCES)
    thing = Thing()
    seen = weakref.ref(thing)
    exports["keep"](store, 1, thing)
    del thing
    exports["keep"](store, 1, None)
    store.gc()
    gc.collect()
    assert seen() is None


def test_funcrefs(instantiate: Any, store: Any, host: Any) -> None:
    exports = instantiate(REFERENCES)
    assert exports["f_same"](store, host("-> i32", lambda: 3))(store) == 3
    assert exports["f_same"](store, None) is None
    assert (exports["f_null"](store, None), exports["f_null"](store, exports["same"])) == (1, 0)


def test_funcrefs_are_functions(instantiate: Any, store: Any) -> None:
    exports = instantiate(REFERENCES)
    for wrong in (1, "x", lambda: None):
        with pytest.raises(TypeError, match="don't know how to convert"):
            exports["f_null"](store, wrong)


def test_references_in_host_functions(instantiate: Any, store: Any, host: Any) -> None:
    seen: list[Any] = []

    def f(thing: Any, function: Any) -> Any:
        seen.append((thing, function(store)))
        return [thing]

    go = instantiate(
        """(module (import "" "f" (func $f (param externref funcref) (result externref)))
             (func $two (export "two") (result i32) i32.const 2)
             (func (export "go") (param externref) (result externref) (call $f (local.get 0) (ref.func $two))))""",
        host("externref funcref -> externref", f),
    )["go"]
    assert go(store, "thing") == ["thing"]
    assert seen == [("thing", 2)]
