"""Random modules that share functions of recursive types: through tables, globals, imports and Python's hands.

    python -m tests.fuzz.type_worlds [--count N] [--seed S]

A world has a few recursion groups, and three modules, each of which writes some of them: in another order, twice, alone
in a group of their own, made final, or with one more type behind. The modules hand each other their functions; random
expressions call what they get by index and by reference. All of it is done in each tier, also from `.cwasm`, beside
the wasmtime package. Prints each disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import wasmtime

import wasmjit

MODULES = 3
MOST_GROUPS, MOST_MEMBERS = 4, 3
FUNCTIONS = 6  # of random expressions, a module
DEPTH = 4
LINKS = 6  # modules that import one thing
CONFIGS: dict[str, dict[str, Any]] = {
    "auto": {"tier": "auto"},
    "none": {"tier": "optimized", "opt_level": "none"},
    "baseline": {"tier": "baseline"},
    "explicit": {"tier": "optimized", "signals_based_traps": False},
}


@dataclass(frozen=True)
class Ref:
    """A reference to the functions of a type: the member of a group; None: to any function."""

    type: tuple[int, int] | None
    nullable: bool = True


@dataclass
class Type:
    """One type; all have the result i32 in front."""

    is_final: bool
    supertype: tuple[int, int] | None
    params: list[Ref | None]  # None: an i32
    results: list[Ref]


Group = list[Type]


def _groups(rng: random.Random) -> list[Group]:
    groups: list[Group] = []
    for number in range(rng.randrange(2, MOST_GROUPS + 1)):
        count = rng.randrange(1, MOST_MEMBERS + 1)
        made: Group = []
        groups.append(made)
        for position in range(count):
            before = [(g, m) for g, group in enumerate(groups) for m in range(len(group)) if not group[m].is_final]
            reachable = [(g, m) for g in range(number) for m in range(len(groups[g]))]
            reachable += [(number, m) for m in range(count)] if rng.random() < 0.6 else [(number, position)]
            if before and rng.random() < 0.6:
                above = rng.choice(before)
                parent = groups[above[0]][above[1]]
                results = [
                    Ref(above, r.nullable) if r.type is None and rng.random() < 0.3 else r for r in parent.results
                ]
                results = [Ref(r.type, nullable=False) if rng.random() < 0.2 else r for r in results]
                params = [Ref(None) if p is not None and rng.random() < 0.2 else p for p in parent.params]
                made.append(Type(rng.random() < 0.3, above, params, results))
                continue
            params = [
                None if rng.random() < 0.5 else Ref(rng.choice([*reachable, None]), rng.random() < 0.7)
                for _ in range(rng.randrange(3))
            ]
            results = [
                Ref(rng.choice([*reachable, None]), rng.random() < 0.7) for _ in range(max(0, rng.randrange(-2, 2)))
            ]
            made.append(Type(rng.random() < 0.4, None, params, results))
    return groups


class Written:
    """A module: text of the types and of all that has them."""

    def __init__(self, rng: random.Random, groups: list[Group], number: int, imports: list[Written]) -> None:
        self.rng = rng
        self.groups = groups
        self.names: list[str] = []  # of types, by index
        self.of: dict[str, Type] = {}
        self.above: dict[str, str | None] = {}
        self.places: dict[tuple[int, int], str] = {}  # the latest copy
        self.params: dict[str, list[str]] = {}
        self.results: dict[str, list[str]] = {}
        self.number = number
        self.table_type = ""  # of the second table's references, once it is known
        types = self._types()
        self.names = self.names[:10]
        self.functions: list[tuple[str, str]] = []  # name, type
        head: list[str] = []
        again: list[str] = []  # exports of what is imported
        self.imported: list[tuple[int, str]] = []
        for other in imports:
            for name, _ in rng.sample(other.functions, min(3, len(other.functions))):
                # Under a type that may fit or not: such a module is refused, and then made without imports.
                wanted = rng.choice(self.names)
                own = f"i{len(self.imported)}"
                head.append(f'(import "{other.number}" "{name}" (func ${own} (type ${wanted})))')
                self.imported.append((other.number, name))
                self.functions.append((own, wanted))
                again.append(f'(export "{own}" (func ${own}))')
        body = []
        for name in self.names:
            self.functions.append((f"f{name}", name))
        for position, name in enumerate(self.names):
            body.append(
                f'(func $f{name} (export "f{name}") (type ${name}) '
                f"(i32.const {100 * (number + 1) + position}) {self._values(self.results[name], 1)})"
            )
        self.table_type = rng.choice(self.names)
        fitting = [f for f, t in self.functions if self.is_below(t, self.table_type)]
        self.types = " ".join(types)
        count = len(self.functions)
        body += [
            f'(table $t (export "t") {count + 2} funcref)',
            f"(elem (table $t) (i32.const 0) func {' '.join('$' + f for f, _ in self.functions)})",
            f'(table $u (export "u") {len(fitting) + 1} (ref null ${self.table_type}))',
            f"(elem (table $u) (i32.const 0) (ref null ${self.table_type}) "
            f"{' '.join(f'(ref.func ${f})' for f in fitting)})",
            f'(global $g (export "g") (ref null ${self.table_type}) (ref.func ${fitting[0]}))',
            f'(global $h (export "h") (mut (ref null ${self.table_type})) (global.get $g))',
            '(global $k (export "k") funcref (global.get $g))',
        ]
        for name in self.names:
            for kind, tail in (("c", ""), ("r", "return_")):
                tail_results = self.results[name] if tail else []
                drops = "" if tail else "(drop)" * len(self.results[name])
                result = " ".join(f"(result {t})" for t in ["i32", *tail_results])
                arguments = self._values(self.params[name], 2)
                body.append(
                    f'(func (export "{kind}{name}") (param i32) {result} '
                    f"{arguments} (local.get 0) ({tail}call_indirect $t (type ${name})) {drops})"
                )
                body.append(
                    f'(func (export "{kind}u{name}") (param i32) {result} '
                    f"{arguments} (local.get 0) ({tail}call_indirect $u (type ${name})) {drops})"
                )
                body.append(
                    f'(func (export "{kind}r{name}") (param i32) {result} '
                    f"{arguments} {self._reference(f'(ref null ${name})', 2)} ({tail}call_ref ${name}) {drops})"
                )
        for position in range(FUNCTIONS):
            body.append(f'(func (export "e{position}") (param i32) (result i32) (local i32) {self._number(DEPTH)})')
        self.text = f"(module {' '.join([*types, *head, *again, *body])})"

    # ---- types ----

    def _types(self) -> list[str]:
        rng = self.rng
        order = list(range(len(self.groups)))
        for _ in range(rng.randrange(3)):
            order.append(rng.choice(order))
        written: list[str] = []
        for number in order if rng.random() < 0.7 else self._sorted(order):
            if any(dep not in [g for g, _ in self.places] for dep in self._needed(number)):
                continue
            group = self.groups[number]
            copy = f"{number}_{len(written)}_"
            local = {(number, m): f"{copy}{m}" for m in range(len(group))}
            change = rng.random()
            flip = rng.randrange(len(group)) if change < 0.1 else -1
            members = []
            for position, type in enumerate(group):
                name = local[number, position]
                places = self.places | local
                self.names.append(name)
                self.above[name] = places[type.supertype] if type.supertype is not None else None
                self.params[name] = ["i32" if p is None else self._ref(p, places) for p in type.params]
                self.results[name] = [self._ref(r, places) for r in type.results]
                supertype = f" ${self.above[name]}" if type.supertype is not None else ""
                final = "final" if type.is_final != (position == flip) else ""
                function = (
                    f"(func {' '.join(f'(param {p})' for p in self.params[name])} "
                    f"{' '.join(f'(result {r})' for r in ['i32', *self.results[name]])})"
                )
                plain = final and not supertype and rng.random() < 0.5
                members.append(f"(type ${name} {function if plain else f'(sub {final}{supertype} {function})'})")
            if 0.1 <= change < 0.2:
                members.append("(type (func))" if rng.random() < 0.5 else "(type (struct))")
            recursive = len(members) > 1 or rng.random() < 0.3
            written.append(f"(rec {' '.join(members)})" if recursive else members[0])
            self.places |= local
        return written

    def _sorted(self, order: list[int]) -> list[int]:
        """Those that need nothing in front, in any order."""
        free = [n for n in order if not self._needed(n)]
        self.rng.shuffle(free)
        return free + [n for n in order if n not in free]

    def _needed(self, number: int) -> set[int]:
        found = set()
        for type in self.groups[number]:
            places = [type.supertype, *[r.type for r in (*type.params, *type.results) if r is not None]]
            found |= {place[0] for place in places if place is not None and place[0] != number}
        return found

    def _ref(self, ref: Ref, places: dict[tuple[int, int], str]) -> str:
        null = "null " if ref.nullable else ""
        return f"(ref {null}{'func' if ref.type is None else '$' + places[ref.type]})"

    def is_below(self, found: str, wanted: str) -> bool:
        """As far as names tell."""
        present: str | None = found
        while present is not None and present != wanted:
            present = self.above[present]
        return present is not None

    # ---- code ----

    def _values(self, types: list[str], depth: int) -> str:
        return " ".join(self._value(t, depth) for t in types)

    def _value(self, type: str, depth: int) -> str:
        if type == "i32":
            return f"(i32.const {self.rng.randrange(50)})"
        return self._reference(type, depth)

    def _own(self, heap_type: str) -> str:
        """A function of the type or below."""
        fitting = [f for f, t in self.functions if heap_type == "func" or self.is_below(t, heap_type[1:])]
        # Of a type whose functions were cut off there is none: unreachable stands for it.
        return f"(ref.func ${self.rng.choice(fitting)})" if fitting else "(unreachable)"

    def _reference(self, type: str, depth: int) -> str:
        rng = self.rng
        nullable = "null " in type
        heap_type = type.removeprefix("(ref ").removeprefix("null ").removesuffix(")")
        some, maybe = f"(ref {heap_type})", f"(ref null {heap_type})"
        if depth <= 0:
            return f"(ref.null {heap_type})" if nullable and rng.random() < 0.4 else self._own(heap_type)
        inner = partial(self._reference, depth=depth - 1)
        if nullable:
            kind = rng.randrange(6)
            if kind == 0:
                return inner(some)
            if kind == 1:
                return f"(select (result {maybe}) {inner(maybe)} {inner(some)} {self._number(depth - 1)})"
            if kind == 2:
                return f"(block (result {maybe}) (br_if 0 {inner(maybe)} {self._number(depth - 1)}))"
            if kind == 3 and self.table_type and (heap_type in ("func", f"${self.table_type}")):
                return rng.choice(
                    (f"(table.get $u (i32.and {self._number(depth - 1)} (i32.const 1)))", "(global.get $h)")
                )
            if kind == 4:
                return f"(if (result {maybe}) {self._number(depth - 1)} (then {inner(maybe)}) (else {inner(some)}))"
            return inner(maybe)
        kind = rng.randrange(4)
        if kind == 0:
            return f"(ref.as_non_null {inner(maybe)})"
        if kind == 1:
            return f"(block (result {some}) (br_on_non_null 0 {inner(maybe)}) {inner(some)})"
        if kind == 2:
            return f"(block $o (result {some}) (block $z (br $o (br_on_null $z {inner(maybe)}))) {inner(some)})"
        return self._own(heap_type)

    def _number(self, depth: int) -> str:
        rng = self.rng
        kind = rng.randrange(7) if depth > 0 else 0
        if kind < 2 or not self.names:
            return rng.choice((f"(i32.const {rng.randrange(20)})", f"(i32.const {rng.randrange(3)})"))
        a = self._number(depth - 1)
        name = rng.choice(self.names)
        drops = "(drop)" * len(self.results[name])
        type = f"(ref null ${name})"
        if kind == 2:
            return f"(i32.add {a} {self._number(depth - 1)})"
        if kind == 3:
            return f"(ref.is_null {self._reference(rng.choice(['(ref null func)', type]), depth - 1)})"
        arguments = self._values(self.params[name], depth - 2)
        if kind == 4:
            return f"(block (result i32) {arguments} {self._reference(type, depth - 1)} (call_ref ${name}) {drops})"
        if not self.table_type:
            return a
        table = rng.choice("tu")
        index = f"(i32.rem_u {a} (i32.const {len(self.functions) + 2}))"
        return f"(block (result i32) {arguments} {index} (call_indirect ${table} (type ${name})) {drops})"

    def linkers(self) -> list[str]:
        """Modules that import one thing each under a type of this module's, and call what is there."""
        made = []
        for name in self.names:
            arguments = " ".join(self._argument(t) for t in self.params[name])
            drops = "(drop)" * len(self.results[name])
            rest = "(unreachable)" * len(self.results[name])
            own = f"(elem declare func $f) (func $f (type ${name}) (i32.const 7) {rest})"
            some, call = f"(ref null ${name})", f"(call_ref ${name})"
            for what, code, then in (
                (f"(func $i (type ${name}))", "(call $i)", ""),
                (f"(global {some})", f"(global.get 0) {call}", ""),
                (f"(global (ref ${name}))", f"(global.get 0) {call}", ""),
                (f"(global (mut {some}))", f"(global.get 0) {call}", "(global.set 0 (ref.func $f))"),
                (f"(table 0 {some})", f"(table.get 0 (local.get 0)) {call}", ""),
                (
                    f"(table 0 {some})",
                    f"(local.get 0) (call_indirect 0 (type ${name}))",
                    "(table.set 0 (i32.const 0) (ref.func $f))",
                ),
                ("(table 0 funcref)", f"(local.get 0) (call_indirect 0 (type ${name}))", ""),
            ):
                made.append(
                    f'(module {self.types} (import "" "" {what}) {own if then else ""}'
                    f'(func (export "go") (param i32) (result i32) {arguments} {code} {drops} {then}))'
                )
        return made

    @staticmethod
    def _argument(type: str) -> str:
        if type == "i32":
            return "(i32.const 3)"
        heap_type = type.removeprefix("(ref ").removeprefix("null ").removesuffix(")")
        return f"(ref.null {heap_type})" if "null " in type else "(unreachable)"


