from __future__ import annotations

import pytest

from wasmjit import ClosedError, Engine, FuncType, Store, Tag, TagType, ValType, WasmError

I32 = ValType.i32()


def test_tag_type() -> None:
    payload = FuncType([I32, ValType.f64()], [])
    assert TagType(payload).functype == payload
    assert TagType(payload) == TagType(payload) and hash(TagType(payload)) == hash(TagType(payload))
    assert TagType(payload) != TagType(FuncType([], [])) and TagType(payload) != payload
    with pytest.raises(TypeError, match="expected a FuncType"):
        TagType(I32)  # type: ignore[arg-type]
    with TagType(payload) as closed:
        pass
    with pytest.raises(ClosedError):
        closed.functype  # noqa: B018
    assert payload.params == [I32, ValType.f64()]  # still usable


def test_tags_are_equal_to_themselves_only(store: Store) -> None:
    type = TagType(FuncType([I32], []))
    one, two = Tag(store, type), Tag(store, type)
    assert one.type(store) == two.type(store) == type
    assert one.eq(store, one) and not one.eq(store, two)


def test_errors(engine: Engine, store: Store) -> None:
    type = TagType(FuncType([], []))
    tag = Tag(store, type)
    with pytest.raises(WasmError, match="has no results"):
        Tag(store, TagType(FuncType([], [I32])))
    with pytest.raises(TypeError, match="expected a TagType"):
        Tag(store, FuncType([], []))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Tag"):
        tag.eq(store, type)  # type: ignore[arg-type]
    with Store(engine) as other:
        foreign = Tag(other, type)
        for use in (lambda: tag.type(other), lambda: tag.eq(store, foreign), lambda: tag.eq(other, foreign)):
            with pytest.raises(WasmError, match="tag belongs to another Store"):
                use()
    store.close()
    for use in (lambda: tag.type(store), lambda: tag.eq(store, tag), lambda: Tag(store, type)):
        with pytest.raises(ClosedError):
            use()
