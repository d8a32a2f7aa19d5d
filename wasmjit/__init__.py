"""wasmjit: run WebAssembly from Python as native code, compiled by LLVM.

>>> import wasmjit
>>> store = wasmjit.Store()
>>> module = wasmjit.Module(store.engine, '(module (func (export "answer") (result i32) i32.const 42))')
>>> wasmjit.Instance(store, module, []).exports(store)["answer"](store)
42
"""

from __future__ import annotations

from .config import CompileProgress, Config
from .errors import (
    ArtifactError,
    ClosedError,
    CompileError,
    LinkError,
    MalformedError,
    ParameterCountError,
    UnknownImportError,
    UnsupportedError,
    ValidationError,
    WasmError,
)
from .runtime.annotations import externref, f32, f64, funcref, i32, i64, v128
from .runtime.caller import Caller
from .runtime.engine import Engine
from .runtime.exceptions import WasmException
from .runtime.externs import Func, Global, Memory, SharedMemory, Table, Tag
from .runtime.handle import Handle as Managed
from .runtime.instance import Instance, InstanceExports
from .runtime.linker import InstancePre, Linker
from .runtime.module import FunctionTier, Module, ModuleExport, ModuleFunction, ResourcesRequired, wat2wasm
from .runtime.object_reference import AnyRef
from .runtime.objects import ArrayRef, StructRef
from .runtime.shared_memory import WaitResult
from .runtime.store import Store, Storelike
from .runtime.thread_pool import ThreadPool
from .runtime.trap import ExitTrap, Frame, Trap, TrapCode
from .runtime.typed import TypedFunc
from .runtime.value_types import ArrayType, FieldType, FuncType, HeapType, StructType, ValType
from .runtime.values import (
    ExportType,
    GlobalType,
    ImportType,
    Limits,
    MemoryType,
    TableType,
    TagType,
    Val,
)
from .version import VERSION as __version__
from .wasi.clocks import VirtualClock
from .wasi.config import WasiConfig
from .wasi.descriptors import DirPerms, FilePerms
from .wasi.fsspec_fs import FsspecFS
from .wasi.memory_fs import MemoryFS
from .wasi.run import Result, run

# For programs written for the wasmtime package, which has these names.
WasmtimeError = WasmError
StoreContext = Caller

__all__ = [
    "AnyRef",
    "ArrayRef",
    "ArrayType",
    "ArtifactError",
    "Caller",
    "ClosedError",
    "CompileError",
    "CompileProgress",
    "Config",
    "DirPerms",
    "Engine",
    "ExitTrap",
    "ExportType",
    "FieldType",
    "FilePerms",
    "Frame",
    "FsspecFS",
    "Func",
    "FuncType",
    "FunctionTier",
    "Global",
    "GlobalType",
    "HeapType",
    "ImportType",
    "Instance",
    "InstanceExports",
    "InstancePre",
    "Limits",
    "LinkError",
    "Linker",
    "MalformedError",
    "Managed",
    "Memory",
    "MemoryFS",
    "MemoryType",
    "Module",
    "ModuleExport",
    "ModuleFunction",
    "ParameterCountError",
    "ResourcesRequired",
    "Result",
    "SharedMemory",
    "Store",
    "StoreContext",
    "Storelike",
    "StructRef",
    "StructType",
    "Table",
    "TableType",
    "Tag",
    "TagType",
    "ThreadPool",
    "Trap",
    "TrapCode",
    "TypedFunc",
    "UnknownImportError",
    "UnsupportedError",
    "Val",
    "ValType",
    "ValidationError",
    "VirtualClock",
    "WaitResult",
    "WasiConfig",
    "WasmError",
    "WasmException",
    "WasmtimeError",
    "__version__",
    "externref",
    "f32",
    "f64",
    "funcref",
    "i32",
    "i64",
    "run",
    "v128",
    "wat2wasm",
]
