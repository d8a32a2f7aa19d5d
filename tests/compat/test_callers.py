"""What a host function's Caller is, however it is reached: the same as in the wasmtime package."""

from __future__ import annotations

from typing import Any

import pytest

import wasmjit

wasmtime = pytest.importorskip("wasmtime")

NAMED = '(global (export "name") i32 (i32.const {}))'
FIRST = """(module (import "" "f" (func $f)) (global (export "name") i32 (i32.const 1)) (export "again" (func $f))
  (table (export "t") 4 funcref) (elem (i32.const 0) $f) (elem declare func $f)
  (func (export "call") call $f) (func (export "indirect") (call_indirect (i32.const 0)))
  (func (export "tail") return_call $f) (func (export "tail_indirect") (return_call_indirect (i32.const 0)))
  (func (export "ref") (result funcref) ref.func $f))"""
SECOND = """(module (import "" "f" (func $f)) (import "" "g" (func $g)) (import "" "t" (table 4 funcref))
  (global (export "name") i32 (i32.const 2))
  (func (export "call") call $f) (func (export "call_g") call $g) (func (export "both") call $f call $g call $f)
  (func (export "tail_g") return_call $g) (func (export "indirect") (call_indirect (i32.const 0))))"""
START = '(module (import "" "f" (func $f)) (global (export "name") i32 (i32.const {})) {})'
REACTOR = """(module (import "" "h" (func $h)) (global (export "name") i32 (i32.const 7))
  (export "_initialize" (func $h)) (export "go" (func $h)))"""


class Observer:
    """Calls host functions in all ways; `seen` has what each way's Callers are: the instance's number, or None."""

    def __init__(self, api: Any, engine: Any) -> None:
        self.api, self.engine = api, engine
        self.store = api.Store(engine)
        self.callers: list[Any] = []
        self.seen: dict[str, list[Any]] = {}
        self.host = self.new_host(lambda caller: self.note(caller))

    def new_host(self, function: Any) -> Any:
        return self.api.Func(self.store, self.api.FuncType([], []), function, access_caller=True)

    def note(self, caller: Any) -> None:
        found = caller.get("name")
        self.callers.append(None if found is None else found.value(caller))

    def done(self, way: str) -> None:
        assert way not in self.seen
        self.seen[way], self.callers = self.callers, []

    def exports(self, text: str, *imports: Any) -> Any:
        module = self.api.Module(self.engine, text)
        return self.api.Instance(self.store, module, list(imports)).exports(self.store)

    def calls(self) -> None:
        store, host = self.store, self.host
        host(store)
        self.done("directly")
        first = self.exports(FIRST, host)
        for name in ("again", "call", "indirect", "tail", "tail_indirect"):
            first[name](store)
            self.done(f"first.{name}")
        first["ref"](store)(store)
        first["t"].get(store, 0)(store)
        self.done("references")
        for imported in ("again", "call", "indirect", "tail", "tail_indirect"):
            second = self.exports(SECOND, first["again"], first[imported], first["t"])
            for name in ("call", "call_g", "both", "tail_g", "indirect"):
                second[name](store)
                self.done(f"second({imported}).{name}")
        for name in ("call", "tail", "again"):
            self.exports(START.format(4, "(start $f)"), first[name])
            self.done(f"start is another's {name}")

        def nest(caller: Any) -> None:
            self.note(caller)
            host(caller)
            first["call"](caller)
            host(caller)
            self.note(caller)

        nested = self.new_host(nest)
        self.exports(START.format(8, '(func (export "go") call $f call $f)'), nested)["go"](store)
        self.exports(START.format(9, "(start $f)"), nested)
        host(store)
        self.done("nested")

    def starts(self) -> None:
        for what in ("(start $f)", "(func $s call $f) (start $s)", "(func $s return_call $f) (start $s)"):
            self.exports(START.format(3, what), self.host)
            self.done(what)
        linker = self.api.Linker(self.engine)
        linker.define(self.store, "", "f", self.host)
        linker.define_func("", "h", self.api.FuncType([], []), self.note, access_caller=True)
        for name in "fh":
            text = START.format(5, "(start $f)").replace('"f"', f'"{name}"')
            linker.instantiate(self.store, self.api.Module(self.engine, text))
            self.done(f"linker: {name}")
        linker.define_module(self.store, "r", self.api.Module(self.engine, REACTOR))
        self.done("reactor")
        linker.get(self.store, "r", "go")(self.store)
        self.done("from a reactor")


def observe(api: Any, engine: Any) -> dict[str, list[Any]]:
    observer = Observer(api, engine)
    observer.calls()
    observer.starts()
    return observer.seen


@pytest.mark.parametrize(
    "options", [{}, {"tier": "auto"}, {"tier": "baseline"}, {"signals_based_traps": False}], ids=str
)
def test_callers_are_those_of_the_wasmtime_package(options: dict[str, Any]) -> None:
    config = wasmtime.Config()
    config.wasm_tail_call = True
    expected = observe(wasmtime, wasmtime.Engine(config))
    assert observe(wasmjit, wasmjit.Engine(wasmjit.Config(**options))) == expected
    assert expected["(start $f)"] == [3] and expected["directly"] == [None]
