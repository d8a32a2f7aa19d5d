"""What `schedules.py` plays with: a store with handles of all kinds, their methods, arguments, what may come back."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import enum
import functools
import importlib
import inspect
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy

import wasmjit
from wasmjit import (
    ArrayRef,
    ArrayType,
    Caller,
    Config,
    Engine,
    FieldType,
    Func,
    FuncType,
    Global,
    GlobalType,
    HeapType,
    Instance,
    Limits,
    Linker,
    Memory,
    MemoryFS,
    MemoryType,
    Module,
    SharedMemory,
    Store,
    StructRef,
    StructType,
    Table,
    TableType,
    Tag,
    TagType,
    Trap,
    Val,
    ValType,
    VirtualClock,
    WasiConfig,
)
from wasmjit.wasi.constants import WasiError

I32, I64, F64, EXTERNREF, FUNCREF = (getattr(ValType, name)() for name in ("i32", "i64", "f64", "externref", "funcref"))
BYTES = ArrayType(FieldType("i8", True), None, False)
HOLDER = StructType([FieldType(EXTERNREF, True), FieldType(ValType.ref(HeapType("any")), True)])
MARK = 0x5A  # all bytes in memories are this or 0
NUMBERS = (41, 42, 43)  # all that is in globals of i32
MOST_FUEL = 1_000_000
ABS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(("abs", ctypes.CDLL(None)))

TEXT = """(module
  (import "" "h" (func $h (param i32) (result i32)))
  (import "" "x" (func $x (param externref) (result externref)))
  (memory (export "memory") 1 4) (data (i32.const 8) "ZZZZ")
  (table (export "t") 8 1032 externref) (table (export "f") 8 32 funcref)
  (table (export "t2") 600 2000 externref) (table (export "t3") 8 9 externref) (table (export "t4") 900 2000 externref)
  (elem (table 1) (i32.const 0) func $add $ref) (elem declare func $host)
  (global (export "g") (mut i32) (i32.const 41)) (global (export "ge") (mut externref) (ref.null extern))
  (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func $ref (export "ref") (param externref externref) (result externref externref) (local.get 1) (local.get 0))
  (func $host (export "host") (param i32) (result i32) (call $h (local.get 0)))
  (func (export "keep") (param externref) (result externref)
    (table.set 0 (i32.const 7) (local.get 0)) (global.set 1 (local.get 0))
    (drop (call $h (i32.const 3))) (call $x (table.get 0 (i32.const 7))))
  (func (export "move") (table.copy 0 0 (i32.const 0) (i32.const 4) (i32.const 4))
    (table.fill 0 (i32.const 4) (ref.null extern) (i32.const 3)))
  (func (export "loop") (param i32) (result i32) (local i32)
    (loop (local.set 1 (i32.add (local.get 1) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get 1) (local.get 0)))) (local.get 1))
  (func (export "trap") (unreachable))
  (func (export "grow") (result i32) (drop (table.grow 0 (ref.null extern) (i32.const 1))) (memory.grow (i32.const 1)))
  (func (export "write") (memory.fill (i32.const 64) (i32.const 0x5a) (i32.const 100)))
)"""


class Marked:
    """What externrefs refer to."""

    def __init__(self) -> None:
        self.mark = MARK


def is_expected(error: BaseException) -> bool:
    """Whether it is an error for the user: of the package, or what Python raises for arguments that do not fit."""
    text = str(error)
    if isinstance(error, TypeError):
        return "cdata" not in text and "ctype" not in text and "'NoneType' object" not in text
    if isinstance(error, Skip):
        return True
    if isinstance(error, AttributeError):
        return "can be set, but not read" in text
    if isinstance(error, KeyError):
        return isinstance(error.args[0], str)
    if isinstance(error, (wasmjit.WasmError, Trap, WasiError, IndexError, OverflowError, BufferError, OSError)):
        return "without a reason" not in text and "no object" not in text
    return isinstance(error, ValueError) and "NULL" not in text


class Skip(Exception):
    """There is nothing to act on."""


class World:
    """A store, and handles in it and beside it."""

    _artifacts: dict[int, bytes] = {}  # noqa: RUF012

    @staticmethod
    def engines() -> list[Engine]:
        """One of each kind; making code takes long, so they last."""
        made = [
            Engine(Config(opt_level="none", shared_memory=True)),
            Engine(Config(tier="auto", shared_memory=True)),
            Engine(Config(opt_level="none", consume_fuel=True, epoch_interruption=True, shared_memory=True)),
            Engine(
                Config(
                    opt_level="none",
                    signals_based_traps=False,
                    memory_may_move=True,
                    shared_memory=True,
                    memory_reservation=0,
                )
            ),
        ]
        for engine in made:
            World._artifacts[id(engine)] = bytes(Module(engine, TEXT).serialize())
        importlib.import_module("wasmjit.runtime.asynchronous")  # no finalizer may run while it is imported
        return made

    def __init__(self, choose: random.Random, engine: Engine, act_inside: Callable[[int], None]) -> None:
        self.engine = engine
        self.has_fuel = engine._config.consume_fuel
        self.views: list[Any] = []
        self.callers: list[Caller] = []
        self.module = Module.deserialize(engine, self._artifacts[id(engine)])
        self.store = Store(engine, data="mine", **({"fuel": MOST_FUEL} if self.has_fuel else {}))
        self.other = Store(engine)
        if self.has_fuel:
            self.store.set_epoch_deadline(1 << 40)
            self.other.set_epoch_deadline(1 << 40)

        def host(caller: Caller, number: int) -> int:
            self.callers[:] = [*self.callers[-3:], caller]
            act_inside(choose.randrange(1 << 30))
            return number + 1

        def through(value: Any) -> Any:
            act_inside(choose.randrange(1 << 30))
            return value

        self.host, self.through = host, through
        self.linker = Linker(engine)
        self.linker.allow_shadowing = True
        self.linker.define_func("", "h", FuncType([I32], [I32]), host, True)
        self.linker.define_func("", "x", FuncType([EXTERNREF], [EXTERNREF]), through)
        self.instance = self.linker.instantiate(self.store, self.module)
        self.exports = self.instance.exports(self.store)
        functions = [self.exports[name] for name in ("add", "ref", "host", "keep", "loop")]
        self.typed = {name: self.exports[name].typed(self.store, nogil=choose.random() < 0.5) for name in EXPECTED}
        shared = SharedMemory(engine, MemoryType(Limits(1, 4), shared=True))
        prepared = self.linker.instantiate_pre(self.module)
        pending = Trap("made")
        wasi = WasiConfig()
        structure = StructRef(self.store, HOLDER, [Marked(), None])
        array = ArrayRef(self.store, BYTES, b"ZZZZ")
        self.handles: dict[type, list[Any]] = {
            Store: [self.store, self.store, self.store, self.other],
            Instance: [self.instance],
            type(self.exports): [self.exports],
            Func: functions,
            wasmjit.TypedFunc: list(self.typed.values()),
            Memory: [self.exports["memory"]],
            SharedMemory: [shared],
            Table: [self.exports[name] for name in ("t", "f", "t2")],
            Global: [self.exports["g"], self.exports["ge"]],
            Tag: [Tag(self.store, TagType(FuncType([I32], [])))],
            Linker: [self.linker],
            wasmjit.InstancePre: [prepared],
            Module: [self.module],
            Engine: [engine, Engine()],
            Val: [Val.i32(41), Val.externref(Marked()), Val.ref_null(FUNCREF)],
            WasiConfig: [wasi],
            MemoryFS: [MemoryFS({"a": b"Z"})],
            VirtualClock: [VirtualClock()],
            FuncType: [FuncType([I32], [I32])],
            GlobalType: [GlobalType(I32, True)],
            TableType: [TableType(EXTERNREF, Limits(1, 9))],
            MemoryType: [MemoryType(Limits(1, 2))],
            TagType: [TagType(FuncType([I32], []))],
            ValType: [I32],
            HeapType: [HeapType("any"), HeapType(BYTES)],
            FieldType: [FieldType(I32), FieldType("i8")],
            StructType: [StructType([FieldType(I32)], None, False)],
            ArrayType: [BYTES],
            StructRef: [structure],
            ArrayRef: [array],
            wasmjit.AnyRef: [structure, array],
            wasmjit.ImportType: list(self.module.imports),
            wasmjit.ExportType: list(self.module.exports),
            wasmjit.ModuleExport: [self.module.get_export_index("add")],
            Trap: [pending],
        }
        for kind in COPIED:
            for found in self.handles[kind]:
                # Copying asks for `__dict__`, which in Python 3.11 no other thread may ask for while a collection goes
                # on inside: it would make two of the same attributes, and free those twice.
                _ = found.__dict__

    def is_open(self) -> bool:
        """Whether nobody has closed the store."""
        return self.store._record.native is not None

    def one(self, kind: type, choose: random.Random) -> Any:
        """A handle of a class. Types and imports are copied: they can be closed."""
        if kind is Caller and not self.callers:
            raise Skip
        if kind is Caller:
            return choose.choice(self.callers)
        found = choose.choice(self.handles[kind])
        return copy.copy(found) if kind in COPIED else found

    def extern(self, choose: random.Random) -> Any:
        """Something that can be imported and exported."""
        return self.one(choose.choice((Func, Memory, Table, Global)), choose)

    # ---- what may come back ----

    def check(self, name: str, result: Any) -> None:
        """Raises AssertionError for what nobody has put there."""
        owner, _, method = name.partition(".")
        if name in ("Store.get_fuel",):
            assert 0 <= result <= MOST_FUEL, f"fuel {result}"
        elif name in ("Memory.size", "SharedMemory.size"):
            assert 1 <= result <= 4, f"{result} pages"
        elif name in ("Memory.data_len", "SharedMemory.data_len"):
            assert result in (1 << 16, 2 << 16, 3 << 16, 4 << 16), f"{result} bytes"
        elif name == "Table.size":
            assert 1 <= result <= 2000, f"{result} elements"
        elif owner == "Memory" and (method.startswith("read") or method == "__getitem__"):
            check_bytes(result, method)
        elif method in ("view", "data_ptr", "get_buffer_ptr"):
            self.keep(result)
        elif name in ("Global.value", "Table.get"):
            check_value(result)
        elif name == "Store.data":
            assert result in ("mine", None), f"data {result!r}"

    def keep(self, view: Any) -> None:
        """Views show what is there, also when the store is closed: `check_views`."""
        self.views.append(view)
        if isinstance(view, memoryview):
            with contextlib.suppress(ValueError):  # released by Store.close
                check_bytes(bytes(view[:64]), "view")
        else:
            check_bytes(bytes(view[:16]), "pointer")

    def check_views(self) -> None:
        """Raises AssertionError for one that shows something else than what was in memories."""
        for view in self.views:
            with contextlib.suppress(ValueError):
                check_bytes(bytes(view[:16]), "a view that was kept")

    def forget(self) -> None:
        """Breaks the cycles through this object, so that a round's stores go with it."""
        self.handles.clear()
        self.views.clear()
        self.callers.clear()


