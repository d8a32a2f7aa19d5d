"""Module: decode, validate, compile, serialize; and LoadedModule, what instances of one module share."""

from __future__ import annotations

import contextlib
import os
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

from .. import abi, processes, stopwatch
from ..artifact import Artifact, detect
from ..config import BASELINE, OPTIMIZED, Config
from ..driver import build as driver
from ..driver.build import Progress
from ..errors import ArtifactError, CompileError, CompileTimeoutError, WasmError, printable
from ..processes import importing
from ..reading import read_module
from ..wasm import types as wt
from ..wasm.initial_data import merge
from ..wasm.module import Export
from ..wasm.module import Module as DecodedModule
from .code import LoadedCode, announce, keep_at_exit, load
from .engine import Engine
from .entries import Entries
from .handle import Handle
from .interpreter import Interpreter
from .native import ffi, lib
from .pickles import unpickle
from .plan import InitialData, InstancePlan
from .store import MAX_TIMEOUT_SECONDS
from .trampolines import ENTER, Trampoline, Trampolines
from .type_ids import ModuleTypes, Signature
from .values import AsExternType, ExportType, ImportType, wrap_extern_type

if TYPE_CHECKING:
    from dataclasses import dataclass

    from ..driver.group_code import GroupCode
    from ..driver.trampoline_code import Piece
    from ..tiers.function_tiers import FunctionTiers, Tier
    from ..tiers.lazy import LazyCode, LazyModule
    from ..tiers.optimiser import Optimisation
    from ..wasm.validate import BodyChecker
else:
    from ..records import dataclass

