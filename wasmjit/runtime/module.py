"""Module: decode, validate, compile, serialize; and LoadedModule, what instances of one module share."""

from __future__ import annotations

import os
import struct
import threading
from array import array
from typing import Any, Union

from .. import abi
from ..artifact import Artifact, detect
from ..cache import Cache
from ..config import Config
from ..errors import WasmError
from ..wasm import types as wt
from ..wasm.module import Module as DecodedModule
from .code import LoadedCode, load
from .engine import Engine
from .handle import Handle
from .native import ffi
from .type_ids import type_id
from .values import ExportType, ImportType

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


def wat2wasm(wat: str | bytes) -> bytearray:
    """The binary form of a module in the text format. Raises WasmError with line and column if it does not parse.

    >>> wat2wasm("(module)")
    bytearray(b'\\x00asm\\x01\\x00\\x00\\x00')
    """
    from ..wasm import text

    if not isinstance(wat, (str, bytes, bytearray)):
        raise TypeError("expected str or bytes")
    return bytearray(text.wat2wasm(wat))


def _to_binary(wasm: Any) -> bytes:
    """The binary module that `wasm` holds as binary or text."""
    if isinstance(wasm, str) and wasm:
        return bytes(wat2wasm(wasm))
    if not isinstance(wasm, (bytes, bytearray, memoryview)):
        raise TypeError("expected wasm bytes")
    binary = bytes(wasm)
    if detect(binary) is not None:
        raise WasmError("this is a compiled module, not WebAssembly: use Module.deserialize")
    return binary if binary[:1] in (b"", b"\0") else bytes(wat2wasm(binary))


def compile_artifact(engine: Engine, wasm: Any) -> Artifact:
    """Compiles a module given as binary or text, or takes it from the cache if the Config has one."""
    config = engine._config
    binary = _to_binary(wasm)
    directory = config.cache_directory
    if directory is None or config.target is not None:  # what is made for other machines is kept elsewhere
        return _compile(config, binary)
    return Cache(directory).get_or_make(binary, config.cache_key(), lambda: _compile(config, binary))


def _compile(config: Config, binary: bytes) -> Artifact:
    # The stages before the artifact are imported here only, so that running a .cwasm never loads them.
    from ..compile import pipeline
    from ..wasm.decode import decode
    from ..wasm.validate import validate_module_level

    module = decode(binary, config.features)
    validate_module_level(module)
    units = pipeline.compile_module(module, config)
    target = pipeline.resolve_target(config)
    return Artifact.from_compiled(module, units, target=target, config_key=config.cache_key())


class Module(Handle):
    """A compiled module: thread-safe, good for any number of Stores of its Engine.

    >>> module = Module(Engine(), '(module (func (export "run")))')
    >>> module.exports
    [<ExportType run [] -> []>]
    """

    def __init__(self, engine: Engine, wasm: str | bytes | bytearray | memoryview) -> None:
        """Compiles `wasm`: a binary module, or the text format as str or bytes.

        Raises WasmError: with byte offset and function for a malformed or invalid binary, with line and column for
        text.
        """
        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        self._initialize(engine, compile_artifact(engine, wasm))

    def _initialize(self, engine: Engine, artifact: Artifact) -> None:
        self._engine = engine
        self._artifact = artifact
        self._loaded: LoadedModule | None = None
        self._loading = threading.Lock()

    @classmethod
    def _wrap(cls, engine: Engine, artifact: Artifact) -> Module:
        artifact.check_compatible(engine._config.cache_key())
        self = cls.__new__(cls)
        self._initialize(engine, artifact)
        return self

    @classmethod
    def from_file(cls, engine: Engine, path: Path) -> Module:
        """Compiles the binary or text module in a file. Raises OSError, or WasmError naming the path."""
        with open(path, "rb") as file:
            contents = file.read()
        try:
            return cls(engine, contents)
        except WasmError as error:
            error.args = (f"{os.fsdecode(path)}: {error}", *error.args[1:])
            raise

    @classmethod
    def deserialize(cls, engine: Engine, encoded: bytes | bytearray) -> Module:
        """The module that `serialize` wrote. It holds native code: use it only if you trust where it comes from.

        Raises ArtifactError if it is damaged, made by another version, for another machine or with another Config.
        """
        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        if not isinstance(encoded, (bytes, bytearray)):
            raise TypeError("expected bytes")
        engine._check_open()
        return cls._wrap(engine, Artifact.from_bytes(encoded))

    @classmethod
    def deserialize_file(cls, engine: Engine, path: Path) -> Module:
        """As `deserialize`, mapping the file, which must not be changed in place while the module lives.

        Header and metadata are checksummed, the native code is not: use it only if you trust the file.
        Raises ArtifactError, or WasmError if it cannot be read; both name the path.
        """
        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        engine._check_open()
        name = os.fsdecode(path)
        try:
            return cls._wrap(engine, Artifact.open_file(name))
        except OSError as error:
            raise WasmError(f"failed to open file {name}: {error.strerror}") from error

    @classmethod
    def validate(cls, engine: Engine, wasm: bytes | bytearray) -> None:
        """Checks a binary module without compiling it. Raises WasmError if it is malformed or invalid."""
        from ..wasm.decode import decode
        from ..wasm.validate import validate

        if not isinstance(engine, Engine):
            raise TypeError("expected an Engine")
        if not isinstance(wasm, (bytes, bytearray)):
            raise TypeError("expected wasm bytes")
        engine._check_open()
        validate(decode(bytes(wasm), engine._config.features))

    def serialize(self) -> bytearray:
        """The compiled module as bytes, for `deserialize` or a ``.cwasm`` file. Equal modules give equal bytes."""
        self._check_open()
        return bytearray(self._artifact.to_bytes())

    @property
    def name(self) -> str | None:
        """The name that the name section gives the module."""
        return self._decoded.names.module

    @property
    def imports(self) -> list[ImportType]:
        """What it imports, in order, without removing duplicates."""
        decoded = self._decoded
        return [
            ImportType(item.module, item.name, import_type(decoded, position))
            for position, item in enumerate(decoded.imports)
        ]

    @property
    def exports(self) -> list[ExportType]:
        """What it exports, in order."""
        decoded = self._decoded
        return [ExportType(item.name, extern_type(decoded, item.kind, item.index)) for item in decoded.exports]

    @property
    def _decoded(self) -> DecodedModule:
        self._check_open()
        return self._artifact.module

    def _load(self) -> LoadedModule:
        """The executable module; loads it on first use."""
        self._check_open()
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    self._loaded = LoadedModule(self._artifact)
        return self._loaded

    def close(self) -> None:
        """Lets go of the code; instances keep what they need. Later use raises ClosedError."""
        super().close()
        self._loaded = None

    def __repr__(self) -> str:
        return f"<Module {self._artifact.module.names.module or '(unnamed)'}>"