COPIED = {ValType, FuncType, GlobalType, TableType, MemoryType, TagType, wasmjit.ImportType, wasmjit.ExportType}
COPIED |= {HeapType, FieldType, StructType, ArrayType}


def check_bytes(value: Any, what: str) -> None:
    """Raises AssertionError for bytes that were never written."""
    if isinstance(value, float):
        value = struct.pack("<d", value) if "64" in what else struct.pack("<f", value)
    elif isinstance(value, int):
        value = (value & (1 << 64) - 1).to_bytes(8, "little")
    elif isinstance(value, str):
        value = value.encode()
    else:
        value = bytes(value)
    assert set(value) <= {0, MARK}, f"{what} gave {value[:64]!r}"


def check_value(value: Any) -> None:
    """Raises AssertionError for a value of a global or table that nobody put there."""
    if isinstance(value, Val):
        value = value.value
    if value is None or isinstance(value, Func):
        return
    assert value in NUMBERS if isinstance(value, int) else isinstance(value, Marked), f"{value!r}"


# ---- calls ----


def expect(result: Any, expected: Any) -> Any:
    """The result, which is what was to be expected."""
    same = (
        len(result) == len(expected) and all(a is b for a, b in zip(result, expected, strict=True))
        if isinstance(expected, list)
        else result is expected or result == expected
    )
    assert same, f"a call gave {result!r} instead of {expected!r}"
    return result


