"""Linker: names to items, and instantiation by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import LinkError, UnknownImportError, WasmError
from ..wasm import types as wt
from .awaited import synchronous
from .engine import Engine
from .externs import (
    AsExtern,
    Func,
    Item,
    item_of,
    new_global_item,
    new_memory_item,
    new_table_item,
    wrap_item,
)
from .foreign import foreign_function
from .func import new_address_item, new_foreign_item, new_host_item, new_unchecked_item
from .func_item import FuncItem
from .handle import Handle
from .hints import function_type
from .instance import Instance, PreparedInstance, check_imports, checked_load, instantiate, prepare
from .module import Module
from .shared_memory import SharedMemory
from .store import Storelike, StoreRecord, allocate, record_of
from .value_types import FuncType
from .values import ImportType, MemoryType, wrap_extern_type

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

# What a WASI command may export besides functions.
_COMMAND_EXPORTS = {
    "memory": wt.MEMORY,
    "table": wt.TABLE,
    "__indirect_function_table": wt.TABLE,
    "__data_end": wt.GLOBAL,
    "__heap_base": wt.GLOBAL,
    "__dso_handle": wt.GLOBAL,
    "__rtti_base": wt.GLOBAL,
}


@dataclass(frozen=True, slots=True, eq=False)
class _HostDefinition:
    """A host function that belongs to no store: each store gets one of its own when first needed."""

    type: wt.FuncType
    function: Callable[..., Any]
    access_caller: bool
    unchecked: bool = False  # the function works on raw slots

    def current_type(self) -> wt.ExternType:
        """Its type."""
        return self.type

    def item(self, record: StoreRecord, name: str) -> Item:
        """This store's function."""
        record.open()
        found: FuncItem | None = record.linker_functions.get(self)
        if found is None:
            make = new_unchecked_item if self.unchecked else new_host_item
            found = make(record, self.type, self.function, self.access_caller)
            record.linker_functions[self] = found
        return found


class AddressDefinition:
    """As _HostDefinition, for what `new_address_item` takes: what there is of it is made when it is first asked for.

    For WASI, where a Caller and conversions would cost more than the call, and most functions are not used.
    """

    __slots__ = ()

    starts_threads = False  # by it instances start threads, which need instances of the same module

    def current_type(self) -> wt.FuncType:
        """Its type."""
        raise NotImplementedError

    def bind(self, record: StoreRecord) -> Callable[..., Any]:
        """The function for a store."""
        raise NotImplementedError

    def code(self) -> int:
        """The code that there is for it in C; 0: none."""
        raise NotImplementedError

    def item(self, record: StoreRecord, name: str) -> Item:
        """This store's function."""
        record.open()
        found: FuncItem | None = record.linker_functions.get(self)
        if found is None:
            found = new_address_item(record, self.current_type(), self.bind(record), self.code())
            record.linker_functions[self] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _ForeignDefinition:
    """As _HostDefinition, for a C function."""

    type: wt.FuncType
    address: int
    keep_alive: object

    def current_type(self) -> wt.ExternType:
        """Its type."""
        return self.type

    def item(self, record: StoreRecord, name: str) -> Item:
        """This store's function."""
        record.open()
        found: FuncItem | None = record.linker_functions.get(self)
        if found is None:
            found = new_foreign_item(record, self.type, self.address, self.keep_alive)
            record.linker_functions[self] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _StoreDefinition:
    """An item of one store."""

    record: StoreRecord
    bound: Item

    def current_type(self) -> wt.ExternType:
        """Its type at present: memories and tables grow."""
        native = self.record.open()  # kept: another thread may close the store
        return self.bound.current_type(native)

    def item(self, record: StoreRecord, name: str) -> Item:
        """The item. Raises WasmError for any other store."""
        if record is not self.record:
            raise WasmError(f"`{name}` in this Linker belongs to another Store than the one given")
        record.open()
        return self.bound


