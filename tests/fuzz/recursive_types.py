"""Random type sections of `wasm-tools smith`, garbage collection included, run by wasmjit and by the wasmtime package.

    python -m tests.fuzz.recursive_types [--count N] [--seed S] [--mutants N]

Of each section those function types are used that have no values of garbage collection: there is a function of each,
all are in a table and are called as each of the types; another module calls them through the table of the first, and
others import each as each of them. Who is whose subtype, and which types are equal, shows in which calls trap and which
imports link. Tiers take turns. Mutants of sections are to be accepted where wasm-tools accepts them. Prints each
disagreement; exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import wasmtime

import wasmjit
from tests.fuzz.mutate import mutants
from tests.fuzz.oracle import TYPE_FEATURES, disagreements
from tests.wasm_bytes import (
    CODE,
    ELEMENT,
    EXPORT,
    FUNCTION,
    IMPORT,
    TABLE,
    TYPE,
    module,
    name,
    section,
    signed,
    unsigned,
    vector,
)
from wasmjit.errors import ValidationError
from wasmjit.wasm.decode import decode
from wasmjit.wasm.leb128 import read_unsigned
from wasmjit.wasm.text import find_wasm_tools
from wasmjit.wasm.types import F32, F64, I32, I64, V128, FuncType, TypeReference, is_defaultable, is_externref

OPTIONS = {
    "custom-descriptors-enabled": "false",
    "exceptions-enabled": "false",
    "gc-enabled": "true",
    "max-funcs": "0",
    "max-imports": "0",
    "max-types": "40",
    "min-types": "10",
    "reference-types-enabled": "true",
    "shared-everything-threads-enabled": "false",
    "threads-enabled": "false",
}
MOST_USED = 8  # of a section's types: what is done is the square of them
CONFIGS: Sequence[dict[str, Any]] = (
    {"tier": "auto"},
    {"tier": "optimized", "opt_level": "none"},
    {"tier": "auto"},
    {"tier": "baseline"},
    {"tier": "optimized", "signals_based_traps": False},
)
DROP, END, CALL_INDIRECT = b"\x1a", b"\x0b", b"\x11"
ZEROS = {
    I32: b"\x41\0",
    I64: b"\x42\0",
    F32: b"\x43" + bytes(4),
    F64: b"\x44" + bytes(8),
    V128: b"\xfd\x0c" + bytes(16),
}


def types_of(wasm: bytes) -> bytes | None:
    """The contents of a module's type section; None if it has none."""
    if wasm[8:9] != b"\1":
        return None
    size, start = read_unsigned(wasm, 9, 32)
    return wasm[start : start + size]


def generate(seed: int) -> bytes | None:
    """A type section."""
    source = random.Random(seed)
    options = [f"--{key}={value}" for key, value in OPTIONS.items()]
    entropy = source.randbytes(source.choice((300, 1000, 3000)))
    done = subprocess.run([find_wasm_tools(), "smith", *options], input=entropy, capture_output=True, check=False)
    return types_of(done.stdout) if done.returncode == 0 else None


def is_usable(type: Any) -> bool:
    """Whether functions of a type can be made and called, with what `_value` makes."""
    if not isinstance(type, FuncType):
        return False
    values = (*type.params, *type.results)
    return all(t in ZEROS or is_defaultable(t) or (isinstance(t, TypeReference) and t.type == type) for t in values)


def _value(valtype: int, itself: int, heap_type: bytes) -> bytes:
    """Code of a value: zero, null, or the function `itself`, of the type that alone is asked for without null."""
    if valtype in ZEROS:
        return ZEROS[valtype]
    if not is_defaultable(valtype):
        return b"\xd2" + unsigned(itself)
    return b"\xd0" + heap_type