def call_add(call: Callable[..., Any], choose: random.Random) -> Any:
    """Adds."""
    a, b = choose.randrange(1000), choose.randrange(1000)
    return expect(call(a, b), a + b)


def call_ref(call: Callable[..., Any], choose: random.Random) -> Any:
    """Exchanges two objects."""
    a, b = Marked(), Marked()
    given = [Val.externref(a) if choose.random() < 0.3 else a, b]
    return expect(call(*given), [b, a])


def call_host(call: Callable[..., Any], choose: random.Random) -> Any:
    """Goes through a host function."""
    return expect(call(7), 8)


def call_keep(call: Callable[..., Any], choose: random.Random) -> Any:
    """Puts an object into a table and a global, and takes out what is there then."""
    found = call(Marked())
    check_value(found)
    return found


def call_loop(call: Callable[..., Any], choose: random.Random) -> Any:
    """Takes a while."""
    count = choose.choice((1, 10, 1000, 20_000))
    return expect(call(count), count)


EXPECTED: dict[str, Callable[[Callable[..., Any], random.Random], Any]] = {
    "add": call_add,
    "ref": call_ref,
    "host": call_host,
    "keep": call_keep,
    "loop": call_loop,
}
OTHER_EXPORTS = ("move", "trap", "grow", "write")