def extern_type(module: DecodedModule, kind: int, index: int) -> wt.ExternType:
    """The type of an item in one of a module's index spaces."""
    if kind == wt.FUNCTION:
        return module.function_type(index)
    if kind == wt.TABLE:
        return module.tables[index]
    if kind == wt.MEMORY:
        return module.memories[index]
    return module.globals[index]


def import_type(module: DecodedModule, position: int) -> wt.ExternType:
    """The type of import number `position`."""
    type = module.imports[position].type
    return module.types[type] if isinstance(type, int) else type


def func_ref_functions(module: DecodedModule) -> list[int]:
    """The defined functions with a func-ref slot in the instance context, in slot order (as compile/unit.py has it)."""
    return sorted(f for f in module.referenced_functions if f >= module.num_imported_functions)


def module_layout(module: DecodedModule) -> abi.VMContextLayout:
    """The layout of its instance contexts. The compiler makes the same call (a test compares); it is not imported here
    because running precompiled code must not load the compiler."""
    return abi.layout(
        imported_functions=module.num_imported_functions,
        memories=len(module.memories),
        tables=len(module.tables),
        imported_globals=module.num_imported_globals,
        defined_globals=len(module.globals) - module.num_imported_globals,
        data_segments=len(module.data),
        element_segments=len(module.elements),
        func_refs=len(func_ref_functions(module)),
    )


class LoadedModule:
    """Executable code and the template of instance contexts: all that instances of a module share.

    A store keeps it alive as long as it has an instance: contexts hold addresses of its code, type ids and data bytes.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.module = artifact.module
        self.code: LoadedCode = load(artifact)
        module = self.module
        self.layout = module_layout(module)
        self.import_types = [import_type(module, position) for position in range(len(module.imports))]
        self.exports = {export.name: export for export in module.exports}
        self.type_ids = array("I", [type_id(type) for type in module.types])
        # Kept: from_buffer's object holds the bytes in place.
        self._data = ffi.from_buffer(module.wasm)
        self.data_address = int(ffi.cast("uintptr_t", self._data))
        self.func_ref_offsets = {
            function: self.layout.func_refs + slot * abi.FUNC_REF["sizeof"]
            for slot, function in enumerate(func_ref_functions(module))
        }
        self.template = self._make_template()

    def _make_template(self) -> bytes:
        """What is the same in each instance's context: code, type ids, data segments, func-refs but for their vmctx."""
        module, layout = self.module, self.layout
        template = bytearray(layout.size_bytes)
        struct.pack_into("<Q", template, abi.VMCONTEXT["functions"], self.code.functions_address)
        struct.pack_into("<Q", template, abi.VMCONTEXT["type_ids"], self.type_ids.buffer_info()[0])
        at = layout.data_segments
        for segment in module.data:
            size_bytes = segment.data_end - segment.data_start
            struct.pack_into("<QQ", template, at, self.data_address + segment.data_start, size_bytes)
            at += abi.SEGMENT_SLOT["sizeof"]
        for function, offset in self.func_ref_offsets.items():
            struct.pack_into("<Q", template, offset + abi.FUNC_REF["code"], self.function_address(function))
            id = self.type_ids[module.functions[function]]
            struct.pack_into("<II", template, offset + abi.FUNC_REF["type_id"], id, function)
        return bytes(template)

    def function_address(self, function: int) -> int:
        """The code of a defined function, by its index in the module's function index space."""
        return self.code.function_addresses[function - self.module.num_imported_functions]