# A function that is reported hot has run for a good part of thresholds.QUESTION_INTERVAL_NS since the last report.
_REPORT_WEIGHT = 1_000_000
STENCIL = "stencil"  # the tier of native code that the interpreter's translation became
# How much of a file it takes to know a compiled one.
_DETECTED_BYTES = 4096
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class OpenFile(Protocol):
    """A file opened for reading that the operating system knows."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


def wat2wasm(wat: str | bytes) -> bytearray:
    """The binary form of a module in the text format. Raises WasmError with line and column if it does not parse.

    >>> wat2wasm("(module)")
    bytearray(b'\\x00asm\\x01\\x00\\x00\\x00')
    """
    if not isinstance(wat, (str, bytes, bytearray)):
        raise TypeError("expected str or bytes")
    return bytearray(driver.text_to_binary(wat))


@contextlib.contextmanager
def compile_within(seconds: float | None) -> Iterator[None]:
    """Has compilations in this thread end with Trap INTERRUPT after so many seconds."""
    try:
        with driver.within(None if seconds is None else min(seconds, MAX_TIMEOUT_SECONDS)):
            yield
    except CompileTimeoutError:
        if seconds is None:
            raise
        from .trap import Trap, TrapCode

        raise Trap._from_code(TrapCode.INTERRUPT.value) from None


@dataclass(frozen=True, slots=True)
class ResourcesRequired:
    """What an instance of a module takes; what it imports does not count. See `Module.resources_required`.

    Sizes are the largest initial size of any one, None without one: of memories in pages, of tables in elements.

    >>> needed = Module(Engine(), "(module (memory 2) (memory 1))").resources_required()
    >>> needed.num_memories, needed.max_initial_memory_size, needed.max_initial_table_size
    (2, 2, None)
    """

    num_memories: int
    max_initial_memory_size: int | None
    num_tables: int
    max_initial_table_size: int | None


@dataclass(frozen=True, slots=True)
class ModuleFunction:
    """A function that a module defines; see `Module.functions`.

    `index` is its number in the module, `name` that of the name section. `offset` and `size` say, in bytes, where its
    machine code lies in `Module.text`.

    >>> (function,) = Module(Engine(), "(module (func $f))").functions()
    >>> function.index, function.name
    (0, 'f')
    """

    index: int
    name: str | None
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class FunctionTier:
    """What calls of a function that a module defines run in now; see `Module.tier_report`.

    `index` is its number in the module, `name` that of the name section. `tier` is one of

    - ``"uncompiled"``: there is no code yet, and the interpreter cannot run it; its first call waits for code
    - ``"interpreted"``, or not called yet
    - ``"stencil"``: native code of pieces that were made with wasmjit itself, put together at the first call
    - ``"baseline"``: code that was made quickly
    - ``"optimized"``

    and only ever rises. `calls` is how often the function and its loops began where that is counted, in the interpreter
    and in the code beside it that counts; None for modules that have neither. `compile_seconds` is the work that making
    its code took, of functions that were compiled together its part by size; None if it has no code, or code that was
    not made just now (from the cache, from a file). `loops` are those at which activations that are in the middle of
    one go on in code of its own: pairs of the offset of the loop's opcode in the module and that code's tier. `size` is
    the size of its machine code in bytes, None without any.

    >>> (function,) = Module(Engine(), "(module (func $f))").tier_report()
    >>> function.index, function.name
    (0, 'f')
    """

    index: int
    name: str | None
    tier: str
    calls: int | None
    compile_seconds: float | None
    loops: tuple[tuple[int, str], ...]
    size: int | None


class ModuleExport:
    """An export looked up once, for `Instance.get_module_export`; made by `Module.get_export_index`.

    >>> module = Module(Engine(), '(module (func (export "run")))')
    >>> module.get_export_index("run")
    <ModuleExport run>
    """

    __slots__ = ("_decoded", "_export")

    _decoded: DecodedModule
    _export: Export

    def __init__(self) -> None:
        raise WasmError("ModuleExport has no constructor: use Module.get_export_index")

    @classmethod
    def _wrap(cls, decoded: DecodedModule, export: Export) -> ModuleExport:
        self = cls.__new__(cls)
        self._decoded = decoded
        self._export = export
        return self

    def __repr__(self) -> str:
        return f"<ModuleExport {printable(self._export.name, newlines=False)}>"


def _body_checker(config: Config) -> BodyChecker:
    """What looks at bodies first. It is imported then: programs that find their code do not wait for it."""

    def check(module: DecodedModule) -> bytearray:
        from .validator import check_bodies

        return check_bodies(module, parallel=config.parallel_compilation)

    return check


class _Code:
    """An artifact and its executable form, which all copies of a Module share.

    `artifact` may be of baseline code, or without any as yet; then `optimisation` makes the better one.
    """

    __slots__ = ("artifact", "engine", "loaded", "lock", "optimisation", "source")

    def __init__(
        self, engine: Engine, artifact: Artifact | LazyModule, optimisation: Optimisation | None = None
    ) -> None:
        self.engine = engine
        self.artifact = artifact
        self.optimisation = optimisation
        self.source: bytes | None = None  # of a module that is compiled as it runs
        self.loaded: LoadedModule | None = None
        self.lock = processes.lock()  # a finalizer may load it, too

    @classmethod
    def compile(cls, engine: Engine, wasm: bytes, progress: Progress) -> _Code:
        """Compiles a binary module to the code that is wanted first. Raises WasmError, and what `progress` raises."""
        from ..tiers.first_code import first_code

        config = engine._config
        check = _body_checker(config)
        self = cls(engine, *first_code(config, wasm, engine._trampolines.code, load, check, progress))
        self.source = wasm if config.starts_at_baseline else None
        return self

    def stored(self) -> Artifact:
        """What is kept or sent elsewhere: the source of what is compiled as it runs. Whatever of it is compiled at the
        moment, equal modules give equal bytes."""
        if self.source is not None:
            return Artifact.of_source(self.source, self.engine._cache_key)
        return self.final_artifact()

    def final_artifact(self) -> Artifact:
        """The artifact with optimised code; waits for it. Raises CompileError if it could not be made."""
        if self.optimisation is None:
            assert isinstance(self.artifact, Artifact)
            return self.artifact
        artifact = self.optimisation.wait()
        assert artifact is not None
        return artifact

    def tiers(self) -> FunctionTiers:
        """The tier that each function is in, also if it is not loaded."""
        from ..tiers.function_tiers import FunctionTiers, Tier

        if self.loaded is not None and self.loaded.tiers is not None:
            return self.loaded.tiers
        better = None if self.optimisation is None else self.optimisation.artifact
        if better is not None:
            return FunctionTiers.of(better, Tier.OPTIMIZED)
        if not isinstance(self.artifact, Artifact):
            return FunctionTiers(self.artifact.tiers())
        return FunctionTiers.of(self.artifact, Tier.OPTIMIZED)

    def sizes(self) -> Sequence[int | None]:
        """How long the machine code of each function is, by position; None without any, as in the interpreter."""
        if self.loaded is not None and self.loaded.tiers is not None:
            return self.loaded.sizes(self.loaded.tiers)
        better = None if self.optimisation is None else self.optimisation.artifact
        artifact = better or self.artifact
        if not isinstance(artifact, Artifact):
            return [None] * len(artifact.module.bodies)
        first = artifact.module.num_imported_functions
        return [
            None if index in artifact.interpreted else size for index, size in enumerate(artifact.code_sizes, first)
        ]

    def load(self) -> LoadedModule:
        """The executable module; loads it on first use."""
        if self.loaded is None:
            with self.lock:
                if self.loaded is None:
                    with stopwatch.phase(stopwatch.LOADING):
                        self.loaded = self._make_loaded()
        return self.loaded

    def _make_loaded(self) -> LoadedModule:
        if self.optimisation is None:
            return LoadedModule(self.engine, self.artifact)
        if self.optimisation.artifact is not None:
            return LoadedModule(self.engine, self.optimisation.artifact)
        try:
            loaded = LoadedModule(self.engine, self.artifact, self.optimisation)
        except CompileError as error:
            raise CompileError(f"making trampolines failed: {error.reason}") from None
        self.optimisation.attach(loaded)
        return loaded


class Module(Handle):
    """A compiled module: thread-safe, good for any number of Stores of its Engine.

    >>> module = Module(Engine(), '(module (func (export "run")))')
    >>> module.exports
    [<ExportType run [] -> []>]
    """

    def __init__(
        self, engine: Engine, wasm: str | bytes | bytearray | memoryview, *, progress: Progress = None
    ) -> None:
        """Compiles `wasm`: a binary module, or the text format as str or bytes.

        `progress` is called in this thread with a CompileProgress after each group of functions; what it raises ends
        the compilation and passes through. A module found in the cache makes no progress, nor does one that is
        compiled function by function (`Config.tier` ``auto``).

        Raises WasmError: with byte offset and function for a malformed or invalid binary, with line and column for
        text.
        """
        _check_engine(engine)
        self._initialize(engine, _Code.compile(engine, driver.to_binary(wasm), progress))

    def _initialize(self, engine: Engine, code: _Code) -> None:
        self._engine = engine
        self._code = code

    @classmethod
    def _wrap(cls, engine: Engine, artifact: Artifact) -> Module:
        artifact.check_compatible(engine._cache_key)
        self = cls.__new__(cls)
        code = _Code(engine, artifact) if artifact.has_code else _Code.compile(engine, artifact.wasm, None)
        self._initialize(engine, code)
        return self

    @classmethod
    def from_binary(cls, engine: Engine, wasm: bytes | bytearray | memoryview) -> Module:
        """Compiles a module in the binary format. Raises WasmError as the constructor does, also for text.

        >>> Module.from_binary(Engine(), b"\\0asm\\1\\0\\0\\0").exports
        []
        """
        _check_engine(engine)
        if not isinstance(wasm, (bytes, bytearray, memoryview)):
            raise TypeError("expected wasm bytes")
        binary = bytes(wasm)
        driver.refuse_precompiled(binary)
        self = cls.__new__(cls)
        self._initialize(engine, _Code.compile(engine, binary, None))
        return self

    @classmethod
    def from_file(cls, engine: Engine, path: Path) -> Module:
        """Compiles the binary or text module in a file. Raises OSError, or WasmError naming the path."""
        _check_engine(engine)
        try:
            with open(path, "rb") as file:
                contents = read_module(file, engine._config.max_module_bytes)
            return cls(engine, contents)
        except WasmError as error:
            error.args = (f"{os.fsdecode(path)}: {error}", *error.args[1:])
            raise

    @classmethod
    def deserialize(cls, engine: Engine, encoded: bytes | bytearray | memoryview) -> Module:
        """The module that `serialize` wrote. It holds native code: use it only if you trust where it comes from.

        Raises ArtifactError if it is damaged, made by another version, for another machine or with another Config.
        """
        _check_engine(engine)
        if not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise TypeError("expected bytes")
        return cls._wrap(engine, Artifact.from_bytes(encoded))

    @classmethod
    def deserialize_file(cls, engine: Engine, path: Path, *, verify: bool = False) -> Module:
        """As `deserialize`, mapping the file, which must not be changed in place while the module lives.

        Header, metadata and function table are checksummed. The machine code is only with `verify`, which reads the
        whole file: damage to it that is not found this way is run, with whatever that does to the process. (Damaged
        names and address maps are found when used, and read as missing; what the interpreter runs is checked when the
        module is first instantiated, which raises ArtifactError.) Use it only if you trust the file.
        Raises ArtifactError, or WasmError if it cannot be read; both name the path.
        """
        _check_engine(engine)
        name = os.fsdecode(path)
        try:
            artifact = Artifact.open_file(name)
        except OSError as error:
            raise WasmError(f"failed to open file {name}: {error.strerror}") from error
        return cls._wrap_named(engine, artifact, name, verify)

    @classmethod
    def deserialize_open_file(cls, engine: Engine, file: OpenFile | int, *, verify: bool = False) -> Module:
        """As `deserialize_file`, for a file opened for reading, or its descriptor; it may be closed afterwards.

        Its position plays no part. Raises ArtifactError, or WasmError if it cannot be mapped (a pipe).
        """
        _check_engine(engine)
        if not isinstance(file, int) and not callable(getattr(file, "fileno", None)):
            raise TypeError("expected an open file")
        name = str(getattr(file, "name", file))
        try:
            artifact = Artifact.map_file(file if isinstance(file, int) else file.fileno(), name)
        except OSError as error:
            raise WasmError(f"failed to map file {name}: {error.strerror or error}") from error
        return cls._wrap_named(engine, artifact, name, verify)

    @classmethod
    def _wrap_named(cls, engine: Engine, artifact: Artifact, name: str, verify: bool) -> Module:
        try:
            if verify:
                artifact.verify()
            return cls._wrap(engine, artifact)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error.reason}") from None

    @classmethod
    def from_trusted_file(cls, engine: Engine, path: Path) -> Module:
        """The module in a file: binary, text, or compiled (``.cwasm``), whichever its contents are.

        A compiled one is native code: use this only for files that you trust. Raises what `from_file` and
        `deserialize_file` raise.
        """
        _check_engine(engine)
        with open(path, "rb") as file:
            if detect(file.read(_DETECTED_BYTES)) is not None:
                return cls.deserialize_open_file(engine, file)
        return cls.from_file(engine, path)

    @classmethod
    def validate(cls, engine: Engine, wasm: bytes | bytearray) -> None:
        """Checks a binary module, also for what cannot be compiled yet. Raises WasmError if malformed or invalid."""
        from ..wasm.decode import decode
        from ..wasm.validate import validate

        _check_engine(engine)
        if not isinstance(wasm, (bytes, bytearray)):
            raise TypeError("expected wasm bytes")
        validate(decode(bytes(wasm), engine._config.features), _body_checker(engine._config))

    def serialize(self) -> bytearray:
        """The module as bytes, for `deserialize` or a ``.cwasm`` file. Equal modules give equal bytes.

        With `Config.tier` ``auto`` they hold the module, which is compiled as it runs wherever it is: nothing is waited
        for. `Engine.precompile_module` and the other tiers give optimised code. So do pickled modules.
        """
        self._check_open()
        return bytearray(self._code.stored().to_bytes())

    def wait_optimized(self, timeout: float | None = None) -> bool:
        """Waits, at most `timeout` seconds, until all calls go to optimised code; False if that takes longer.

        Only with `Config.tier` ``auto`` is there something to wait for. Raises CompileError if the optimised code could
        not be made (the baseline code goes on working).

        >>> from wasmjit import Config
        >>> module = Module(Engine(Config(tier="auto")), '(module (func (export "run")))')
        >>> module.wait_optimized()
        True
        """
        self._check_open()
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise TypeError("expected a number of seconds")
        optimisation = self._code.optimisation
        return optimisation is None or optimisation.wait(timeout) is not None

    def tier_report(self) -> list[FunctionTier]:
        """What each function that the module defines (not imports) runs in at this moment, by index. Waits for nothing.

        >>> from wasmjit import Config
        >>> module = Module(Engine(Config(tier="optimized")), "(module (func $a) (func $b))")
        >>> [(function.name, function.tier) for function in module.tier_report()]
        [('a', 'optimized'), ('b', 'optimized')]
        """
        decoded, tiers, loaded = self._decoded, self._code.tiers(), self._code.loaded
        names, first = decoded.names.functions, decoded.num_imported_functions
        standing = tiers.snapshot()  # before all else: another thread that has one rise leaves what it took first
        seconds = tiers.compile_seconds(decoded, standing)
        sizes = self._code.sizes()
        loops = {} if loaded is None else loaded.entered_loops()
        translations = None if loaded is None else loaded.translations()
        counts = loaded is not None and loaded.counts_calls
        best = BASELINE if self._engine._config.final_opt_level == "none" else OPTIMIZED

        def name_of(tier: Tier) -> str:
            return best if tier == tier.OPTIMIZED else tier.name.lower()

        def report(position: int) -> FunctionTier:
            tier = standing[position]
            name, taken, size = name_of(tier), seconds[position], sizes[position]
            if translations is not None and tier == tier.INTERPRETED:
                code_bytes, translate_seconds = translations[position]
                taken = translate_seconds or None
                if code_bytes:
                    name, size = STENCIL, code_bytes
            return FunctionTier(
                index=first + position,
                name=names.get(first + position),
                tier=name,
                calls=tiers.count(position) if counts else None,
                compile_seconds=taken,
                loops=tuple((offset, name_of(tier)) for offset, tier in loops.get(first + position, ())),
                size=size,
            )

        return [report(position) for position in range(len(decoded.bodies))]

    @property
    def name(self) -> str | None:
        """The name that the name section gives the module."""
        return self._decoded.names.module

    @property
    def imports(self) -> list[ImportType]:
        """What it imports, in order, without removing duplicates."""
        decoded = self._decoded
        return [
            ImportType(item.module, item.name, decoded.import_type(position))
            for position, item in enumerate(decoded.imports)
        ]

    @property
    def exports(self) -> list[ExportType]:
        """What it exports, in order."""
        decoded = self._decoded
        return [ExportType(item.name, extern_type(decoded, item.kind, item.index)) for item in decoded.exports]

    def get_export(self, name: str) -> AsExternType | None:
        """The type of the export `name`; None if there is none.

        >>> module = Module(Engine(), '(module (memory (export "memory") 1 2))')
        >>> module.get_export("memory").limits.max
        2
        """
        export = self._find_export(name)
        if export is None:
            return None
        return wrap_extern_type(extern_type(self._decoded, export.kind, export.index))

    def get_export_index(self, name: str) -> ModuleExport | None:
        """The export `name` for `Instance.get_module_export`, which then looks up no string; None if there is none."""
        export = self._find_export(name)
        return None if export is None else ModuleExport._wrap(self._decoded, export)

    def _find_export(self, name: str) -> Export | None:
        if not isinstance(name, str):
            raise TypeError("expected a str")
        return next((export for export in self._decoded.exports if export.name == name), None)

    @property
    def engine(self) -> Engine:
        """The Engine it was made with."""
        self._check_open()
        return self._engine

    def resources_required(self) -> ResourcesRequired:
        """What each instance takes; imports do not count.

        >>> Module(Engine(), "(module (memory 3) (table 10 funcref))").resources_required()
        ResourcesRequired(num_memories=1, max_initial_memory_size=3, num_tables=1, max_initial_table_size=10)
        """
        decoded = self._decoded
        memories = [type.limits.min for type in decoded.memories[decoded.num_imported_memories :]]
        tables = [type.limits.min for type in decoded.tables[decoded.num_imported_tables :]]
        return ResourcesRequired(len(memories), max(memories, default=None), len(tables), max(tables, default=None))

    @property
    def text(self) -> bytes:
        """The machine code, without constants: what `functions` and `address_map` give offsets into."""
        self._check_open()
        return bytes(self._artifact.text)

    def functions(self) -> list[ModuleFunction]:
        """The functions that the module defines (not imports), in the order of their machine code.

        >>> [f.name for f in Module(Engine(), "(module (func $a) (func $b))").functions()]
        ['a', 'b']
        """
        decoded, artifact = self._decoded, self._artifact
        names, first = decoded.names.functions, decoded.num_imported_functions
        found = [
            ModuleFunction(index, names.get(index), offset, size)
            for index, (offset, size) in enumerate(zip(artifact.code_offsets, artifact.code_sizes, strict=True), first)
        ]
        return sorted(found, key=lambda function: function.offset)

    def address_map(self) -> Iterator[tuple[int, int | None]] | None:
        """Pairs of an offset in `text` and the offset in the wasm module that holds from there up to the next pair.

        Ascending; None for code that belongs to no wasm instruction. Exact for every call and every instruction that
        can trap, and thereby for every frame of a backtrace. None if `Config.generate_address_map` is off.
        """
        self._check_open()
        if not self._engine._config.generate_address_map:
            return None
        offsets, lines = self._artifact.address_map()
        return ((offset, line or None) for offset, line in zip(offsets, lines, strict=True))

    def image_range(self) -> range:
        """The addresses of its machine code in this process; loads the code if no instance has done so."""
        self._code.final_artifact()
        code = self._load().code
        assert code is not None
        return range(code.text_start, code.text_end)

    def initialize_copy_on_write_image(self) -> None:
        """Builds the image that initial memory contents are mapped from, now instead of at the first instantiation (the
        second, if they are small).

        Does nothing for a module without initial contents or with widely scattered ones, with
        `Config.memory_init_cow` off, or where the system has no memfd: they are copied into each instance then.
        """
        loaded = self._load()
        if loaded.plan.memory_types:
            loaded.plan.image(self._engine._config, wanted=True)

    @property
    def _artifact(self) -> Artifact:
        return self._code.final_artifact()

    @property
    def _decoded(self) -> DecodedModule:
        self._check_open()
        return self._code.artifact.module  # the same in every tier

    def _load(self) -> LoadedModule:
        """The executable module; loads it on first use."""
        self._check_open()
        return self._code.loaded or self._code.load()

    def close(self) -> None:
        """Lets go of the code; copies and instances keep what they need. Later use raises ClosedError."""
        super().close()
        self._code = _Code(self._engine, self._code.artifact)

    def __copy__(self) -> Module:
        """Another handle of the same compiled module; costs next to nothing."""
        self._check_open()
        other = type(self).__new__(type(self))
        other._initialize(self._engine, self._code)
        return other

    def __deepcopy__(self, memo: object) -> Module:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled Module is its artifact and the Config of its Engine.

        Unpickling raises ArtifactError where `deserialize` would, and executes native code just as that does: unpickle
        only what you trust. All Modules of equal Configs unpickled in one process share one Engine (`Module.engine`).
        """
        self._check_open()
        return unpickle, (type(self).deserialize, self._engine._config, self._code.stored().to_bytes())

    def __repr__(self) -> str:
        return f"<Module {self._code.artifact.module.names.module or '(unnamed)'}>"