@dataclass(frozen=True, slots=True, eq=False)
class _SharedDefinition:
    """A shared memory, which any store can have."""

    memory: SharedMemory

    def current_type(self) -> wt.ExternType:
        """Its type at present: it grows."""
        return self.memory._current_type()

    def item(self, record: StoreRecord, name: str) -> Item:
        """The memory in a store. Raises WasmError for one of another Engine."""
        return item_of(self.memory, record)


_Definition = _HostDefinition | AddressDefinition | _ForeignDefinition | _StoreDefinition | _SharedDefinition


class Linker(Handle):
    """Defines items by module and name, and instantiates modules with them.

    Host functions made by `define_func` belong to no Store: one Linker serves many Stores.

    >>> from wasmjit import Store, ValType
    >>> store = Store(Engine())
    >>> linker = Linker(store.engine)
    >>> linker.define_func("host", "five", FuncType([], [ValType.i32()]), lambda: 5)
    >>> text = '(module (import "host" "five" (func $five (result i32))) (export "run" (func $five)))'
    >>> linker.instantiate(store, Module(store.engine, text)).exports(store)["run"](store)
    5
    """

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        self.engine = engine
        self._allow_shadowing = False
        self._allow_unknown_exports = False
        self._definitions: dict[tuple[str, str], _Definition] = {}

    def __copy__(self) -> Linker:
        """A Linker with the same definitions and settings; what is defined later in one is unknown to the other."""
        self._check_open()
        copied = Linker(self.engine)
        copied._allow_shadowing = self._allow_shadowing
        copied._allow_unknown_exports = self._allow_unknown_exports
        copied._definitions = dict(self._definitions)
        return copied

    def close(self) -> None:
        """Forgets all definitions. Later use raises ClosedError."""
        super().close()
        self._definitions = {}

    @property
    def allow_shadowing(self) -> bool:
        """Whether a name may be defined again; the last definition wins."""
        self._check_open()
        return self._allow_shadowing

    @allow_shadowing.setter
    def allow_shadowing(self, allow: bool) -> None:
        self._check_open()
        self._allow_shadowing = bool(allow)

    @property
    def allow_unknown_exports(self) -> bool:
        """Whether `define_module` leaves out what a command must not export, instead of raising."""
        self._check_open()
        return self._allow_unknown_exports

    @allow_unknown_exports.setter
    def allow_unknown_exports(self, allow: bool) -> None:
        self._check_open()
        self._allow_unknown_exports = bool(allow)

    # ---- defining ----

    def _insert(self, module: str, name: str, definition: _Definition) -> None:
        self._insert_all([((module, name), definition)])

    def _insert_all(self, definitions: Iterable[tuple[tuple[str, str], _Definition]]) -> None:
        """Defines all of them, or raises and defines none."""
        self._check_open()
        added: dict[tuple[str, str], _Definition] = {}
        for (module, name), definition in definitions:
            if not isinstance(module, str) or not isinstance(name, str):
                raise TypeError("expected a str for module and name")
            if not self._allow_shadowing and ((module, name) in self._definitions or (module, name) in added):
                raise LinkError(f"import of `{module}::{name}` defined twice")
            added[module, name] = definition
        self._definitions.update(added)

    def define(self, store: Storelike, module: str, name: str, item: AsExtern) -> None:
        """Defines an item of `store`, or a SharedMemory, which then is there for all Stores.

        Raises LinkError if the name is taken, WasmError for another Store's item.
        """
        record = record_of(store)
        if isinstance(item, SharedMemory):
            self._insert(module, name, _SharedDefinition(item))
            return
        self._insert(module, name, _StoreDefinition(record, item_of(item, record)))

    def define_name(self, store: Storelike, name: str, item: AsExtern) -> None:
        """Defines an item under a one-level name: it is module `name`, with the empty name inside.

        So it is what `get_default` finds. Raises what `define` raises.

        >>> from wasmjit import Store, ValType
        >>> store = Store()
        >>> linker = Linker(store.engine)
        >>> linker.define_name(store, "five", Func(store, FuncType([], [ValType.i32()]), lambda: 5))
        >>> linker.get_default(store, "five")(store)
        5
        """
        self.define(store, name, "", item)

    def define_func(
        self, module: str, name: str, ty: FuncType, func: Callable[..., Any], access_caller: bool = False
    ) -> None:
        """Defines a function implemented in Python (see `Func`) for any Store. Raises LinkError for a taken name."""
        if not isinstance(ty, FuncType):
            raise TypeError("expected a FuncType")
        if not callable(func):
            raise TypeError("expected a callable")
        self._insert(module, name, _HostDefinition(ty._type, func, bool(access_caller)))

    func_new = define_func

    def func_wrap(self, module: str, name: str, func: Callable[..., Any]) -> None:
        """As `define_func`, with the type that the annotations say (see `Func.wrap`).

        A first parameter annotated `Caller` gets the Caller. Raises TypeError for annotations that name no WebAssembly
        type, LinkError for a taken name.

        >>> import wasmjit
        >>> def half(n: wasmjit.i32) -> wasmjit.f64:
        ...     return n / 2
        >>> linker = Linker(Engine())
        >>> linker.func_wrap("math", "half", half)
        >>> store = wasmjit.Store(linker.engine)
        >>> linker.get(store, "math", "half")(store, 5)
        2.5
        """
        ty, takes_caller = function_type(func)
        self.define_func(module, name, ty, func, takes_caller)

    def func_new_unchecked(
        self, module: str, name: str, ty: FuncType, func: Callable[..., Any], access_caller: bool = False
    ) -> None:
        """As `define_func`, without conversion: `func` takes one list of raw slots and returns a sequence of them.

        A slot is an unsigned 64-bit int, the bits of the value (what is returned wraps); a v128 takes two, the low half
        first; the high half of a 32-bit value is unspecified. References are raw, and a wrong one is undefined
        behaviour. With `access_caller` a Caller comes first. Raises LinkError for a taken name.

        >>> from wasmjit import Store, ValType
        >>> store = Store()
        >>> linker = Linker(store.engine)
        >>> types = FuncType([ValType.i64(), ValType.i64()], [ValType.i64()])
        >>> linker.func_new_unchecked("host", "xor", types, lambda slots: [slots[0] ^ slots[1]])
        >>> linker.get(store, "host", "xor")(store, 6, 3)
        5
        """
        if not isinstance(ty, FuncType):
            raise TypeError("expected a FuncType")
        if not callable(func):
            raise TypeError("expected a callable")
        self._insert(module, name, _HostDefinition(ty._type, func, bool(access_caller), unchecked=True))

    def define_native(self, module: str, name: str, ty: FuncType, function: Any) -> None:
        """Defines a C function (see `Func.native`) for any Store.

        Raises TypeError as that does, LinkError for a taken name.

        >>> import ctypes
        >>> from wasmjit import Store, ValType
        >>> prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
        >>> store = Store()
        >>> linker = Linker(store.engine)
        >>> type = FuncType([ValType.f64()], [ValType.f64()])
        >>> linker.define_native("math", "cos", type, prototype(("cos", ctypes.CDLL("libm.so.6"))))
        >>> linker.get(store, "math", "cos")(store, 0.0)
        1.0
        """
        if not isinstance(ty, FuncType):
            raise TypeError("expected a FuncType")
        self._insert(module, name, _ForeignDefinition(ty._type, *foreign_function(function, ty._type)))

    def func_new_async(
        self, module: str, name: str, ty: FuncType, func: Callable[..., Any], access_caller: bool = False
    ) -> None:
        """As `define_func`, for an ``async def``: awaited on the event loop that awaits the call, in the same task.

        The wasm that reaches it has to be run with `Func.call_async` or `instantiate_async`: any other call of it
        raises WasmError.

        >>> import asyncio
        >>> from wasmjit import Store, ValType
        >>> async def later() -> int:
        ...     await asyncio.sleep(0.01)
        ...     return 5
        >>> store = Store()
        >>> linker = Linker(store.engine)
        >>> linker.func_new_async("host", "five", FuncType([], [ValType.i32()]), later)
        >>> text = '(module (import "host" "five" (func $five (result i32))) (export "run" (func $five)))'
        >>> run = linker.instantiate(store, Module(store.engine, text)).exports(store)["run"]
        >>> asyncio.run(run.call_async(store))
        5
        """
        self.define_func(module, name, ty, synchronous(func), access_caller)

    def func_wrap_async(self, module: str, name: str, func: Callable[..., Any]) -> None:
        """As `func_new_async`, with the type that the annotations of the ``async def`` say (see `func_wrap`).

        >>> import asyncio, wasmjit
        >>> async def half(n: wasmjit.i32) -> wasmjit.f64:
        ...     await asyncio.sleep(0)
        ...     return n / 2
        >>> linker = Linker(Engine())
        >>> linker.func_wrap_async("math", "half", half)
        >>> store = wasmjit.Store(linker.engine)
        >>> asyncio.run(linker.get(store, "math", "half").call_async(store, 5))
        2.5
        """
        ty, takes_caller = function_type(func)
        self.func_new_async(module, name, ty, func, takes_caller)

    def define_instance(self, store: Storelike, name: str, instance: Instance) -> None:
        """Defines all exports of an instance under module `name`. Raises LinkError if a name is taken."""
        if not isinstance(instance, Instance):
            raise TypeError("expected an `Instance`")
        record = record_of(store)
        if instance._owner is not record:
            raise WasmError("instance belongs to another Store than the one given")
        exported = instance._instance
        self._insert_all(
            ((name, export.name), _exported(record, exported.item(export)))
            for export in exported.loaded.exports.values()
        )

    instance = define_instance

    def define_module(self, store: Storelike, name: str, module: Module) -> None:
        """Defines a module's exports under `name`, the way WASI means it.

        A command (exports ``_start``) is instantiated anew for every call of one of its functions; anything else is a
        reactor: instantiated now, and ``_initialize`` called if there is one. Raises LinkError if the module is both,
        if a name is taken, or if a command exports something that would have to be shared: only functions can be had
        anew; a memory, a table and what linkers add are left out, as is all else with `allow_unknown_exports`.
        """
        if not isinstance(module, Module):
            raise TypeError("expected a `Module`")
        record = record_of(store)
        kinds = {export.name: export.kind for export in module._decoded.exports}
        if "_start" in kinds and "_initialize" in kinds:
            raise LinkError("a program cannot be both a command (_start) and a reactor (_initialize)")
        for entry in ("_start", "_initialize"):
            if kinds.get(entry, wt.FUNCTION) != wt.FUNCTION:
                raise LinkError(f"`{entry}` must be a function")
        if "_start" in kinds:
            self._define_command(name, module)
            return
        instance = self.instantiate(store, module)
        if "_initialize" in kinds:
            initialize = instance._instance.export(record, "_initialize")
            assert isinstance(initialize, Func)
            initialize(store)
        self.define_instance(store, name, instance)

    module = define_module

    def _define_command(self, name: str, module: Module) -> None:
        prepared = self.instantiate_pre(module)
        decoded = module._decoded
        definitions = []
        for export in decoded.exports:
            if export.kind == wt.FUNCTION:
                type = decoded.function_type(export.index)
                definition = _HostDefinition(type, _command_function(prepared, export.name), True)
                definitions.append(((name, export.name), definition))
            elif not self._allow_unknown_exports and _COMMAND_EXPORTS.get(export.name) != export.kind:
                raise LinkError(f"command export '{export.name}' is not a function")
        self._insert_all(definitions)

    def alias(self, module: str, name: str, as_module: str, as_name: str) -> None:
        """Defines ``as_module::as_name`` as what ``module::name`` is now.

        Raises LinkError if that is not defined, or if the new name is taken.
        """
        self._check_open()
        definition = self._definitions.get((module, name))
        if definition is None:
            raise LinkError(f"cannot make an alias of `{module}::{name}`: it has not been defined")
        self._insert(as_module, as_name, definition)

    def alias_module(self, module: str, as_module: str) -> None:
        """Defines in `as_module` what module `module` has now, by the same names.

        Raises LinkError, and defines nothing, if it has nothing or if a name is taken.
        """
        self._check_open()
        found = [(name, definition) for (of, name), definition in self._definitions.items() if of == module]
        if not found:
            raise LinkError(f"cannot make an alias of module `{module}`: nothing is defined in it")
        self._insert_all(((as_module, name), definition) for name, definition in found)

    def define_wasi(self, *, threads: bool = False) -> None:
        """Defines the functions of WASI preview 1; they work on what `Store.set_wasi` was given.

        With `threads` also ``wasi::thread-spawn``: a module that imports a shared memory and exports
        ``wasi_thread_start`` can then start threads, at most `WasiConfig.max_threads` at a time. Each has a Store with
        the settings of the one that started it, and an instance of the same module, made with the definitions of this
        Linker. A trap, an exception or ``proc_exit`` in one of them ends all, and the call into the Store, which raises
        it; so does the end of ``_start``. Functions that you define are called in all of these threads, at once.

        >>> from wasmjit import Config
        >>> Linker(Engine(Config(shared_memory=True))).define_wasi(threads=True)
        """
        self._check_open()
        # The WASI part stands on this one, so it is looked up only here, when somebody asks for it.
        importlib.import_module("wasmjit.wasi.definitions").add_to_linker(self, threads)

    def define_shared_memories(self, module: Module) -> None:
        """Makes the shared memories that `module` imports and that have no definition, of the type that it imports.

        Raises WasmError if one cannot be had.

        >>> from wasmjit import Config
        >>> engine = Engine(Config(shared_memory=True))
        >>> linker = Linker(engine)
        >>> linker.define_shared_memories(Module(engine, '(module (import "env" "memory" (memory 1 4 shared)))'))
        """
        for key, type in self._unknown_imports(module):
            if isinstance(type, wt.MemoryType) and type.shared:
                self._insert(*key, _SharedDefinition(SharedMemory(self.engine, MemoryType._wrap(type))))

    def define_unknown_imports_as_traps(self, module: Module) -> None:
        """Defines the functions that `module` imports and that have no definition: they raise when called."""
        for key, type in self._unknown_imports(module):
            if isinstance(type, wt.FuncType):
                self._insert(*key, _HostDefinition(type, _unknown_function(*key, type), False))

    def define_unknown_imports_as_default_values(self, store: Storelike, module: Module) -> None:
        """Defines all that `module` imports and that has no definition: functions that return zeros and nulls, globals
        that hold such, memories and tables of the minimum size."""
        record = record_of(store)
        for key, type in self._unknown_imports(module):
            if isinstance(type, wt.FuncType):
                self._insert(*key, _HostDefinition(type, _default_function(type), False))
            elif isinstance(type, wt.TagType):
                raise WasmError("a tag has no default value")
            else:
                self._insert(*key, _StoreDefinition(record, _default_item(record, type)))

    def _unknown_imports(self, module: Module) -> list[tuple[tuple[str, str], wt.ExternType]]:
        """The imports without a definition, each once."""
        self._check_open()
        if not isinstance(module, Module):
            raise TypeError("expected a `Module`")
        unknown: dict[tuple[str, str], wt.ExternType] = {}
        for item in module.imports:
            key = (item.module, item.name)
            if key not in self._definitions:
                unknown.setdefault(key, item._extern_type)
        return list(unknown.items())

    # ---- using ----

    def _resolve(self, module: Module) -> list[tuple[str, _Definition]]:
        """The definition of each import. Raises UnknownImportError."""
        self._check_open()
        if not isinstance(module, Module):
            raise TypeError("expected a `Module`")
        if module._engine is not self.engine:
            raise WasmError(
                "cross-`Engine` instantiation is not supported: the Module and the Linker have different Engines"
            )
        resolved = []
        for position, item in enumerate(module._decoded.imports):
            definition = self._definitions.get((item.module, item.name))
            if definition is None:
                raise UnknownImportError(item.module, item.name, module.imports[position].type)
            resolved.append((f"{item.module}::{item.name}", definition))
        return resolved

    def instantiate(self, store: Storelike, module: Module) -> Instance:
        """Instantiates `module`, its imports by name.

        Raises UnknownImportError for the first import without a definition, else what `Instance` raises.
        """
        record = record_of(store)
        return _instantiate(record, module, self._resolve(module))

    async def instantiate_async(self, store: Storelike, module: Module) -> Instance:
        """As `instantiate`, with the start function run like `Func.call_async` runs a function."""
        from .asynchronous import run

        instance: Instance = await run(record_of(store), self.instantiate, store, module)
        return instance

    async def module_async(self, store: Storelike, name: str, module: Module) -> None:
        """As `define_module`, with what it runs now run like `Func.call_async` runs a function."""
        from .asynchronous import run

        await run(record_of(store), self.define_module, store, name, module)

    def instantiate_pre(self, module: Module) -> InstancePre:
        """Resolves and checks the imports now, for instantiating later, in any number of Stores and threads.

        Raises UnknownImportError, and LinkError for an item of another type. Items of a Store serve that Store only.
        """
        resolved = self._resolve(module)
        check_imports(module._load(), [definition.current_type() for _, definition in resolved])
        return InstancePre(module, resolved)

    def get(self, store: Storelike, module: str, name: str) -> AsExtern:
        """The item under this name. Raises WasmError if there is none or if it belongs to another Store."""
        self._check_open()
        record = record_of(store)
        definition = self._definitions.get((module, name))
        if definition is None:
            raise WasmError("item not defined in linker")
        return wrap_item(record, definition.item(record, f"{module}::{name}"))

    def get_by_import(self, store: Storelike, import_: ImportType) -> AsExtern:
        """The item under the names of an import, of whatever type.

        Raises UnknownImportError if there is none, WasmError if it belongs to another Store.
        """
        if not isinstance(import_, ImportType):
            raise TypeError("expected an ImportType")
        self._check_open()
        if (import_.module, import_.name) not in self._definitions:
            raise UnknownImportError(import_.module, import_.name, import_.type)
        return self.get(store, import_.module, import_.name)

    def iter(self, store: Storelike) -> Iterator[tuple[str, str, AsExtern]]:
        """All that is defined, as (module, name, item), in the order of first definition.

        Raises WasmError if an item belongs to another Store. What is defined meanwhile is left out.

        >>> from wasmjit import Store
        >>> store = Store()
        >>> linker = Linker(store.engine)
        >>> linker.define_func("host", "log", FuncType([], []), lambda: None)
        >>> [(module, name) for module, name, _ in linker.iter(store)]
        [('host', 'log')]
        """
        self._check_open()
        record = record_of(store)
        items = [
            (module, name, wrap_item(record, definition.item(record, f"{module}::{name}")))
            for (module, name), definition in list(self._definitions.items())
        ]
        return iter(items)

    def get_default(self, store: Storelike, name: str) -> Func:
        """What running module `name` means: its export ``""``, else ``_start``, else a function that does nothing."""
        self._check_open()
        record = record_of(store)
        for entry in ("", "_start"):
            definition = self._definitions.get((name, entry))
            if definition is not None:
                item = definition.item(record, f"{name}::{entry}")
                if not isinstance(item, FuncItem):
                    raise LinkError(f"default export in '{name}' is not a function")
                return Func._wrap(record, item)
        return Func._wrap(record, new_host_item(record, wt.FuncType((), ()), lambda: None))


