"""What host functions raise, on its way through wasm."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.asynchronous.program import NOTHING
from wasmjit import Func, Store, Trap


class OwnError(Exception):
    pass


@pytest.mark.parametrize("kind", [OwnError, KeyError, asyncio.TimeoutError])
def test_a_coroutine_s_exception_passes_through_the_wasm(
    store: Store, exports_with: Callable[..., Any], kind: type[Exception]
) -> None:
    raised: list[Exception] = []

    async def fails(n: int) -> int:
        await asyncio.sleep(0)
        try:
            raise LookupError("the cause")
        except LookupError as cause:
            raised.append(kind("mine"))
            raise raised[0] from cause

    exports = exports_with(fails)
    with pytest.raises(kind, match="mine") as caught:
        asyncio.run(exports["run"].call_async(store, 1))
    assert caught.value is raised[0]
    assert isinstance(caught.value.__cause__, LookupError)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("call_async") < names.index("fails")
    assert names.count("fails") == 1
    assert exports["add"](store, 1, 1) == 2


def test_a_plain_host_function_s_exception(store: Store) -> None:
    def fails() -> None:
        raise OwnError("mine")

    with pytest.raises(OwnError, match="mine") as caught:
        asyncio.run(Func(store, NOTHING, fails).call_async(store))
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_exceptions_that_are_no_errors(
    store: Store, exports_with: Callable[..., Any], kind: type[BaseException]
) -> None:
    async def stops(n: int) -> int:
        raise kind(3)

    exports = exports_with(stops)

    async def main() -> None:
        await exports["run"].call_async(store, 1)

    with pytest.raises(kind) as caught:
        asyncio.run(main())
    assert caught.value.args == (3,)


def test_an_exception_passes_nested_calls(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        if n == 0:
            raise OwnError("at the bottom")
        return await exports["run"].call_async(store, n - 1)

    exports = exports_with(get)
    with pytest.raises(OwnError, match="at the bottom"):
        asyncio.run(exports["run"].call_async(store, 5))


def test_a_coroutine_handles_the_failure_of_a_nested_call(store: Store, exports_with: Callable[..., Any]) -> None:
    async def get(n: int) -> int:
        try:
            await exports["trap"].call_async(store)
        except Trap:
            return 10
        return 0

    exports = exports_with(get)
    assert asyncio.run(exports["run"].call_async(store, 5)) == 11