def _check_engine(engine: Engine) -> None:
    """Raises TypeError or ClosedError."""
    if not isinstance(engine, Engine):
        raise TypeError("expected an Engine")
    engine._check_open()


def extern_type(module: DecodedModule, kind: int, index: int) -> wt.ExternType:
    """The type of an item in one of a module's index spaces."""
    if kind == wt.FUNCTION:
        return module.function_type(index)
    if kind == wt.TABLE:
        return module.tables[index]
    if kind == wt.MEMORY:
        return module.memories[index]
    if kind == wt.TAG:
        return wt.TagType(module.called_type(module.tags[index]))
    return module.globals[index]


class _Machine:
    """What lazy code needs of this process (`tiers.lazy.Machine`)."""

    def __init__(self, trampolines: Trampolines, profiler: str) -> None:
        self._trampolines = trampolines
        self._profiler = profiler

    def load(self, code: GroupCode) -> LoadedCode:
        return load(code)

    def announce(self, code: LoadedCode) -> None:
        announce(self._profiler, code)

    def install(self, trampolines: Mapping[str, Piece]) -> object:
        return self._trampolines.install(trampolines)

    def is_interrupted(self) -> bool:
        return bool(lib.wj_is_interrupted())

    def hold_questions(self, seconds: float) -> None:
        lib.wj_hold_questions(int(seconds * 1e9))