def func_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """A call of a Func with a store in front."""
    store = give_store(world, choose)
    name = choose.choice((*EXPECTED, "ref", "ref", "keep", *OTHER_EXPORTS))
    function = world.exports[name]
    if name in OTHER_EXPORTS:
        return functools.partial(function, store)
    return functools.partial(EXPECTED[name], functools.partial(function, store), choose)


def typed_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """A call of a TypedFunc."""
    name = choose.choice((*EXPECTED, "ref", "ref"))
    return functools.partial(EXPECTED[name], world.typed[name], choose)


def async_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """A call on another thread."""
    return functools.partial(world.exports["add"].call_async, give_store(world, choose), 1, 2)


def unchecked_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """Raw slots of numbers: raw references that are wrong are undefined behaviour."""
    return functools.partial(world.exports["add"].call_unchecked, give_store(world, choose), [1, 2])


def map_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """Over arrays, also in place."""
    numbers = numpy.arange(50, dtype="i4")
    out = choose.choice((None, numpy.zeros(50, "i4"), numbers, numbers[::-1]))
    typed = world.typed["add"]
    expected = numbers + 1

    def call() -> Any:
        found = typed.map(numbers, 1, out=out)
        assert (found == expected).all(), "map gave other numbers"
        return found

    return call


