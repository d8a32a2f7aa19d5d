"""SharedMemory and Tag, as far as they go without modules that use them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.conftest import func_type


@pytest.fixture(scope="module")
def sharing(api: Any) -> Any:
    """An engine with shared memories."""
    config = api.Config()
    config.shared_memory = True
    return api.Engine(config)


def shared_type(api: Any, minimum: int = 1, maximum: int = 3) -> Any:
    return api.MemoryType(api.Limits(minimum, maximum), shared=True)


def test_a_shared_memory(api: Any, sharing: Any) -> None:
    memory = api.SharedMemory(sharing, shared_type(api))
    assert memory.data_len() == 65536
    assert (memory.type().is_shared, memory.type().limits.max) == (True, 3)
    assert memory.grow(2) == 1
    assert memory.data_len() == 3 * 65536


def test_shared_memories_need_their_option(api: Any, engine: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="shared memory support is disabled for this engine"):
        api.SharedMemory(engine, shared_type(api))


def test_growing_a_shared_memory_too_far(api: Any, sharing: Any) -> None:
    memory = api.SharedMemory(sharing, shared_type(api))
    with pytest.raises(api.WasmtimeError, match="failed to grow memory by `3`"):
        memory.grow(3)
    with pytest.raises(api.WasmtimeError, match="cannot grow by negative amount"):
        memory.grow(-1)


def test_types_that_are_not_shared(api: Any, sharing: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="must have the `shared` flag"):
        api.SharedMemory(sharing, api.MemoryType(api.Limits(1, 3)))


def test_a_shared_type_makes_no_plain_memory(api: Any, sharing: Any) -> None:
    with pytest.raises(api.WasmtimeError, match="must be created through `SharedMemory`"):
        api.Memory(api.Store(sharing), shared_type(api))


def test_the_bytes_of_a_shared_memory(api: Any, sharing: Any) -> None:
    memory = api.SharedMemory(sharing, shared_type(api))
    memory.data_ptr()[5] = 9
    assert [memory.data_ptr()[n] for n in (4, 5)] == [0, 9]


def test_a_closed_shared_memory(api: Any, sharing: Any) -> None:
    with api.SharedMemory(sharing, shared_type(api)) as memory:
        pass
    with pytest.raises(ValueError):
        memory.data_len()


def test_tag_types(api: Any) -> None:
    type = api.TagType(func_type(api, "i32 f64 ->"))
    assert [str(t) for t in type.functype.params] == ["i32", "f64"]


def test_tags(api: Any, store: Any) -> None:
    tag, other = (api.Tag(store, api.TagType(func_type(api, "i32 ->"))) for _ in range(2))
    assert isinstance(tag.type(store), api.TagType)
    assert [str(t) for t in tag.type(store).functype.params] == ["i32"]
    assert (tag.eq(store, tag), tag.eq(store, other)) == (True, False)
    assert type(tag.eq(store, tag)) is bool


@pytest.mark.parametrize("wrong", [1, None, "i32"])
def test_a_tag_needs_a_type(api: Any, store: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a TagType"):
        api.Tag(store, wrong)
