"""Runs the specification's scripts (``.wast``): `run_file` and `run_files`, used by ``wasmjit wast`` and the tests.

``wasm-tools json-from-wast`` does the parsing; every command of its JSON is carried out here through the public API.
Numbers travel as raw bit patterns, so that NaN payloads and signalling NaNs arrive unchanged.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .. import (
    Config,
    Engine,
    Func,
    FuncType,
    Global,
    GlobalType,
    Limits,
    Linker,
    Memory,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    Table,
    TableType,
    Trap,
    Val,
    ValType,
    WasmError,
    WasmException,
    wat2wasm,
)
from ..inspection import find_wasm_tools
from ..reading import read_written

Command = dict[str, Any]  # one entry of the JSON's "commands"
Value = dict[str, Any]  # one argument or expected result

# Bits per value, and for v128 per lane.
WIDTHS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}
# The quiet bit and all exponent bits of a float of that width: the canonical NaN without its sign.
CANONICAL_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}
SLOTS_PER_V128 = 2

# By a part of their paths, what suites of proposals need: options that are off by default. The scripts of threads are
# of a language with one table and one memory.
PROPOSAL_OPTIONS = {
    "custom-page-sizes": {"wasm_custom_page_sizes": True},
    "wide-arithmetic": {"wasm_wide_arithmetic": True},
    "stack-switching": {"wasm_stack_switching": True},
    "proposals/threads": {"shared_memory": True, "wasm_multi_memory": False, "wasm_reference_types": False},
}


@dataclass(frozen=True, slots=True)
class WastOptions:
    """How modules of a script are compiled."""

    opt_level: str = "speed"
    explicit_checks: bool = False  # bounds checks in code instead of guard pages
    through_artifact: bool = False  # serialize and deserialize every module before use
    settings: tuple[tuple[str, Any], ...] = ()  # further options of Config
    wait_optimized: bool = False  # with tier "auto": calls of an instance begin when there is optimised code

    def config(self, path: Path) -> Config:
        """The Config for the script at `path`."""
        config = Config(tier="optimized", opt_level=self.opt_level, signals_based_traps=not self.explicit_checks)
        config.parallel_compilation = False
        for proposal, options in PROPOSAL_OPTIONS.items():
            if proposal in path.as_posix():
                for option, value in options.items():
                    setattr(config, option, value)
        for name, value in self.settings:
            setattr(config, name, value)
        return config


@dataclass(frozen=True, slots=True)
class WastFailure:
    """A command that did not go as the script says; `line` is 0 where the whole script failed."""

    line: int
    command: str
    reason: str


@dataclass(slots=True)
class WastResult:
    """What running one script gave."""

    path: Path
    passed: int = 0
    failures: list[WastFailure] = field(default_factory=list)


# As scripts and trap codes name what is null.
_NULL_REFERENCES = frozenset(
    f"null {what} reference" for what in ("function", "structure", "array", "i31", "exception")
)


class CommandFailed(Exception):
    """The current command did not go as the script says; the message is the reason."""


class UnknownSuiteFile(WasmError):
    """A list names a script that the suite does not have."""


# ---- values ----


def encode_value(value: Value) -> list[int]:
    """The 8-byte slots of a numeric or vector argument."""
    kind = value["type"]
    if kind != "v128":
        return [int(value["value"]) & ((1 << WIDTHS[kind]) - 1)]
    width = WIDTHS[value["lane_type"]]
    bits = 0
    for lane, text in enumerate(value["value"]):
        bits |= (int(text) & ((1 << width) - 1)) << (lane * width)
    return [bits & (2**64 - 1), bits >> 64]


def _bits_match(text: str, bits: int, width: int) -> bool:
    """Whether `bits` are what `text` stands for: a number, ``nan:canonical`` or ``nan:arithmetic``."""
    if text == "nan:canonical":
        return bits & ((1 << (width - 1)) - 1) == CANONICAL_NAN[width]
    if text == "nan:arithmetic":
        return bits & CANONICAL_NAN[width] == CANONICAL_NAN[width]
    return bits == int(text) & ((1 << width) - 1)


def slots_match(expected: Value, slots: Sequence[int]) -> bool:
    """Whether the slots of one result are what the script expects."""
    kind = expected["type"]
    if kind == "either":
        return any(slots_match(choice, slots) for choice in expected["values"])
    if kind == "v128":
        width = WIDTHS[expected["lane_type"]]
        bits = slots[0] | slots[1] << 64
        return all(
            _bits_match(text, bits >> (lane * width) & ((1 << width) - 1), width)
            for lane, text in enumerate(expected["value"])
        )
    width = WIDTHS[kind]
    # The high half of a 32-bit value's slot is unspecified.
    return _bits_match(expected["value"], slots[0] & ((1 << width) - 1), width)


def _slot_count(value: Value) -> int:
    kind = value["values"][0]["type"] if value["type"] == "either" else value["type"]
    return SLOTS_PER_V128 if kind == "v128" else 1


def _is_number(value: Value) -> bool:
    kind = value["values"][0]["type"] if value["type"] == "either" else value["type"]
    return kind in WIDTHS or kind == "v128"


def number_to_slots(value: Any, kind: str) -> list[int]:
    """The slots of a Python number of wasm type `kind`."""
    if kind == "f32":
        return [int.from_bytes(struct.pack("<f", value), "little")]
    if kind == "f64":
        return [int.from_bytes(struct.pack("<d", value), "little")]
    if kind == "v128":
        bits = int.from_bytes(value, "little") if isinstance(value, (bytes, bytearray)) else int(value)
        return [bits & (2**64 - 1), bits >> 64 & (2**64 - 1)]
    return [int(value) & ((1 << WIDTHS[kind]) - 1)]


class HostObject(int):
    """What ``ref.host`` stands for: a Python int would be an i31."""


# Of types of results without a value: what an object may be, or that an i31, an int, is one.
_KINDS = {"structref": ("struct",), "arrayref": ("array",), "i31ref": ("i31",), "eqref": ("struct", "array", "i31")}


def host_argument(value: Value) -> Any:
    """The Python value of an argument, for functions that take references: `n` of ``externref n`` stands for itself."""
    kind = value["type"]
    if not _is_number(value):
        text = value.get("value", "null")
        if text == "null":
            return None
        return HostObject(int(text)) if kind in ("hostref", "anyref") else int(text)
    slots = encode_value(value)
    if kind in ("f32", "f64"):
        size_bytes = WIDTHS[kind] // 8
        return struct.unpack("<f" if kind == "f32" else "<d", slots[0].to_bytes(size_bytes, "little"))[0]
    if kind == "v128":
        return b"".join(slot.to_bytes(8, "little") for slot in slots)
    return slots[0]


def host_result_matches(expected: Value, value: Any) -> bool:
    """Whether a Python result is what the script expects, for functions that take or give references."""
    kind = expected["type"]
    if kind == "either":
        return any(host_result_matches(choice, value) for choice in expected["values"])
    if _is_number(expected):
        return slots_match(expected, number_to_slots(value, kind))
    if kind == "refnull" or kind.startswith("null") or expected.get("value") == "null":
        return value is None
    if "value" in expected:
        return bool(value == int(expected["value"]))
    if kind in _KINDS:
        return (type(value) is int and "i31" in _KINDS[kind]) or getattr(value, "kind", None) in _KINDS[kind]
    return isinstance(value, Func) if kind == "funcref" else value is not None


# ---- one script ----


class ScriptRunner:
    """One script's state: a Store, the instances by name, what `register` made importable."""

    def __init__(self, path: Path, directory: Path, options: WastOptions) -> None:
        self.directory = directory
        self.through_artifact = options.through_artifact
        self.wait_optimized = options.wait_optimized
        config = options.config(path)
        self.shares_memory = config.shared_memory
        self.engine = Engine(config)
        self.store = Store(self.engine)
        self.linker = Linker(self.engine)
        self.linker.allow_shadowing = True
        self.definitions: dict[str | None, Module] = {}
        self.instances: dict[str | None, Any] = {}
        self.functions: dict[tuple[int, str], tuple[Func, bool]] = {}
        self._define_spectest()

    def close(self) -> None:
        """Frees everything the script made."""
        self.functions.clear()
        self.instances.clear()
        self.definitions.clear()
        self.linker.close()
        self.store.close()
        self.engine.close()

    def _define_spectest(self) -> None:
        """The host module ``spectest`` of the reference interpreter."""
        i32, i64, f32, f64 = ValType.i32(), ValType.i64(), ValType.f32(), ValType.f64()
        for name, parameters in (
            ("print", []),
            ("print_i32", [i32]),
            ("print_i64", [i64]),
            ("print_f32", [f32]),
            ("print_f64", [f64]),
            ("print_i32_f32", [i32, f32]),
            ("print_f64_f64", [f64, f64]),
        ):
            self.linker.define_func("spectest", name, FuncType(parameters, []), lambda *values: None)
        define = self.linker.define
        for name, kind, value in (
            ("global_i32", i32, 666),
            ("global_i64", i64, 666),
            ("global_f32", f32, 666.6),
            ("global_f64", f64, 666.6),
        ):
            define(self.store, "spectest", name, Global(self.store, GlobalType(kind, False), value))
        table_type = TableType(ValType.funcref(), Limits(10, 20))
        define(self.store, "spectest", "table", Table(self.store, table_type, None))
        table64_type = TableType(ValType.funcref(), Limits(10, 20), is_64=True)
        define(self.store, "spectest", "table64", Table(self.store, table64_type, None))
        define(self.store, "spectest", "memory", Memory(self.store, MemoryType(Limits(1, 2))))
        if self.shares_memory:
            shared = SharedMemory(self.store.engine, MemoryType(Limits(1, 2), shared=True))
            define(self.store, "spectest", "shared_memory", shared)

    # ---- modules ----

    def _contents(self, command: Command) -> bytes:
        path: Path = self.directory / command["filename"]
        return path.read_bytes()

    def _compile(self, command: Command) -> Module:
        module = Module(self.engine, self._contents(command))
        return Module.deserialize(self.engine, module.serialize()) if self.through_artifact else module

    def _instantiate(self, module: Module, name: str | None) -> None:
        self.instances.pop(None, None)  # if it fails, later commands must not see the previous one
        self.functions.clear()  # its keys are ids of instances that may go away now
        instance = self.linker.instantiate(self.store, module)
        if self.wait_optimized:
            module.wait_optimized()
        self.instances[None] = instance
        if name is not None:
            self.instances[name] = instance

    def _instance(self, name: str | None) -> Any:
        try:
            return self.instances[name]
        except KeyError:
            raise CommandFailed(f"there is no instance {name or '(current)'}") from None

    # ---- actions ----

    def _function(self, instance: Any, name: str) -> tuple[Func, bool]:
        """An exported function, and whether all of its parameters and results are numbers."""
        key = (id(instance), name)
        found = self.functions.get(key)
        if found is None:
            function = self._export(instance, name)
            kind = function.type(self.store)
            numeric = all(str(t) in WIDTHS or str(t) == "v128" for t in (*kind.params, *kind.results))
            found = self.functions[key] = (function, numeric)
        return found

    def _export(self, instance: Any, name: str) -> Any:
        try:
            return instance.exports(self.store)[name]
        except KeyError:
            raise CommandFailed(f"there is no export {name!r}") from None

    def _run(self, action: Command, expected: Sequence[Value] | None) -> None:
        """Carries out an action; with `expected` compares what it gives."""
        instance = self._instance(action.get("module"))
        if action["type"] == "get":
            value = self._export(instance, action["field"]).value(self.store)
            self._compare_host([value.value if isinstance(value, Val) else value], expected or ())
            return
        if action["type"] != "invoke":
            raise CommandFailed(f"unknown action {action['type']!r}")
        function, numeric = self._function(instance, action["field"])
        if not numeric:
            result = function(self.store, *map(host_argument, action["args"]))
            values = [] if result is None and not expected else result if isinstance(result, list) else [result]
            if expected is not None:
                self._compare_host(values, expected)
            return
        arguments = [slot for value in action["args"] for slot in encode_value(value)]
        slots = function.call_unchecked(self.store, arguments)
        if expected is not None:
            self._compare_slots(slots, expected)

    def _compare_slots(self, slots: Sequence[int], expected: Sequence[Value]) -> None:
        if len(slots) != sum(map(_slot_count, expected)):
            raise CommandFailed(f"expected {len(expected)} results, got slots {list(map(hex, slots))}")
        at = 0
        for value in expected:
            count = _slot_count(value)
            if not _is_number(value) or not slots_match(value, slots[at : at + count]):
                raise CommandFailed(f"expected {value}, got slots {list(map(hex, slots[at : at + count]))}")
            at += count

    def _compare_host(self, values: Sequence[Any], expected: Sequence[Value]) -> None:
        if len(values) != len(expected):
            raise CommandFailed(f"expected {len(expected)} results, got {list(values)}")
        for want, value in zip(expected, values, strict=True):
            if not host_result_matches(want, value):
                raise CommandFailed(f"expected {want}, got {value!r}")

    # ---- commands: each returns, or raises ----

    def module(self, command: Command) -> None:
        """``(module ...)``: compile and instantiate."""
        self._instantiate(self._compile(command), command.get("name"))

    def module_definition(self, command: Command) -> None:
        """``(module definition ...)``: compile only."""
        self.definitions[command.get("name")] = self._compile(command)

    def module_instance(self, command: Command) -> None:
        """``(module instance $instance $module)``."""
        self._instantiate(self.definitions[command.get("module")], command.get("instance"))

    def register(self, command: Command) -> None:
        """``(register "as" $name)``: the instance's exports become importable."""
        self.linker.define_instance(self.store, command["as"], self._instance(command.get("name")))

    def action(self, command: Command) -> None:
        """``(invoke ...)`` or ``(get ...)`` by itself."""
        self._run(command["action"], None)

    def assert_return(self, command: Command) -> None:
        """The action gives these values."""
        self._run(command["action"], command["expected"])

    def assert_trap(self, command: Command) -> None:
        """The action traps with this message."""
        self._expect_trap(lambda: self._run(command["action"], None), command["text"])

    assert_exhaustion = assert_trap

    def assert_exception(self, command: Command) -> None:
        """An exception leaves the action."""
        try:
            self._run(command["action"], None)
        except WasmException:
            return
        raise CommandFailed("no exception left it")

    def assert_uninstantiable(self, command: Command) -> None:
        """Instantiation traps with this message."""
        module = self._compile(command)
        self._expect_trap(lambda: self.linker.instantiate(self.store, module), command["text"])

    def assert_unlinkable(self, command: Command) -> None:
        """Imports and what is registered for them do not fit."""
        module = self._compile(command)
        try:
            self.linker.instantiate(self.store, module)
        except Trap as trap:
            raise CommandFailed(f"trapped instead: {trap.reason}") from None
        except WasmError as error:
            if command["text"] not in str(error):
                raise CommandFailed(f"expected {command['text']!r}, got {error}") from None
            return
        raise CommandFailed(f"linked, but expected {command['text']!r}")

    def assert_invalid(self, command: Command) -> None:
        """The module is refused."""
        try:
            if command["module_type"] == "binary":
                # Binary only: `Module` would try bytes without the magic number as text.
                Module.validate(self.engine, self._contents(command))
            else:
                Module.validate(self.engine, wat2wasm(self._contents(command)))
        except WasmError:
            # Also where a proposal is off or unsupported: without it, the module is invalid all the same. What should
            # be supported is in the modules that must be accepted.
            return
        raise CommandFailed(f"accepted, but expected {command['text']!r}")

    assert_malformed = assert_invalid

    def _expect_trap(self, act: Callable[[], object], text: str) -> None:
        try:
            act()
        except Trap as trap:
            # Some scripts say more than a trap code can: "uninitialized element 2", "null function reference".
            if text in trap.reason or text.startswith(trap.reason):
                return
            if text in _NULL_REFERENCES and trap.reason == "null reference":
                return
            raise CommandFailed(f"expected the trap {text!r}, got {trap.reason!r}") from None
        raise CommandFailed(f"no trap, but expected {text!r}")