class Types:
    """A type section, and modules with it."""

    def __init__(self, contents: bytes) -> None:
        """Raises ValidationError, as does wasmtime, for what is no type section."""
        self.decoded = decode(module(section(TYPE, contents)))
        self.contents = contents
        # Those that are used, by index.
        usable = [
            index
            for index, type in enumerate(self.decoded.types)
            if index not in self.decoded.gc_types and is_usable(type)
        ]
        self.used = usable[:MOST_USED]
        self.empty = len(self.decoded.types)  # [] -> [], put behind

    def section(self) -> bytes:
        """With [] -> [] behind."""
        count, start = read_unsigned(self.contents, 0, 32)
        return section(TYPE, unsigned(count + 1) + self.contents[start:] + b"\x60\0\0")

    def values(self, types: tuple[int, ...], itself: int) -> bytes:
        """Code of values of these types."""
        return b"".join([_value(t, itself, self._heap_type(t)) for t in types])

    def _heap_type(self, valtype: int) -> bytes:
        if isinstance(valtype, TypeReference):
            return signed(self.decoded.types.index(valtype.type))
        return bytes([0x6F if is_externref(valtype) else 0x70])

    def calls(self, first: int) -> tuple[list[bytes], list[bytes]]:
        """Bodies of functions that call each entry of the table as each type, and their exports; `first`: the number of
        functions before them, of which there is one of each type at the front."""
        bodies, exported = [], []
        for position, index in enumerate(self.used):
            type = self.decoded.called_type(index)
            for entry in range(len(self.used)):
                call = CALL_INDIRECT + unsigned(index) + b"\0"
                code = self.values(type.params, position) + b"\x41" + signed(entry) + call + DROP * len(type.results)
                bodies.append(_body(code))
                exported.append(name(f"{entry} as {position}") + b"\0" + unsigned(first + len(bodies) - 1))
        return bodies, exported

    def owner(self) -> bytes:
        """Defines a function of each type, exported, and the table."""
        count = len(self.used)
        bodies = [_body(self.values(self.decoded.called_type(t).results, n)) for n, t in enumerate(self.used)]
        callers, exported = self.calls(count)
        exported += [name(f"f{n}") + b"\0" + unsigned(n) for n in range(count)] + [name("table") + b"\1\0"]
        return module(
            self.section(),
            section(FUNCTION, vector(*map(unsigned, self.used), *[unsigned(self.empty)] * len(callers))),
            section(TABLE, vector(b"\x70\0" + unsigned(count))),
            section(EXPORT, vector(*exported)),
            section(ELEMENT, vector(b"\0\x41\0\x0b" + vector(*map(unsigned, range(count))))),
            section(CODE, vector(*bodies, *callers)),
        )

    def user(self) -> bytes:
        """Has functions of its own types, too, which stand for values, and calls what is in an imported table."""
        count = len(self.used)
        bodies = [_body(self.values(self.decoded.called_type(t).results, n)) for n, t in enumerate(self.used)]
        callers, exported = self.calls(count)
        return module(
            self.section(),
            section(IMPORT, vector(b"\0\0\1\x70\0" + unsigned(count))),
            section(FUNCTION, vector(*map(unsigned, self.used), *[unsigned(self.empty)] * len(callers))),
            section(EXPORT, vector(*exported)),
            section(ELEMENT, vector(b"\3\0" + vector(*map(unsigned, range(count))))),
            section(CODE, vector(*bodies, *callers)),
        )

    def importer(self, position: int) -> bytes:
        """Imports a function of one of the types."""
        return module(self.section(), section(IMPORT, vector(b"\0\0\0" + unsigned(self.used[position]))))


def _body(code: bytes) -> bytes:
    contents = b"\0" + code + END
    return unsigned(len(contents)) + contents


def _outcome(api: Any, action: Any) -> str:
    try:
        action()
    except api.Trap as trap:
        return str(trap.trap_code.name)
    except api.WasmtimeError:
        return "refused"
    return "ok"


def run(api: Any, config: Any, types: Types) -> list[str]:
    """What calls and imports give."""
    engine = api.Engine(config)
    store = api.Store(engine)
    owner = api.Instance(store, api.Module(engine, types.owner()), []).exports(store)
    table = owner["table"]
    user = api.Instance(store, api.Module(engine, types.user()), [table]).exports(store)
    seen = []
    for exports in (owner, user):
        for position in range(len(types.used)):
            for entry in range(len(types.used)):
                call = exports[f"{entry} as {position}"]
                seen.append(_outcome(api, partial(call, store)))
    for position in range(len(types.used)):
        imported = api.Module(engine, types.importer(position))
        for entry in range(len(types.used)):
            seen.append(_outcome(api, partial(api.Instance, store, imported, [owner[f"f{entry}"]])))
    return seen


def _their_config() -> Any:
    config = wasmtime.Config()
    config.wasm_gc = True
    config.wasm_function_references = True
    return config


def compare(seed: int) -> tuple[int, str]:
    """How many outcomes were compared, and how they differ."""
    contents = generate(seed)
    if contents is None:
        return 0, ""
    wasm = module(section(TYPE, contents))
    theirs_valid = _outcome(wasmtime, partial(wasmtime.Module, wasmtime.Engine(_their_config()), wasm)) == "ok"
    try:
        types = Types(contents)
    except ValidationError as error:
        return 1, "" if not theirs_valid else f"refused: {error}"
    if not theirs_valid:
        return 1, "accepted, but not by wasmtime"
    if not types.used:
        return 1, ""
    config = wasmjit.Config(cache=False, **CONFIGS[seed % len(CONFIGS)])
    ours, theirs = (run(api, c, types) for api, c in ((wasmjit, config), (wasmtime, _their_config())))
    return len(ours), "" if ours == theirs else f"{list(zip(ours, theirs, strict=True))}"


def mutants_of_sections(count: int, seed: int) -> list[str]:
    """How we and wasm-tools disagree about mutants, of modules that have a type section only."""
    sections = [contents for number in range(seed, seed + 40) if (contents := generate(number)) is not None]
    modules = list(mutants([module(section(TYPE, contents)) for contents in sections], count, seed))
    return [f"{verdicts}: {wasm.hex()}" for wasm, verdicts in disagreements(modules, features=TYPE_FEATURES)]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=0)
    options = parser.parse_args()
    compared = differing = modules = 0
    for seed in range(options.seed, options.seed + options.count):
        count, difference = compare(seed)
        compared += count
        modules += count > 0
        if difference:
            differing += 1
            print(f"seed {seed}: {difference[:2000]}")
    print(f"{modules} type sections, {compared} outcomes compared: {differing} disagreements")
    mutated = mutants_of_sections(options.mutants, options.seed) if options.mutants else []
    print("\n".join([*mutated, f"{options.mutants} mutants: {len(mutated)} disagreements"]))
    return 1 if differing or mutated or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
