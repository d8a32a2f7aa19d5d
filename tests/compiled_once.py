"""Answers of the compiler processes are kept, and given again to who asks the same: tests compile the same functions.

For tests that are not about compiling. Whatever is on this side of the processes goes on as always.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from wasmjit.compile.workers import Pending, WorkerPool

_MOST_BYTES = 64 << 20
Request = tuple[str, bytes]
Reply = tuple[dict[str, Any], bytes]


class Answers:
    """Replies by request, the latest of them."""

    def __init__(self) -> None:
        self._replies: OrderedDict[Request, Reply] = OrderedDict()
        self._bytes = 0
        self.given_again = 0

    def get(self, request: Request) -> Reply | None:
        reply = self._replies.get(request)
        self.given_again += reply is not None
        return reply

    def keep(self, request: Request, reply: Reply) -> None:
        if request not in self._replies:
            self._replies[request] = reply
            self._bytes += len(request[1]) + len(reply[1])
        while self._bytes > _MOST_BYTES:
            (_, text), (_, made) = self._replies.popitem(last=False)
            self._bytes -= len(text) + len(made)


answers = Answers()


@contextlib.contextmanager
def use() -> Iterator[None]:
    """Has this process do so."""
    begin, result = WorkerPool.begin, Pending.result

    def begin_once(pool: WorkerPool, fields: dict[str, Any], body: bytes = b"") -> Pending:
        request = (repr(sorted(fields.items())), body)
        reply = answers.get(request)
        if reply is None:
            pending = begin(pool, fields, body)
            pending.request = request  # type: ignore[attr-defined]
        else:
            pending = Pending(pool, None, {}, b"")
            pending._reply = reply
        return pending

    def result_once(pending: Pending) -> Reply:
        reply = result(pending)
        request = getattr(pending, "request", None)
        if request is not None:
            answers.keep(request, reply)
        return reply

    WorkerPool.begin = begin_once  # type: ignore[method-assign]
    Pending.result = result_once  # type: ignore[method-assign]
    try:
        yield
    finally:
        WorkerPool.begin = begin  # type: ignore[method-assign]
        Pending.result = result  # type: ignore[method-assign]