# The largest of the specification has a fortieth of this.
_MOST_SCRIPT_BYTES = 64 << 20

COMMANDS = frozenset(
    """module module_definition module_instance register action assert_return assert_trap assert_exhaustion
    assert_uninstantiable assert_unlinkable assert_invalid assert_malformed assert_exception""".split()
)


def convert(path: Path, directory: Path) -> list[Command]:
    """The commands of a script; its modules are written to `directory`. Raises WasmError for a bad script."""
    output = directory / "script.json"
    tool = find_wasm_tools()
    script = path
    if not path.is_file() or path.stat().st_size > _MOST_SCRIPT_BYTES:  # what need not end is not for the tool
        script = directory / "script.wast"
        script.write_bytes(read_written(path, _MOST_SCRIPT_BYTES))
    arguments: list[str | Path] = [tool, "json-from-wast", script, "--wasm-dir", directory, "--output", output]
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise WasmError(f"{path}: {done.stderr.strip()}")
    commands: list[Command] = json.loads(output.read_text())["commands"]
    return commands


def run_file(path: Path, options: WastOptions) -> WastResult:
    """Runs one script; what goes wrong is in the result, nothing of it is raised."""
    result = WastResult(path)
    with tempfile.TemporaryDirectory(prefix="wasmjit-wast-") as name:
        try:
            commands = convert(result.path, Path(name))
            runner = ScriptRunner(result.path, Path(name), options)
        except (WasmError, OSError) as error:
            result.failures.append(WastFailure(0, "script", str(error)))
            return result
        try:
            for command in commands:
                _run_command(runner, command, result)
        finally:
            runner.close()
    return result


