"""The optimiser's process: compiles one module after the other for its parent, and what that leaves behind.

It runs no wasm, and the C runtime is not loaded here.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Sequence
from typing import Any

from .. import processes
from ..cache import take_background_turn
from ..compile.pipeline import CompiledUnit
from ..compile.wire import read_message, write_message
from ..compile.workers import pool
from ..config import Config
from ..driver.build import build
from ..driver.build import turn as turn_of
from ..driver.trampoline_code import TrampolineCode
from . import background, messages


class _Requests:
    """What is to be made, and what our parent answers, read by a thread; replies to it."""

    def __init__(self, legacy: int | None, turn: int | None) -> None:
        self._requests = os.fdopen(os.dup(0), "rb", buffering=0)
        self._replies = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._legacy = legacy
        self._turn = turn
        # None: there will be no more.
        self.jobs: queue.SimpleQueue[tuple[dict[str, Any], bytes] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[list[int] | None] = queue.SimpleQueue()
        self.is_alone = threading.Event()

    def receive(self) -> None:
        """Reads what our parent writes."""
        try:
            while (message := read_message(self._requests)) is not None:
                if "config" in message[0]:
                    self.jobs.put(message)
                else:
                    self._answers.put(message[0]["weights"])
        except BaseException:  # our parent would wait forever for a process that does not hear it
            _end()

    def go_on(self) -> None:
        """The parent is gone: what it left behind is to be made, if it left something, and it is our turn."""
        left = None if self._legacy is None else background.read_legacy(self._legacy)
        if left is None:
            return _end()
        held = take_background_turn() if self._turn is None else self._turn
        if held is None:
            return _end()
        try:
            pool().go_alone()
            background.keep_within(left[0], held)
        except BaseException:
            return _end()  # without bounds it must not
        self.is_alone.set()
        for message in left[1]:
            self.jobs.put(message)
        self.jobs.put(None)
        self._answers.put(None)

    def reply(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """Says something to our parent, if there is one."""
        if self.is_alone.is_set():
            return
        with contextlib.suppress(OSError, ValueError):  # our parent may have ended
            write_message(self._replies, fields, body)

    # As a `Schedule`: asks our parent which unit is next, and hands over what is made.

    def choose(self, remaining: Sequence[range]) -> int:
        """Which unit is used most."""
        self.reply({"choose": [[unit.start, unit.stop] for unit in remaining]})
        weights = self._answers.get()
        if weights is None:
            self._answers.put(None)
            return 0
        return max(range(len(remaining)), key=weights.__getitem__)

    def made(self, unit: CompiledUnit) -> None:
        """Hands over a unit."""
        if not unit.is_left:
            self.reply({"unit": [unit.first_function, unit.count], "seconds": unit.seconds}, unit.object)


def _end() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)  # the session is our own: this process and its workers


def serve(parent: processes.Parent, legacy: int | None, turn: int | None, size: int | None) -> None:
    """The optimiser's main function: answers requests on stdin. When its parent has ended, it and its workers do, too.

    It goes on, alone and within a budget, with what the parent left behind at a normal end (tiers/background.py).
    """
    if os.getpgrp() != os.getpid():
        raise SystemExit("the optimiser has to be started in a session of its own")
    for limit in (signal.SIGXCPU, signal.SIGALRM):  # what ends it when it goes on alone
        signal.signal(limit, signal.SIG_DFL)
    if size is not None:
        pool().size = size
    requests = _Requests(legacy, turn)
    if turn is None:
        processes.start_thread(requests.receive)
        parent.watch(requests.go_on)
    else:
        requests.go_on()
    trampolines: dict[str, TrampolineCode] = {}
    while (job := requests.jobs.get()) is not None:
        fields, wasm = job
        try:
            config = Config(**fields["config"])
            code = trampolines.setdefault(config.cache_key(), TrampolineCode(config))
            with contextlib.nullcontext() if requests.is_alone.is_set() else turn_of(config, wasm):
                (artifact,) = build(config, [wasm], code, schedule=requests)
                contents = artifact.to_bytes()
        except Exception as error:
            requests.reply({"error": messages.reason(error), "kind": messages.kind_of(error)})
        else:
            requests.reply({}, contents)
    _end()