def world(seed: int) -> list[Written]:
    """The modules; each may import from those before."""
    rng = random.Random(seed)
    groups = _groups(rng)
    made: list[Written] = []
    for number in range(MODULES):
        made.append(Written(rng, groups, number, made if rng.random() < 0.5 else []))
    return made


def _seen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_seen(v) for v in value]
    return value if value is None or isinstance(value, int) else "function"


def _outcome(api: Any, action: Callable[[], Any]) -> Any:
    try:
        return _seen(action())
    except api.Trap as trap:
        return str(trap.trap_code.name)
    except (api.WasmtimeError, TypeError):
        return "refused"


class _World:
    """Instances of the modules, under one package."""

    def __init__(self, api: Any, config: Any, artifact: bool) -> None:
        self.api = api
        self.engine = api.Engine(config)
        self.store = api.Store(self.engine)
        self.artifact = artifact
        self.seen: list[Any] = []
        self.live: list[tuple[Written, dict[str, Any]]] = []
        self.functions: list[Any] = []

    def compiled(self, wasm: bytes) -> Any:
        made = self.api.Module(self.engine, wasm)
        return self.api.Module.deserialize(self.engine, made.serialize()) if self.artifact else made

    def instantiate(self, modules: list[Written], wasms: list[bytes]) -> None:
        instances: dict[int, dict[str, Any]] = {}
        for written, wasm in zip(modules, wasms, strict=True):
            if any(number not in instances for number, _ in written.imported):
                continue  # that one was refused
            imports = [instances[number][name] for number, name in written.imported]
            try:
                exports = self.api.Instance(self.store, self.compiled(wasm), imports).exports(self.store)
            except (self.api.WasmtimeError, self.api.Trap) as error:
                self.seen.append(type(error).__name__ if isinstance(error, self.api.Trap) else "refused")
                continue
            instances[written.number] = {name: exports[name] for name in exports}
            self.functions += [exports[f"f{name}"] for name in written.names]
            self.live.append((written, instances[written.number]))
        gc.collect(0)

    def do(self, action: Callable[[], Any]) -> None:
        self.seen.append(_outcome(self.api, action))

    def hand_around(self) -> None:
        """Functions of all go into the tables of any."""
        for written, found in self.live:
            for position in range(0, len(self.functions), 3):
                at = position % (len(written.functions) + 2)
                self.do(partial(found["t"].set, self.store, at, self.functions[position]))

    def call_all(self) -> None:
        for written, found in self.live:
            for name in written.names:
                for kind in "cr":
                    for index in range(len(written.functions) + 3):
                        self.do(partial(found[f"{kind}{name}"], self.store, index))
                    for index in range(4):
                        self.do(partial(found[f"{kind}u{name}"], self.store, index))
                    self.do(partial(found[f"{kind}r{name}"], self.store, 0))
            for position in range(FUNCTIONS):
                self.do(partial(found[f"e{position}"], self.store, 0))

    def link(self, wasm: bytes) -> None:
        made = self.compiled(wasm)
        for _, found in self.live:
            for item in [*(found[name] for name in "tughk" if name in found), *self.functions[:4]]:
                try:
                    go = self.api.Instance(self.store, made, [item]).exports(self.store)["go"]
                except (self.api.WasmtimeError, TypeError):
                    self.seen.append("refused")
                    continue
                for index in (0, 1, 3):
                    self.do(partial(go, self.store, index))