class LoadedModule:
    """Executable code and the template of instance contexts: all that instances of a module share.

    A store keeps it alive as long as it has an instance: contexts hold addresses of its code, type ids and data bytes.
    """

    def __init__(
        self, engine: Engine, artifact: Artifact | LazyModule, optimisation: Optimisation | None = None
    ) -> None:
        """With an `optimisation`, the code of `artifact` is what it will replace (tiers/optimiser.py)."""
        # The code of all functions but some, which the interpreter runs (compile/limits.py): as one that is compiled
        # lazily and whose code has come.
        complete: Artifact | None = None
        if isinstance(artifact, Artifact) and artifact.interpreted:
            with importing():
                from ..tiers.lazy import LazyModule
            complete = artifact
            artifact = LazyModule.rest_of(engine._config, engine._trampolines.code, artifact)
        if not isinstance(artifact, Artifact):  # of that, `load` asks
            driver.require_runnable(engine._config)
        self.module = artifact.module
        self.trampolines = engine._trampolines
        self._installed = self.trampolines.install(artifact.trampolines())
        self._profiler = engine._config.profiler
        # Where calls go, if that changes. Running code that is there already needs none of the tiers.
        self.tiers: FunctionTiers | None = None
        self._lazy: LazyCode | None = None
        lazy_module = None if isinstance(artifact, Artifact) else artifact
        if not isinstance(artifact, Artifact):
            machine = _Machine(self.trampolines, self._profiler)
            self._lazy = artifact.code(engine._config, machine)
            self.tiers = self._lazy.tiers
        # Where new calls go, once all functions have code; and where calls may still be.
        self.code: LoadedCode | None = None
        self._codes: list[LoadedCode] = []
        if isinstance(artifact, Artifact):
            self.code = load(artifact)
            self._codes.append(self.code)
            announce(self._profiler, self.code)
        module = self.module
        self._ways_in: dict[int, tuple[wt.FuncType, Signature, Trampoline]] = {}
        self.layout = abi.module_layout(module)
        self.import_types = [module.import_type(position) for position in range(len(module.imports))]
        self.exports = {export.name: export for export in module.exports}
        self.export_names = tuple(self.exports)
        self.types = ModuleTypes(module.types)
        if isinstance(artifact, Artifact):
            self._data = InitialData(module, artifact.take_data_file())
        else:
            self._data = InitialData(merge(module))
        functions = module.func_ref_functions()
        stride_bytes = abi.FUNC_REF["sizeof"]
        first_offset = self.layout.func_refs
        offsets = range(first_offset, first_offset + stride_bytes * len(functions), stride_bytes)
        self.func_ref_offsets = dict(zip(functions, offsets, strict=True))
        self._optimisation = optimisation  # which would not be made if nobody had it
        self._entries: Entries | None = None
        self._interpreter: Interpreter | None = None
        if self.tiers is not None:
            resolver = None if self._lazy is None else self._lazy.resolve
            registered = [] if lazy_module is None else lazy_module.register_entries()
            positions = self._entry_positions(registered)
            self._entries = Entries(len(module.bodies), positions, self.code, resolver, registered)
            if self._lazy is not None and self._lazy.interprets:
                self._interpreter = Interpreter(
                    module, self.types, self.layout, self.func_ref_offsets, self._entries.stubs, engine._config
                )
                self._entries.interpret(self._interpreter, self._lazy.hot)
            self.tiers.attach(self._entries)
        if self._lazy is not None:
            first = self.exports.get("_start")
            if first is not None and first.kind == wt.FUNCTION and first.index >= module.num_imported_functions:
                self._lazy.expect(first.index)
        if complete is not None:
            self.replace_code(load(complete))
        self.plan = InstancePlan(
            module, self.layout, self.func_ref_offsets, self._make_template(), self._data, self.types.ids
        )
        keep_at_exit(self)

    def _entry_positions(self, registered: Sequence[int]) -> list[int]:
        """What func-refs refer to, as words of the function table; `registered`: functions that have register entries,
        beside those of the code."""
        first, count = self.module.num_imported_functions, len(self.module.bodies)
        functions = set(self.func_ref_offsets)
        if self.module.start is not None and self.module.start >= first:
            functions.add(self.module.start)
        positions = [function - first for function in sorted(functions)]
        entries = {abi.function_word(abi.REGISTER_ENTRIES, count, position): position for position in positions}
        has_entry = frozenset(registered)
        return positions + [
            word
            for word, position in entries.items()
            if position in has_entry or (self.code is not None and self.code.functions[word])
        ]

    def weights(self, units: Sequence[range]) -> list[int]:
        """How much groups of functions were used, by the counters in their code, and how often they were reported hot:
        code from stencils counts no loops."""
        assert self._entries is not None
        counts, first = list(self._entries.counts()), self.module.num_imported_functions
        for position, reports in list(self._lazy.reports.items()) if self._lazy is not None else ():
            counts[position] += _REPORT_WEIGHT * reports
        return [sum(counts[unit.start - first : unit.stop - first]) for unit in units]

    def replace_functions(self, code: LoadedCode) -> None:
        """Has later calls of some functions, of a module that is compiled lazily, go to `code`. From any thread."""
        from ..driver.group_code import table_words  # which whoever replaces some functions has

        assert self.tiers is not None
        self._codes.append(code)
        announce(self._profiler, code)
        first = self.module.num_imported_functions
        addresses = dict(zip(code.artifact.functions, code.function_addresses, strict=True))
        entries = code.register_entries
        words = table_words(self.module, addresses, entries, {function - first for function in entries})
        self.tiers.optimize(words, code.artifact.made)

    def replace_code(self, code: LoadedCode) -> None:
        """Has later calls go to `code`: of a module that was made with an `Optimisation`. From any thread."""
        artifact = code.artifact
        assert self.tiers is not None and isinstance(artifact, Artifact)
        if code not in self._codes:
            self._codes.append(code)
            announce(self._profiler, code)
        left = {function - self.module.num_imported_functions for function in artifact.interpreted}
        words = {word: address for word, address in enumerate(code.functions) if address and word not in left}
        self.tiers.optimize(words, artifact.made)
        self.code = code
        self._installed.update(self.trampolines.install(artifact.trampolines()))

    @property
    def counts_calls(self) -> bool:
        """Whether it has functions that count how often they begin."""
        return self._lazy is not None

    def entered_loops(self) -> dict[int, list[tuple[int, Tier]]]:
        """As `LazyCode.entered_loops`."""
        return {} if self._lazy is None else self._lazy.entered_loops()

    def sizes(self, tiers: FunctionTiers) -> list[int | None]:
        """How long the code is that calls of each function go to, by position; None without any."""
        codes: list[Any] = [*self._codes, *(() if self._lazy is None else self._lazy.codes)]
        by_address = {
            address: size
            for code in codes
            for address, size in zip(code.function_addresses, code.artifact.code_sizes, strict=True)
        }
        return [by_address.get(tiers.address(position)) for position in range(len(self.module.bodies))]

    def translations(self) -> list[tuple[int, float]] | None:
        """As `Interpreter.report`; None if nothing is interpreted."""
        return None if self._interpreter is None else self._interpreter.report()

    def _make_template(self) -> bytearray:
        """What is the same in each instance's context: code, type ids, data segments, func-refs but for their vmctx."""
        module, layout = self.module, self.layout
        template = bytearray(layout.size_bytes)
        struct.pack_into("<Q", template, abi.VMCONTEXT["functions"], self._functions_address())
        struct.pack_into("<Q", template, abi.VMCONTEXT["type_ids"], self.types.ids.buffer_info()[0])
        for position, segment in self._data.segments:
            at = layout.data_segments + position * abi.SEGMENT_SLOT["sizeof"]
            size_bytes = segment.data_end - segment.data_start
            struct.pack_into("<QQ", template, at, self._data.address + segment.data_start, size_bytes)
        functions = array("I", self.func_ref_offsets)
        types = array("I", module.functions)
        with ffi.from_buffer("char[]", template) as start, ffi.from_buffer("uint64_t[]", self._addresses()) as table:
            failed = lib.wj_template_func_refs(
                start + layout.func_refs,
                ffi.from_buffer("uint32_t[]", functions),
                len(functions),
                module.num_imported_functions,
                table,
                len(table) // 2,
                ffi.from_buffer("uint32_t[]", types),
                ffi.from_buffer("uint32_t[]", self.types.ids),
                len(self.types.ids),
            )
        if failed:
            raise ArtifactError("the artifact's functions are damaged")
        return template

    def way_in(self, function: int) -> tuple[wt.FuncType, Signature, Trampoline | None]:
        """What calls of a function take: its type, signature and trampoline, if there is one."""
        type = self.module.function_type(function)
        found = self._ways_in.get(id(type))  # the module keeps its types; hashing one takes longer than all the rest
        if found is None:
            signature = self.types.signature(self.module.functions[function], type)
            enter = self.trampolines.find(ENTER, type)
            if enter is None:  # as yet
                return type, signature, None
            found = self._ways_in[id(type)] = type, signature, enter
        return found

    def function_address(self, function: int) -> int:
        """What func-refs have as code of a defined function, by its index in the module's function index space."""
        return self._addresses()[function - self.module.num_imported_functions]

    def _addresses(self) -> array[int]:
        """What func-refs have as code, by position in the function table, and then as `tail_code`."""
        if self._entries is not None:
            return self._entries.addresses
        assert self.code is not None
        return self.code.functions

    def _functions_address(self) -> int:
        if self._entries is not None:
            return self._entries.table_address
        assert self.code is not None
        return self.code.functions_address