def native_call(world: World, choose: random.Random) -> Callable[[], Any]:
    """From C, which is told of nothing: 0 where it fails."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    function, store = world.exports["add"], give_store(world, choose)

    def call() -> Any:
        found = prototype(function.native_address(store))(20, 22)
        assert found in (0, 42), f"a call from C gave {found}"
        return found

    return call


def wait_call(name: str) -> Callable[[World, random.Random], Callable[[], Any]]:
    """For a short time: nobody may be there to wake it."""

    def prepare(world: World, choose: random.Random) -> Callable[[], Any]:
        memory = world.one(SharedMemory, choose)
        return functools.partial(
            getattr(memory, name), choose.choice((0, 8, 4, 1, 1 << 17)), 0, choose.choice((0, 0.002))
        )

    return prepare


# What takes more than arguments by name.
CALLS: dict[str, Callable[[World, random.Random], Callable[[], Any]]] = {
    "Func.__call__": func_call,
    "Func.call_async": async_call,
    "Func.call_unchecked": unchecked_call,
    "Func.native_address": native_call,
    "TypedFunc.__call__": typed_call,
    "TypedFunc.map": map_call,
    "Func.native": lambda world, choose: functools.partial(
        Func.native, give_store(world, choose), FuncType([I32], [I32]), ABS
    ),
    "Linker.define_native": lambda world, choose: functools.partial(
        world.linker.define_native, "c", "abs", FuncType([I32], [I32]), ABS
    ),
    "SharedMemory.atomic_wait32": wait_call("atomic_wait32"),
    "SharedMemory.atomic_wait64": wait_call("atomic_wait64"),
    "Engine.close": lambda world, choose: Engine().close,
    "Linker.close": lambda world, choose: copy.copy(world.linker).close,
    "Module.close": lambda world, choose: copy.copy(world.module).close,
}


# ---- arguments ----


def give_store(world: World, choose: random.Random) -> Any:
    """Mostly the store; sometimes another one, or a Caller, whose call may be over."""
    number = choose.random()
    if number < 0.06:
        return world.other
    return choose.choice(world.callers) if number < 0.15 and world.callers else world.store


def give_value(world: World, choose: random.Random) -> Any:
    """For a global or a table, or bytes of a memory: it may not fit."""
    return choose.choice(
        (Marked(), Marked(), None, choose.choice(NUMBERS), world.exports["add"], Val.externref(Marked()))
    )


def give_host(world: World, choose: random.Random) -> Any:
    """A function for wasm to call."""
    return choose.choice((world.host, world.through, lambda *given: None))


def handle(kind: type) -> Callable[[World, random.Random], Any]:
    """A handle of a class."""
    return lambda world, choose: world.one(kind, choose)


def one_of(*values: Any) -> Callable[[World, random.Random], Any]:
    """One of these."""
    return lambda world, choose: choose.choice(values)


BY_ANNOTATION: dict[str, Callable[[World, random.Random], Any]] = {
    "Storelike": give_store,
    "Store": give_store,
    "Engine": handle(Engine),
    "Engine | None": handle(Engine),
    "Module": handle(Module),
    "Instance": handle(Instance),
    "Linker": handle(Linker),
    "FuncType": handle(FuncType),
    "GlobalType": handle(GlobalType),
    "TableType": handle(TableType),
    "MemoryType": handle(MemoryType),
    "TagType": handle(TagType),
    "ValType": one_of(I32, EXTERNREF, FUNCREF),
    "ValType | str": one_of(I32, "i8", "i32"),
    "HeapType": handle(HeapType),
    "FieldType": handle(FieldType),
    "Iterable[FieldType]": one_of((FieldType(I32),), ()),
    "StructType": one_of(HOLDER, StructType([FieldType(I32)])),
    "ArrayType": handle(ArrayType),
    "StructType | None": handle(StructType),
    "ArrayType | None": handle(ArrayType),
    "str | FuncType | StructType | ArrayType": one_of("any", "no kind", BYTES),
    "Limits": one_of(Limits(1), Limits(1, 2)),
    "ImportType": handle(wasmjit.ImportType),
    "ModuleExport": handle(wasmjit.ModuleExport),
    "Tag": handle(Tag),
    "AsExtern": lambda world, choose: world.extern(choose),
    "Sequence[AsExtern]": lambda world, choose: [
        Func(world.store, FuncType([I32], [I32]), world.host, True),
        Func(world.store, FuncType([EXTERNREF], [EXTERNREF]), world.through),
    ],
    "Callable[..., Any]": give_host,
    "Callable[[], int]": lambda world, choose: lambda: 1 << 40,
    "bool": one_of(False, True),
    "Iterable[ValType]": one_of((I32,), (I32, EXTERNREF), ()),
    "Func | None": lambda world, choose: world.exports["add"],
    "str": one_of("", "add", "memory", "h", "x", "c", "f", "t"),
    "str | int": one_of("add", "memory", "t", 0, 1, 99),
    "Config | None": one_of(None),
}
BY_NAME: dict[str, Callable[[World, random.Random], Any]] = {
    "store": give_store,
    "start": one_of(0, 4, 8, 64, 65530, -4, 1 << 17),
    "stop": one_of(None, 16, 100, 1 << 17),
    "size": one_of(None, 0, 4, 64),
    "count": one_of(0, 4, 20),
    "offset": one_of(0, 8, 1 << 17),
    "key": one_of(0, 8, slice(0, 8), slice(64, 8, -2), "add"),
    "idx": one_of(0, 1, 7, 99),
    "amt": one_of(0, 1, 2),
    "delta": one_of(0, 1),
    "init": give_value,
    "val": give_value,
    "value": give_value,
    "index": one_of(0, 1, 3, 99),
    "fields": lambda world, choose: choose.choice(((Marked(), None), (None, world.one(ArrayRef, choose)), (1,), ())),
    "elements": one_of(b"ZZ", (1, 2, 3), ("no number",), ()),
    "gc_heap_size": one_of(-1, 1 << 20),
    "fuel": one_of(None, 1000, MOST_FUEL),
    "timeout": one_of(None, 10.0, 0.001),
    "max_memory": one_of(None, 1 << 20),
    "data": one_of("mine"),
    "ticks_after_current": one_of(1 << 40),
    "memory_size": one_of(-1, 1 << 18),
    "table_elements": one_of(-1, 32),
    "instances": one_of(-1, 1000),
    "tables": one_of(-1, 1000),
    "memories": one_of(-1, 1000),
    "wasi": handle(WasiConfig),
    "limiter": one_of(None, lambda *given: True, lambda *given: False),
    "wasm": one_of(b"\0asm\1\0\0\0", b"no module"),
    "encoded": lambda world, choose: choose.choice((World._artifacts[id(world.engine)], b"no artifact")),
    "extern": lambda world, choose: Marked(),
    "a": handle(Engine),
    "b": handle(Engine),
    "other": handle(Tag),
    "default": one_of(None),
    "kind": one_of(0x7F, 0x6F),
    "min": one_of(1),
    "max": one_of(None, 2),
    "page_size_log2": one_of(16),
    "duration_ns": one_of(1),
    "clock": one_of(0, 1, None),
    "start_ns": one_of(0),
    "step_ns": one_of(1),
    "path": one_of("a", "b", "c/d"),
    "new_path": one_of("b", "e"),
    "target": one_of("a"),
    "files": one_of(None, {"a": b"Z"}),
    "max_bytes": one_of(None, 1000),
    "encoding": one_of("utf-8"),
    "errors": one_of("strict"),
    "text": one_of("ZZ"),
    "accessed_ns": one_of(1),
    "modified_ns": one_of(1),
    "argv": one_of(("a", "b")),
    "env": one_of((("a", "b"),)),
    "guest_path": one_of("/", "/x"),
    "stdin": one_of(b"Z"),
    "stdout": lambda world, choose: lambda data: None,
    "stderr": lambda world, choose: lambda data: None,
    "random": one_of(1, None),
    "message": one_of("text"),
    "progress": one_of(None),
    "dir_perms": one_of(wasmjit.DirPerms.READ),
    "file_perms": one_of(wasmjit.FilePerms.READ),
}
# Where neither the name nor the method says more.
ANY_OF: dict[str, Callable[[World, random.Random], Any]] = {
    "int": one_of(0, 1, -1, 1000),
    "int | None": one_of(None, 0, 1, 1000),
    "float": one_of(0.5, 1000.0),
    "float | None": one_of(None, 0.5, 1000.0),
    "bytes": one_of(b"", b"ZZZZ"),
}
BY_METHOD: dict[str, Callable[[World, random.Random], Any]] = {
    "Memory.__setitem__.value": one_of(MARK, b"Z" * 8, b"ZZZZ"),
    "Memory.write.value": one_of(b"Z" * 4, bytearray(b"Z" * 100), memoryview(b"ZZ"), [MARK, MARK]),
    "Memory.write_array.value": one_of([MARK] * 4, numpy.full(4, MARK, "u1")),
    "Memory.write_array.type": one_of("u8", None),
    "Memory.read_array.type": one_of("u8", "i32", "u16"),
    "Memory.write_str.value": one_of("ZZZ"),
    "Memory.write_utf8.value": one_of("ZZZ"),
    "Memory.write_f32.value": one_of(struct.unpack("<f", b"ZZZZ")[0]),
    "Memory.write_f64.value": one_of(struct.unpack("<d", b"Z" * 8)[0]),
    **{
        f"Memory.write_{sign}{bits}.value": one_of(int.from_bytes(b"Z" * (bits // 8), "little"))
        for sign in "iu"
        for bits in (8, 16, 32, 64)
    },
    **{
        f"SharedMemory.{name}.type": one_of("i32", "u8", "i64", "u16")
        for name in ("load", "store", "add", "compare_exchange")
    },
    **{
        f"SharedMemory.{name}.value": one_of(int.from_bytes(b"ZZZZ", "little"), -1, 1 << 70)
        for name in ("store", "add")
    },
    "Store.set_fuel.fuel": one_of(1000, MOST_FUEL),
    "Global.set_value.val": give_value,
    "Val.v128.val": one_of(b"Z" * 16, 1),
    "Val.i32.val": one_of(41),
    "Val.i64.val": one_of(41),
    "Val.f32.val": one_of(1.5),
    "Val.f64.val": one_of(1.5),
    "Instance.get_module_export.export": handle(wasmjit.ModuleExport),
    "Store.epoch_deadline_callback.callback": lambda world, choose: lambda: 1 << 40,
}
# Those in which references and addresses are in hands.
HOT_METHODS = (
    "Store.gc", "Store.gc", "Store.gc", "Store.get_fuel", "Store.set_fuel", "Store.set_limits", "Store.interrupt",
    "Store.check_native_calls", "Func.__call__", "Func.__call__", "TypedFunc.__call__", "TypedFunc.__call__",
    "Func.__init__", "Func.native_address", "Table.__init__", "Table.get", "Table.set", "Table.grow",
    "Table.size", "Global.__init__",
    "Global.value", "Global.set_value", "Memory.__init__", "Memory.grow", "Memory.read", "Memory.view",
    "Memory.get_buffer_ptr", "Instance.__init__", "InstancePre.instantiate", "SharedMemory.close", "Caller.get",
)  # fmt: skip
# How much each class matters; 1 for others.
WEIGHTS = {
    Store: 16, Func: 16, wasmjit.TypedFunc: 10, Memory: 16, Table: 16, Global: 10, Instance: 6, SharedMemory: 4,
    wasmjit.InstanceExports: 5, Linker: 8, wasmjit.InstancePre: 4, Module: 5, Caller: 5,
}  # fmt: skip
# Classes that are no handles, and why.
NO_HANDLES = {
    "CompileProgress": "a tuple",
    "Config": "options; an Engine copies it",
    "FsspecFS": "needs another package",
    "Limits": "a record",
    "Handle": "an abstract class, the public name of which is Managed",
    "FunctionTier": "a record",
    "ModuleFunction": "a record",
    "ResourcesRequired": "a record",
    "Frame": "a record",
    "Result": "a tuple",
    "ThreadPool": "its Stores are its own, one for each of its threads",
}
# Methods that are left out, and why.
LEFT_OUT = {
    "Caller.__init__": "made by the runtime",
    "InstanceExports.__init__": "made by the runtime",
    "ImportType.__init__": "made by the runtime",
    "ExportType.__init__": "made by the runtime",
    "InstancePre.__init__": "made by the runtime",
    "Func.speed_up": "for the runtime",
    "TypedFunc.speed_up": "for the runtime",
    "Func.wrap": "looks at annotations, then as __init__",
    "Func.wrap_async": "as wrap",
    "Linker.func_wrap": "looks at annotations, then as define_func",
    "Linker.func_wrap_async": "as func_wrap",
    "Linker.func_new_unchecked": "raw references that are wrong are undefined behaviour",
    "Module.deserialize_file": "a file; then as deserialize",
    "Module.deserialize_open_file": "a file; then as deserialize",
    "Module.from_file": "a file; then as __init__",
    "Module.from_trusted_file": "a file; then as deserialize",
    "Module.wait_optimized": "waits for a compiler",
    "Engine.precompile_module": "waits for a compiler",
    "WasiConfig.preopen_socket": "needs a socket",
    "WasiConfig.inherit_stdin": "of this process",
    "WasiConfig.inherit_stdout": "of this process",
    "WasiConfig.inherit_stderr": "of this process",
    "Global.value_bits": "raw references are not to be compared",
}
DUNDERS = (
    "__init__",
    "__call__",
    "__getitem__",
    "__setitem__",
    "__len__",
    "__iter__",
    "__copy__",
    "__repr__",
    "__hash__",
)

Method = Callable[[World, random.Random], tuple[str, Callable[[], Any]]]


def public_classes() -> list[type]:
    """All classes of handles."""
    found: dict[type, None] = {}
    for name in wasmjit.__all__:
        value = getattr(wasmjit, name)
        is_class = inspect.isclass(value) and value.__name__ not in NO_HANDLES
        if is_class and (value is Trap or not issubclass(value, (enum.Enum, BaseException))):
            found[value] = None
    return list(found)


def argument(owner: type, method: str, parameter: inspect.Parameter) -> Callable[[World, random.Random], Any]:
    """What makes an argument. Raises LookupError if nobody knows."""
    exact = BY_METHOD.get(f"{owner.__name__}.{method}.{parameter.name}")
    if exact is not None:
        return exact
    annotation = parameter.annotation
    found = BY_NAME.get(parameter.name) if annotation == "str" else None
    found = found or (BY_ANNOTATION.get(annotation) if isinstance(annotation, str) else None)
    found = found or BY_NAME.get(parameter.name) or ANY_OF.get(annotation)
    if found is None:
        raise LookupError(f"{owner.__name__}.{method}: what to give for `{parameter}`? See BY_NAME, BY_METHOD")
    return found


def parameters_of(owner: type, name: str) -> list[inspect.Parameter]:
    """Those without self and variable ones."""
    function = getattr(owner, name)
    parameters = list(inspect.signature(owner if name == "__init__" else function).parameters.values())
    static = inspect.getattr_static(owner, name)
    if name != "__init__" and not isinstance(static, (staticmethod, classmethod)):
        parameters = parameters[1:]
    return [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def ordinary(owner: type, name: str) -> Method:
    """A method that is called with arguments by name."""
    makers = [(p, argument(owner, name, p)) for p in parameters_of(owner, name)]
    bound_to_class = name == "__init__" or isinstance(inspect.getattr_static(owner, name), (staticmethod, classmethod))

    def prepare(world: World, choose: random.Random) -> tuple[str, Callable[[], Any]]:
        given: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter, make in makers:
            if parameter.default is not parameter.empty and choose.random() < 0.3:
                break
            if parameter.kind is parameter.KEYWORD_ONLY:
                keywords[parameter.name] = make(world, choose)
            else:
                given.append(make(world, choose))
        if bound_to_class:
            called = owner if name == "__init__" else getattr(owner, name)
        else:
            called = getattr(world.one(owner, choose), name)
        return f"{owner.__name__}.{name}", functools.partial(called, *given, **keywords)

    return prepare


def read_property(owner: type, name: str) -> Method:
    """Reading an attribute, and writing it where that is possible and there is something to write."""
    writable = getattr(inspect.getattr_static(owner, name), "fset", None) is not None and name in BY_NAME

    def prepare(world: World, choose: random.Random) -> tuple[str, Callable[[], Any]]:
        target = world.one(owner, choose)
        if writable and choose.random() < 0.5:
            return f"{owner.__name__}.{name} =", functools.partial(setattr, target, name, BY_NAME[name](world, choose))
        return f"{owner.__name__}.{name}", functools.partial(getattr, target, name)

    return prepare


def special(name: str) -> Method:
    """One of CALLS."""
    make = CALLS[name]
    return lambda world, choose: (name, make(world, choose))


def method(owner: type, name: str) -> Method | None:
    """How an attribute of a class takes part; None if it does not. Raises LookupError for an unknown parameter."""
    qualified = f"{owner.__name__}.{name}"
    static = inspect.getattr_static(owner, name)
    if qualified in LEFT_OUT or any(getattr(base, name, None) is static for base in (object, BaseException)):
        return None
    if qualified in CALLS:
        return special(qualified)
    if isinstance(static, property) or not callable(getattr(owner, name)):
        return read_property(owner, name)
    return ordinary(owner, name)


def named(name: str) -> Method:
    """A method by its name."""
    owner, _, attribute = name.rpartition(".")
    found = method(getattr(wasmjit, owner), attribute)
    assert found is not None
    return found


def methods() -> list[tuple[int, list[Method]]]:
    """All methods of all handles, by class, and how often each class is to take part."""
    found = []
    for owner in public_classes():
        names = [name for name in dir(owner) if not name.startswith("_")]
        names += [name for name in DUNDERS if name in dir(owner) and getattr(owner, name) is not None]
        made = [made for made in (method(owner, name) for name in names) if made is not None]
        found.append((WEIGHTS.get(owner, 1), made))
    return found


__all__ = ["Method", "World", "is_expected", "methods"]