def run(api: Any, config: Any, modules: list[Written], wasms: list[bytes], links: list[bytes], artifact: bool) -> Any:
    """All that happens."""
    made = _World(api, config, artifact)
    made.instantiate(modules, wasms)
    made.hand_around()
    made.call_all()
    for wasm in links:
        made.link(wasm)
    made.call_all()
    return made.seen


def their_config() -> Any:
    """Of wasmtime."""
    config = wasmtime.Config()
    config.wasm_gc = config.wasm_function_references = config.wasm_tail_call = True
    return config


def _is_valid(api: Any, engine: Any, wasm: bytes) -> bool:
    return bool(_outcome(api, partial(api.Module.validate, engine, wasm)) is None)


def compare(seed: int, names: Sequence[str] = ()) -> tuple[int, list[str]]:
    """How many outcomes were compared, and how tiers, all named or two, differ from wasmtime."""
    modules = world(seed)
    theirs, ours = wasmtime.Engine(their_config()), wasmjit.Engine(wasmjit.Config(cache=False))
    wasms = [bytes(wasmjit.wat2wasm(written.text)) for written in modules]
    valid = [_is_valid(wasmtime, theirs, wasm) for wasm in wasms]
    if [_is_valid(wasmjit, ours, wasm) for wasm in wasms] != valid:
        return len(valid), [f"seed {seed}: wasmtime finds {valid} valid, wasmjit not"]
    if not all(valid):
        return len(valid), []
    texts = [text for written in modules for text in written.linkers()]
    links = [bytes(wasmjit.wat2wasm(text)) for text in random.Random(seed).sample(texts, min(LINKS, len(texts)))]
    expected = run(wasmtime, their_config(), modules, wasms, links, artifact=False)
    found = []
    for name in names or (list(CONFIGS)[seed % len(CONFIGS)], "auto"):
        config = wasmjit.Config(cache=False, **CONFIGS[name])
        seen = run(wasmjit, config, modules, wasms, links, artifact=bool(seed // len(CONFIGS) % 2))
        if seen != expected:
            pairs = enumerate(zip(seen, expected, strict=False))
            differing = [(at, ours, theirs) for at, (ours, theirs) in pairs if ours != theirs]
            found.append(f"seed {seed}: {name}: {len(seen)} outcomes of {len(expected)}, {differing[:10]}")
    return len(expected), found


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Compares random modules that share functions with wasmtime.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    compared = disagreements = 0
    for seed in range(options.seed, options.seed + options.count):
        count, found = compare(seed)
        compared += count
        disagreements += len(found)
        for text in found:
            print(text, flush=True)
    print(f"{options.count} worlds, {compared} outcomes compared: {disagreements} disagreements")
    return 1 if disagreements or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
