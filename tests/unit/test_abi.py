"""The contract between generated code, the C runtime and Python: its hash covers all of it."""

from __future__ import annotations

from typing import Any

import pytest

from wasmjit import abi, artifact

# No facts of their own: others follow from them, or they from others.
NO_FACTS = {"TYPE_CHECKING", "POINTER_BYTES", "PAIR", "BUILTIN_INDEX", "BOUNDARY_INDEX"}
FACTS = sorted(
    name for name, value in vars(abi).items() if name.isupper() and not name.startswith("_") and name not in NO_FACTS
)


def changed(value: Any) -> Any:
    """A value of the same kind that is another one."""
    if isinstance(value, dict):
        name, first = next(iter(value.items()))
        return {**value, name: changed(first)}
    if isinstance(value, tuple):
        return value[:-1]
    return value + "x" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", FACTS)
def test_the_hash_covers_every_fact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact.abi_hash.cache_clear()
    before = artifact.abi_hash()
    monkeypatch.setattr(abi, name, changed(getattr(abi, name)))
    try:
        artifact.abi_hash.cache_clear()
        assert artifact.abi_hash() != before
    finally:
        monkeypatch.undo()
        artifact.abi_hash.cache_clear()


def test_masks_of_table_indices() -> None:
    """All that the mask lets through is below the next power of two, which the runtime keeps room for."""
    for elements in (0, 1, 2, 3, 4, 5, 511, 512, 513, abi.MAX_TABLE_ELEMENTS):
        mask = abi.table_mask(elements)
        assert mask & mask + 1 == 0 and elements <= mask + 1 and (mask == 0 or elements > (mask + 1) // 2)