class InstancePre(Handle):
    """A module whose imports are resolved; made by `Linker.instantiate_pre`. Good for many Stores and threads.

    >>> from wasmjit import Store
    >>> engine = Engine()
    >>> module = Module(engine, '(module (func (export "two") (result i32) i32.const 2))')
    >>> prepared = Linker(engine).instantiate_pre(module)
    >>> [prepared.instantiate(store).exports(store)["two"](store) for store in (Store(engine), Store(engine))]
    [2, 2]
    """

    def __init__(self, module: Module, resolved: list[tuple[str, _Definition]]) -> None:
        self._module = module
        self._resolved = resolved

    @property
    def module(self) -> Module:
        """The module it was made from."""
        self._check_open()
        return self._module

    def instantiate(self, store: Storelike) -> Instance:
        """Instantiates in `store`. Raises what `Linker.instantiate` raises."""
        self._check_open()
        return _instantiate(record_of(store), self._module, self._resolved)

    async def instantiate_async(self, store: Storelike) -> Instance:
        """As `instantiate`, with the start function run like `Func.call_async` runs a function."""
        from .asynchronous import run

        instance: Instance = await run(record_of(store), self.instantiate, store)
        return instance


class Blueprint:
    """What instances for further threads are made of. Refers to no store."""

    def __init__(self, module: Module, resolved: list[tuple[str, _Definition]]) -> None:
        # Imports that no other store can have. With one there will be no threads.
        self.of_one_store = [name for name, definition in resolved if isinstance(definition, _StoreDefinition)]
        self._module = module
        self._resolved = [] if self.of_one_store else resolved
        self.makes_threads = False  # whether it is known that the module can have threads

    def prepare(self, record: StoreRecord) -> PreparedInstance:
        """Makes an instance, of code that is there already. Raises what `Linker.instantiate` raises."""
        loaded = checked_load(record, self._module)
        return prepare(record, loaded, [definition.item(record, name) for name, definition in self._resolved])

    def finish(self, record: StoreRecord, prepared: PreparedInstance) -> None:
        """Does what is seen outside of the instance, which can start threads from here on. Raises as `prepare`."""
        record.blueprints[prepared.instance.loaded] = self
        prepared.finish(record)

    @property
    def runs_no_code(self) -> bool:
        """Whether `prepare` runs none of the module."""
        return self._module._load().plan.constants is None