def _run_command(runner: ScriptRunner, command: Command, result: WastResult) -> None:
    kind = command["type"]
    try:
        if kind not in COMMANDS:
            raise CommandFailed("this command is not supported")
        getattr(runner, kind)(command)
    except CommandFailed as failure:
        result.failures.append(WastFailure(command["line"], kind, str(failure)))
    except Exception as error:  # a defect of ours fails its command, not the whole run
        result.failures.append(WastFailure(command["line"], kind, f"{type(error).__name__}: {error}"))
    else:
        result.passed += 1


# ---- many scripts ----


def run_files(paths: Iterable[Path], options: WastOptions, jobs: int = 1) -> Iterator[WastResult]:
    """Runs scripts in `jobs` processes and yields their results as they come.

    A script that brings its process down fails, and the rest still run.
    """
    remaining = list(paths)
    if jobs <= 1:
        for path in remaining:
            yield run_file(path, options)
        return
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(run_file, path, options) for path in remaining]):
                result = future.result()
                remaining.remove(result.path)
                yield result
    except BrokenProcessPool:
        # The pool does not tell whose process died: one process each for those that are left.
        for path in remaining:
            yield _run_alone(path, options)


def _run_alone(path: Path, options: WastOptions) -> WastResult:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(run_file, path, options).result()
        except BrokenProcessPool:
            return WastResult(path, failures=[WastFailure(0, "script", "the process running it died")])


def suite_files(suite: Path) -> dict[str, Path]:
    """Every script below `suite` by its name in lists: its path with ``-`` for ``/``, without ``.wast``."""
    return {"-".join(path.relative_to(suite).with_suffix("").parts): path for path in sorted(suite.rglob("*.wast"))}


def listed_files(list_file: Path, suite: Path | None = None) -> list[Path]:
    """The scripts that a list names, one a line (``#`` starts a comment).

    They are looked up in `suite`, else in ``$WASMJIT_TESTSUITE``, else in ``testsuite`` beside the list.
    Raises WasmError for a name that is not there.
    """
    if suite is None:
        suite = Path(os.environ.get("WASMJIT_TESTSUITE") or list_file.parent / "testsuite")
    known = suite_files(suite)
    names = [line.partition("#")[0].strip() for line in read_written(list_file).decode().splitlines()]
    missing = [name for name in names if name and name not in known]
    if missing:
        raise UnknownSuiteFile(f"{list_file}: {suite} has no {', '.join(missing)}")
    return [known[name] for name in names if name]
