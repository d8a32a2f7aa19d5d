"""A kernel in one package, executed again and again in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Program:
    """A module of a package with the API of `wasmtime`, and what it is given."""

    def __init__(
        self,
        api: Any,
        engine: Any,
        module: Any,
        arguments: Sequence[str],
        output: Path,
        prepare: Callable[[Any], None] = lambda store: None,
    ) -> None:
        """`prepare`: what is done with each store first."""
        self._api = api
        self._engine = engine
        self._module = module
        self._arguments = list(arguments)
        self._output = output
        self._prepare = prepare

    def execute(self, clock: Callable[[], float]) -> float:
        """Seconds of one execution of `_start` in a new store, by this clock."""
        store = self._api.Store(self._engine)
        self._prepare(store)
        wasi = self._api.WasiConfig()
        wasi.argv = self._arguments
        wasi.stdout_file = str(self._output)
        store.set_wasi(wasi)
        linker = self._api.Linker(self._engine)
        linker.define_wasi()
        start = linker.instantiate(store, self._module).exports(store)["_start"]
        started = clock()
        start(store)
        return clock() - started

    def output(self) -> bytes:
        """What it printed last."""
        return self._output.read_bytes()