def _instantiate(record: StoreRecord, module: Module, resolved: list[tuple[str, _Definition]]) -> Instance:
    loaded = checked_load(record, module)
    if any(isinstance(definition, AddressDefinition) and definition.starts_threads for _, definition in resolved):
        record.blueprints[loaded] = Blueprint(module, resolved)
    return Instance._wrap(
        record, instantiate(record, loaded, [definition.item(record, name) for name, definition in resolved])
    )


def definition_of(item: object, type: wt.ExternType) -> _Definition:
    """What defines an import of this type for any store: a SharedMemory or a function of Python. Raises TypeError."""
    if isinstance(item, SharedMemory):
        return _SharedDefinition(item)
    if callable(item) and not isinstance(item, Func) and isinstance(type, wt.FuncType):
        return _HostDefinition(type, item, False)
    raise TypeError(f"an import for several Stores must be a SharedMemory or a function, not {item.__class__.__name__}")


def _exported(record: StoreRecord, item: Item) -> _Definition:
    """An item of an instance: a shared memory is there for all Stores."""
    handle = wrap_item(record, item)
    return _SharedDefinition(handle) if isinstance(handle, SharedMemory) else _StoreDefinition(record, item)


def _command_function(prepared: InstancePre, name: str) -> Callable[..., Any]:
    def call(caller: Any, *arguments: Any) -> Any:
        function = prepared.instantiate(caller)._instance.export(caller._record, name)
        assert isinstance(function, Func)
        return function(caller, *arguments)

    return call


def _unknown_function(module: str, name: str, type: wt.FuncType) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise UnknownImportError(module, name, wrap_extern_type(type))

    return call


def _default_function(type: wt.FuncType) -> Callable[..., Any]:
    defaults = [_default_value(result) for result in type.results]
    value = None if not defaults else defaults[0] if len(defaults) == 1 else defaults
    return lambda *arguments: value


def _default_value(valtype: int) -> Any:
    if wt.is_reference(valtype):
        return None  # where null is not allowed, the call raises
    return 0.0 if valtype in (wt.F32, wt.F64) else 0


def _default_item(record: StoreRecord, type: wt.TableType | wt.MemoryType | wt.GlobalType) -> Item:
    if isinstance(type, wt.MemoryType):
        return new_memory_item(record, type)
    content = type.element if isinstance(type, wt.TableType) else type.content
    if not wt.is_defaultable(content):
        raise WasmError(f"{wt.valtype_name(content)} has no default value")
    if isinstance(type, wt.TableType):
        return new_table_item(record, type, 0)
    native = record.open()
    return new_global_item(record, type, allocate(native, 16))


__all__ = ["InstancePre", "Linker"]
