"""A compiled module: linked machine code and everything else that running it takes, and its ``.cwasm`` form.

A ``.cwasm`` is an ELF file, so that readelf and objdump can look at it, but loading reads only our own header, the
first section: fixed fields and a table of sections, checksummed as a whole. There are two more kinds of checksum. One
covers everything behind the header: bytes from memory must pass it, files when `Artifact.verify` is called. The other
is one per section: metadata and function ranges are checked when opened, names and address maps when first used.

Sections: ``.wasmjit.header``, ``.wasmjit.meta`` (JSON: what it was compiled for), ``.wasmjit.module`` and
``.wasmjit.indices`` (see `metadata`), ``.wasmjit.constants`` (bodies of constant functions, which are always
interpreted), ``.wasmjit.funcs`` (code offset and size of each function),
``.wasmjit.trampolines`` (see `Artifact.trampolines`), ``.wasmjit.bodies``, ``.wasmjit.names``, ``.wasmjit.addrmap``,
``.wasmjit.data``, ``.wasmjit.wasm`` (see `Artifact.interpreted`), ``.text``, ``.rodata``, symbols.
The distance between ``.text`` and ``.rodata`` is the same in the file as in memory: one mapping makes the image.
"""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import abi, metadata
from .errors import ArtifactError
from .target import Target, host_machine, missing_features
from .version import VERSION
from .wasm.initial_data import MIN_MAPPED_BYTES, PAGE_BYTES
from .wasm.module import FunctionBody, Module, Names

if TYPE_CHECKING:
    from .link import Unit

HEADER_MAGIC = b"\0wjcwasm"
# 2 and 5 had code in which masked indices were wrong (compile/narrow.py), 3 and 4 lost traps (compile/exact.py); 6 had
# code for all functions, 7 did not say which functions the interpreter can run, 8 had no types of references, 11 had no
# constant functions, 12 and 13 lost traps (compile/promotion.py), 14 too (compile/exact.py),
# 15 did not tell which features a named CPU has, 16 did not say whether there is code.
FORMAT_VERSION = 17
KIND_MODULE, KIND_COMPONENT = 1, 2
KIND_NAMES = {KIND_MODULE: "module", KIND_COMPONENT: "component"}

# magic, format version, kind, file size, number of sections, CRC of the head (this field as 0), CRC of the rest
_HEADER = struct.Struct("<8sIIQIII4x")
_ENTRY = struct.Struct("<16sQQI4x")  # name, offset in the file, size in bytes, CRC
_ELF_MAGIC = b"\x7fELF"
_HEADER_AT = 64  # behind the ELF header
_HEAD_CRC_AT = _HEADER_AT + 28
_LARGEST_SECTION_COUNT = 64

META, MODULE, INDICES, CONSTANTS, FUNCTIONS, TRAMPOLINES, BODIES, NAMES, ADDRESS_MAP, DATA, WASM, TEXT, RODATA = (
    "meta",
    "module",
    "indices",
    "constants",
    "funcs",
    "trampolines",
    "bodies",
    "names",
    "addrmap",
    "data",
    "wasm",
    "text",
    "rodata",
)
_SECTION_NAMES = (
    META,
    MODULE,
    INDICES,
    CONSTANTS,
    FUNCTIONS,
    TRAMPOLINES,
    BODIES,
    NAMES,
    ADDRESS_MAP,
    DATA,
    WASM,
    TEXT,
    RODATA,
)
_NAMES_BY_FIELD = {name.encode().ljust(16, b"\0"): name for name in _SECTION_NAMES}
_CHECKED_WHEN_OPENED = (META, MODULE, INDICES, CONSTANTS, FUNCTIONS, TRAMPOLINES)
RECOMPILE = "compile the module again with this version (`wasmjit compile`, Module.serialize)"
# Parts of Config.cache_key() that say what the code runs on: the artifact's Target is compared with the host instead.
_TARGET_OPTIONS = frozenset(("target", "cpu", "cpu_features"))

Buffer = bytes | bytearray | memoryview | mmap.mmap


@functools.cache
def abi_hash() -> str:
    """A checksum of the contract between generated code and runtime."""
    return f"{zlib.crc32(abi.render_header().encode()):08x}"


class DataFile:
    """A descriptor, which this closes in the end, and where in that file the bytes of data segments begin."""

    __slots__ = ("descriptor", "offset_bytes")

    def __init__(self, descriptor: int, offset_bytes: int) -> None:
        self.descriptor = descriptor
        self.offset_bytes = offset_bytes

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be gone when the process ends
        close(self.descriptor)


class Artifact:
    """A compiled module. Made by `from_compiled`, `from_bytes` or `open_file`; immutable and thread-safe."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        sections: Mapping[str, memoryview],
        *,
        checksums: Mapping[str, int] | None = None,
        serialized: memoryview | None = None,
    ) -> None:
        """`properties` is the metadata section's JSON. Raises ArtifactError where it is damaged."""
        self._sections = sections
        self._checksums = checksums
        self._serialized = serialized
        # Taken by pop(), which needs no lock: a finalizer or a signal handler may come in between.
        self._mapping: list[tuple[mmap.mmap, int]] = []
        self._data_file: list[DataFile] = []
        self._functions_by_offset: tuple[list[int], list[int]] | None = None  # sorted starts, and whose they are
        self._address_map: tuple[Sequence[int], Sequence[int]] | None = None
        try:
            self.version: str = properties["version"]
            self.abi_hash: str = properties["abi"]
            self.config_key: str = properties["config"]
            self.source_hash: str = properties["source"]
            self.target = Target(properties["triple"], properties["cpu"], _parse_features(properties["features"]))
            self.image_alignment: int = properties["image_alignment"]
            self._trampolines: dict[str, list[int]] = properties["trampolines"]
            first: int = properties["imported_functions"]
            register_entries: list[list[int]] = properties["register_entries"]
            interpreted: list[int] = properties["interpreted"]
            compiled_only: list[int] = properties["compiled_only"]
            # Without, it holds a module that is yet to be compiled (of_source): `wasm` is all that there is.
            self.has_code: bool = properties["has_code"]
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"the artifact's metadata is damaged ({error!r})") from None
        self.module: Module = metadata.StoredModule(first, self._load_module, self._load_names, self._load_bodies)
        ranges = self._numbers(FUNCTIONS)
        count = len(ranges) // 2
        self.functions: Sequence[int] = range(first, first + count)
        if len(ranges) % 2 or not 0 < self.image_alignment <= 1 << 20:
            raise ArtifactError("the artifact's function table is damaged")
        self.function_offsets: memoryview[int] = ranges[:count]
        self.function_sizes: Sequence[int] = ranges[count:]
        # Where each function's code is: at its entry, or behind it (compile/tail_calls.py).
        self.code_offsets: Sequence[int] = self.function_offsets
        self.code_sizes: Sequence[int] = self.function_sizes
        self.register_entries: dict[int, int] = {}  # function -> offset, of those whose code is behind their entry
        # Functions that there is no code of (compile/limits.py); `wasm` is empty without any.
        self.interpreted = _functions_of(interpreted, self.functions)
        # Functions that the interpreter cannot run; known if there are interpreted ones.
        self.compiled_only = _functions_of(compiled_only, self.functions)
        # Functions that were compiled together and the seconds it took, of what was made just now: not in any file.
        self.made: Sequence[tuple[Sequence[int], float]] = ()
        if register_entries:
            offsets, sizes = list(self.function_offsets), list(self.function_sizes)
            try:
                for function, offset, size in register_entries:
                    if not first <= function < first + count:
                        raise ValueError(f"no function {function}")
                    offsets[function - first], sizes[function - first] = offset, size
                    self.register_entries[function] = offset
            except (TypeError, ValueError) as error:
                raise ArtifactError(f"the artifact's register entries are damaged ({error})") from None
            self.code_offsets, self.code_sizes = offsets, sizes

    # ---- making ----
    @classmethod
    def from_compiled(
        cls,
        module: Module,
        units: Iterable[Unit],
        *,
        target: Target,
        config_key: str,
        trampolines: Mapping[str, bytes | memoryview] | None = None,
        source_hash: str | None = None,
        keep_address_map: bool = True,
    ) -> Artifact:
        """Link `units`, the compiled functions of the decoded `module`, into an artifact.

        `config_key` is `Config.cache_key()`. `trampolines` is code by symbol.
        `source_hash` (hex) identifies the wasm; by default it is computed.
        Without `keep_address_map` backtraces show where functions begin instead of where they are.
        Raises CompileError where the objects are not what the loader can take.
        """
        # Only here: running an artifact needs neither.
        import hashlib

        from . import link

        first = module.num_imported_functions
        units = list(units)
        interpreted = [unit.first_function + number for unit in units if unit.is_left for number in range(unit.count)]
        is_interpretable = module.interpretable if interpreted else b""
        image = link.link(units, first, len(module.functions) - first)
        stripped = metadata.strip(module)
        places: dict[str, list[int]] = {}
        trampoline_code = bytearray()
        for name, code in sorted((trampolines or {}).items()):
            places[name] = [len(trampoline_code), len(code)]
            trampoline_code += code
        encoded, indices = metadata.encode_module(stripped)
        properties = {
            "version": VERSION,
            "abi": abi_hash(),
            "config": config_key,
            "source": source_hash or hashlib.sha256(module.wasm).hexdigest(),
            "triple": target.triple,
            "cpu": target.cpu,
            "features": ",".join(target.features),
            "image_alignment": image.alignment,
            "trampolines": places,
            "imported_functions": first,
            "register_entries": image.register_entries,
            "interpreted": interpreted,
            "has_code": True,
            "compiled_only": [function for function, may_be in enumerate(is_interpretable, first) if not may_be],
        }
        sections = {
            META: metadata.dump_json(properties),
            MODULE: metadata.dump_json(encoded),
            INDICES: indices,
            CONSTANTS: stripped.constant_code,
            FUNCTIONS: image.function_offsets.tobytes() + image.function_sizes.tobytes(),
            TRAMPOLINES: bytes(trampoline_code),
            BODIES: metadata.encode_bodies(module),
            NAMES: metadata.encode_names(module.names),
            ADDRESS_MAP: image.address_offsets.tobytes() + image.address_lines.tobytes() if keep_address_map else b"",
            DATA: bytes(stripped.wasm),
            WASM: bytes(module.wasm) if interpreted else b"",
            TEXT: image.text,
            RODATA: image.rodata,
        }
        # Through JSON, so that a fresh artifact cannot differ from the same one deserialized.
        artifact = cls(json.loads(sections[META]), {name: memoryview(data) for name, data in sections.items()})
        artifact.made = [(range(unit.first_function, unit.first_function + unit.count), unit.seconds) for unit in units]
        return artifact

    @classmethod
    def of_source(cls, wasm: bytes, config_key: str) -> Artifact:
        """One without code: a valid module, to be compiled where it is used (`Module.serialize` in tier ``auto``)."""
        import hashlib

        properties = {
            "version": VERSION,
            "abi": abi_hash(),
            "config": config_key,
            "source": hashlib.sha256(wasm).hexdigest(),
            "triple": f"{host_machine()}-unknown-linux-gnu",
            "cpu": "generic",
            "features": "",
            "image_alignment": 1,
            "trampolines": {},
            "imported_functions": 0,
            "register_entries": [],
            "interpreted": [],
            "compiled_only": [],
            "has_code": False,
        }
        sections = dict.fromkeys(_SECTION_NAMES, b"")
        sections[META] = metadata.dump_json(properties)
        sections[WASM] = wasm
        return cls(properties, {name: memoryview(data) for name, data in sections.items()})

    # ---- bytes ----
    def to_bytes(self) -> bytes:
        """The ``.cwasm`` file's contents: the same for the same module, config, target and version."""
        return bytes(self.serialized)

    def _serialize(self) -> bytes:
        from . import elf

        header_size = _HEADER.size + len(_SECTION_NAMES) * _ENTRY.size
        alignments = {TEXT: self.image_alignment, RODATA: self.image_alignment}
        if len(self._sections[DATA]) >= MIN_MAPPED_BYTES:
            alignments[DATA] = PAGE_BYTES  # initial memory contents are mapped from the file, too
        flags = {TEXT: elf.SHF_ALLOC | elf.SHF_EXECINSTR, RODATA: elf.SHF_ALLOC}
        to_write = [elf.SectionToWrite(".wasmjit.header", bytes(header_size))]
        for name in _SECTION_NAMES:
            elf_name = "." + name if name in flags else ".wasmjit." + name
            contents = bytes(self._sections[name])
            to_write.append(
                elf.SectionToWrite(elf_name, contents, flags=flags.get(name, 0), alignment=alignments.get(name, 8))
            )
        first = self.module.num_imported_functions
        names = self.module.names.functions if self.has_code else {}
        text_position = 1 + _SECTION_NAMES.index(TEXT)
        symbols = [
            (f"wasm[{index}]" + (f"::{names[index]}" if index in names else ""), text_position, offset, size)
            for index, (offset, size) in enumerate(zip(self.code_offsets, self.code_sizes, strict=True), first)
        ]
        data, offsets = elf.write(elf.MACHINE_NUMBERS[self.target.machine], to_write, symbols)
        entries = b"".join(
            _ENTRY.pack(name.encode(), offset, len(section.data), zlib.crc32(section.data))
            for name, offset, section in zip(_SECTION_NAMES, offsets[1:], to_write[1:], strict=True)
        )
        head_end = _HEADER_AT + header_size
        contents_crc = zlib.crc32(memoryview(data)[head_end:])
        count = len(_SECTION_NAMES)
        data[_HEADER_AT:head_end] = (
            _HEADER.pack(HEADER_MAGIC, FORMAT_VERSION, KIND_MODULE, len(data), count, 0, contents_crc) + entries
        )
        struct.pack_into("<I", data, _HEAD_CRC_AT, zlib.crc32(memoryview(data)[:head_end]))
        return bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Artifact:
        """Read a ``.cwasm`` from memory; everything is checksummed. Raises ArtifactError if it is damaged, is not a
        compiled module, or has another format version. Whether it can run here is for `check_compatible` to say."""
        view = memoryview(bytes(data))
        artifact = cls._parse(view)
        artifact.verify()
        return artifact

    @classmethod
    def open_file(cls, path: str | os.PathLike[str]) -> Artifact:
        """Map the ``.cwasm`` file at `path`. Header, metadata and function ranges are checked; the machine code only
        when `verify` is called. The file must not be changed in place while the artifact lives (replacing it is fine).
        Raises ArtifactError, naming the path; OSError where the file cannot be read."""
        with open(path, "rb", buffering=0) as file:
            return cls.map_file(file.fileno(), os.fspath(path))

    @classmethod
    def map_file(cls, descriptor: int, path: str = "artifact", size_bytes: int | None = None) -> Artifact:
        """As `open_file`, for an open file descriptor, which may be closed afterwards, and the first `size_bytes`."""
        size = os.fstat(descriptor).st_size if size_bytes is None else size_bytes
        try:
            if size < _HEADER_AT + _HEADER.size:
                raise ArtifactError(f"not a compiled wasmjit module: {size} bytes")
            mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
            artifact = cls._parse(memoryview(mapping))
            artifact._mapping = [(mapping, artifact._text_offset_in_file)]
            if len(artifact._sections[DATA]) >= MIN_MAPPED_BYTES:
                with contextlib.suppress(OSError):  # too many open files: the contents will be copied
                    artifact._data_file = [DataFile(os.dup(descriptor), artifact._data_offset_in_file)]
            return artifact
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error.reason}") from None

    _text_offset_in_file = _data_offset_in_file = 0

    @classmethod
    def _parse(cls, view: memoryview) -> Artifact:
        entries = _read_head(view)
        sections: dict[str, memoryview] = {}
        checksums: dict[str, int] = {}
        offsets: dict[str, int] = {}
        for raw_name, offset, size, checksum in entries:
            name = _NAMES_BY_FIELD.get(raw_name, "?")
            if offset > len(view) or size > len(view) - offset:
                raise ArtifactError(f"truncated: section {name} lies outside the file")
            sections[name], checksums[name], offsets[name] = view[offset : offset + size], checksum, offset
        if tuple(sections) != _SECTION_NAMES:
            raise ArtifactError("the artifact's section table is damaged")
        for name in _CHECKED_WHEN_OPENED:
            if zlib.crc32(sections[name]) != checksums[name]:
                raise ArtifactError(f"damaged: section {name} has a wrong checksum")
        artifact = cls(_parse_json(sections[META]), sections, checksums=checksums, serialized=view)
        artifact._text_offset_in_file, artifact._data_offset_in_file = offsets[TEXT], offsets[DATA]
        if offsets[RODATA] - offsets[TEXT] != artifact.rodata_offset and artifact.rodata:
            raise ArtifactError("the artifact's code and constants are not where they belong")
        return artifact

    def verify(self) -> None:
        """Checksum everything, the machine code too. Raises ArtifactError if anything is damaged."""
        view = self._serialized
        if view is not None:
            head_end = _HEADER_AT + _HEADER.size + len(_SECTION_NAMES) * _ENTRY.size
            if zlib.crc32(view[head_end:]) != _HEADER.unpack_from(view, _HEADER_AT)[6]:
                raise ArtifactError("damaged: the contents have a wrong checksum")
        if not self.has_code:
            _ = self.wasm
            return
        _ = self.module.types  # has everything parsed
        text_end = len(self.text)
        for offsets, sizes in ((self.function_offsets, self.function_sizes), (self.code_offsets, self.code_sizes)):
            for offset, size in zip(offsets, sizes, strict=True):
                if offset + size > text_end:
                    raise ArtifactError("the artifact's function table is damaged")

    @property
    def serialized(self) -> memoryview:
        """What it was read from; a fresh one is serialized."""
        if self._serialized is None:
            self._serialized = memoryview(self._serialize())
        return self._serialized

    # ---- contents ----
    @property
    def text(self) -> memoryview:
        """The machine code."""
        return self._sections[TEXT]

    @property
    def wasm(self) -> bytes:
        """The binary module, if there are `interpreted` functions or no code at all. Raises ArtifactError where it is
        damaged."""
        wasm = bytes(self._sections[WASM])
        if self.has_code and not self.interpreted:
            return wasm
        if self._checksums is not None and zlib.crc32(wasm) != self._checksums[WASM]:
            raise ArtifactError("damaged: section wasm has a wrong checksum")
        import hashlib  # few artifacts need it

        # What is interpreted is not validated again, so it has to be what was.
        if hashlib.sha256(wasm).hexdigest() != self.source_hash:
            raise ArtifactError("damaged: section wasm is not the module that was compiled")
        return wasm

    def trampolines(self) -> dict[str, memoryview]:
        """Code that carries calls between Python and the module's functions, by symbol (compile/trampolines.py).

        Each piece stands alone. Raises ArtifactError where it is damaged.
        """
        code = self._sections[TRAMPOLINES]
        try:
            pieces = {name: code[offset : offset + size] for name, (offset, size) in self._trampolines.items()}
            if sum(map(len, pieces.values())) == len(code):
                return pieces
        except (AttributeError, TypeError, ValueError):
            pass
        raise ArtifactError("the artifact's trampolines are damaged")

    @property
    def rodata(self) -> memoryview:
        """The constants that the code refers to; they belong at `rodata_offset` of the image."""
        return self._sections[RODATA]

    @property
    def rodata_offset(self) -> int:
        """Distance in bytes of the constants from the start of the code."""
        return -(-len(self.text) // self.image_alignment) * self.image_alignment

    def take_file_mapping(self) -> tuple[mmap.mmap, int] | None:
        """The mapped file and the code's offset in it, if this artifact came from a file; once, then None.

        Only one loaded copy of the code can live in the mapping.
        """
        return _taken(self._mapping)

    def take_data_file(self) -> DataFile | None:
        """The open file that the data segments' bytes are in, if this artifact came from one; once, then None."""
        return _taken(self._data_file)

    def address_map(self) -> tuple[Sequence[int], Sequence[int]]:
        """Code offsets, ascending, and the wasm module offset (0: unknown) that holds from each up to the next."""
        if self._address_map is None:
            numbers = self._numbers(ADDRESS_MAP) if self._is_intact(ADDRESS_MAP) else memoryview(b"").cast("I")
            half = len(numbers) // 2
            self._address_map = numbers[:half], numbers[half:]
        return self._address_map

    def function_at(self, text_offset: int) -> int | None:
        """The index of the function whose code holds `text_offset`, None if there is none."""
        if self._functions_by_offset is None:
            order = sorted(range(len(self.code_offsets)), key=self.code_offsets.__getitem__)
            self._functions_by_offset = [self.code_offsets[i] for i in order], order
        starts, order = self._functions_by_offset
        found = bisect_right(starts, text_offset) - 1
        if found < 0 or text_offset >= starts[found] + self.code_sizes[order[found]]:
            return None
        return self.module.num_imported_functions + order[found]

    def wasm_offset_at(self, text_offset: int) -> int | None:
        """The offset in the wasm module of the instruction that the code at `text_offset` belongs to, if known."""
        offsets, lines = self.address_map()
        i = bisect_right(offsets, text_offset) - 1
        return (lines[i] or None) if i >= 0 else None

    def _numbers(self, name: str) -> memoryview[int]:
        data = self._sections[name]
        if len(data) % 4:
            raise ArtifactError(f"damaged: section {name} has {len(data)} bytes")
        return data.cast("I")

    def _is_intact(self, name: str) -> bool:
        """Whether a section that is parsed when first used, then too late for errors, passes its checksum."""
        data = self._sections[name]
        return len(data) % 8 == 0 and (self._checksums is None or zlib.crc32(data) == self._checksums[name])

    def _load_module(self) -> Module:
        encoded = _parse_json(self._sections[MODULE])
        constant_code = bytes(self._sections[CONSTANTS])
        module = metadata.decode_module(encoded, self._numbers(INDICES), self._sections[DATA], constant_code)
        first = module.num_imported_functions
        if range(first, len(module.functions)) != self.functions:
            raise ArtifactError("the artifact's function table is damaged")
        return module

    def _load_names(self) -> Names:
        data = self._sections[NAMES]
        if self._checksums is not None and zlib.crc32(data) != self._checksums[NAMES]:
            return Names()
        return metadata.decode_names(bytes(data))

    def _load_bodies(self) -> list[FunctionBody]:
        count = len(self.function_offsets)
        if not self._is_intact(BODIES) or len(self._sections[BODIES]) != 8 * count:
            return [FunctionBody(0, 0)] * count
        return metadata.decode_bodies(bytes(self._sections[BODIES]))

    # ---- compatibility ----
    def check_compatible(self, config_key: str | None = None, *, runs_here: bool = True) -> None:
        """Raises ArtifactError, saying what differs and what to do, unless this process can run the artifact.

        With `config_key` (`Config.cache_key()`) it must also have been compiled with an equivalent Config. Without
        `runs_here` it may be for a CPU that has more than this one: whoever loads it asks again.
        """
        if self.version != VERSION:
            raise ArtifactError(f"compiled by wasmjit {self.version}, this is wasmjit {VERSION}: {RECOMPILE}")
        if self.abi_hash != abi_hash():
            raise ArtifactError(
                f"compiled for the runtime interface {self.abi_hash}, this one's is {abi_hash()}: {RECOMPILE}"
            )
        if self.has_code:
            check_machine(self.target)
        if self.has_code and runs_here:
            check_runnable(self.target)
        if config_key is not None:
            difference = _config_difference(self.config_key, config_key)
            if difference:
                raise ArtifactError(
                    f"compiled with another Config ({difference}): use the same options or compile the module again"
                )


def check_machine(target: Target) -> None:
    """Raises ArtifactError for another architecture or system."""
    if target.machine != host_machine():
        raise ArtifactError(
            f"compiled for {target.triple}, this machine is {host_machine()}: compile it for this machine"
        )
    if target.system != "linux":
        raise ArtifactError(f"compiled for {target.triple}, this is Linux: compile it for this machine")


def check_runnable(target: Target) -> None:
    """Raises ArtifactError unless this machine can run code for `target`."""
    check_machine(target)
    missing = missing_features(target.features)
    if missing:
        raise ArtifactError(
            f"compiled for CPU {target.cpu} with {', '.join(missing)}, which this CPU lacks:"
            " compile it on this machine, with Config.cpu set to a generic one, or without these (Config.cpu_features)"
        )


@functools.lru_cache(maxsize=16)  # nearly always those of this machine
def _parse_features(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _functions_of(indices: object, defined: Sequence[int]) -> frozenset[int]:
    """A list of defined functions. Raises ArtifactError if it is none."""
    if not isinstance(indices, list) or not all(type(index) is int and index in defined for index in indices):
        raise ArtifactError("the artifact's metadata is damaged (lists of functions)")
    return frozenset(indices)


_Item = TypeVar("_Item")


def _taken(items: list[_Item]) -> _Item | None:
    try:
        return items.pop()
    except IndexError:
        return None


# What is written has a few.
_MOST_LEVELS = 50


def _parse_json(data: memoryview) -> Any:
    """Raises ArtifactError; RecursionError, as any code may, where the program has few frames left."""
    try:
        return json.loads(bytes(data))
    except ValueError:
        pass
    except RecursionError:
        if _levels(bytes(data)) <= _MOST_LEVELS:
            raise
    raise ArtifactError("the artifact's metadata is damaged")


def _levels(text: bytes) -> int:
    """How deep brackets are nested, those in strings included."""
    level = most = 0
    for char in text:
        level += (char in b"[{") - (char in b"]}")
        most = max(most, level)
    return most


def _config_difference(mine: str, other: str) -> str:
    """``opt_level is none, expected speed``: how two Config.cache_key() differ in what no Target tells."""
    if mine == other:
        return ""
    theirs = dict(part.partition("=")[::2] for part in other.split(";"))
    ours = dict(part.partition("=")[::2] for part in mine.split(";"))
    names = sorted((set(ours) | set(theirs)) - _TARGET_OPTIONS)
    return ", ".join(
        f"{name} is {ours.get(name, 'unset')}, expected {theirs.get(name, 'unset')}"
        for name in names
        if ours.get(name) != theirs.get(name)
    )


def _read_head(view: memoryview) -> list[tuple[bytes, int, int, int]]:
    """Check ELF header, our header and section table; returns the table's rows."""
    kind = detect(view)
    if kind is None:
        raise ArtifactError("not a compiled wasmjit module")
    _, version, _, size, count, head_crc, _ = _HEADER.unpack_from(view, _HEADER_AT)
    if version != FORMAT_VERSION:
        raise ArtifactError(f"artifact format {version}, this version reads {FORMAT_VERSION}: {RECOMPILE}")
    table_at = _HEADER_AT + _HEADER.size
    head_end = table_at + count * _ENTRY.size
    if count > _LARGEST_SECTION_COUNT or len(view) < head_end:
        raise ArtifactError("truncated or damaged: the section table lies outside the file")
    head = bytearray(view[:head_end])
    head[_HEAD_CRC_AT : _HEAD_CRC_AT + 4] = bytes(4)
    if zlib.crc32(head) != head_crc:
        raise ArtifactError("damaged: the header has a wrong checksum")
    if size != len(view):
        raise ArtifactError(f"truncated or extended: {len(view)} bytes of {size}")
    if kind != "module":
        raise ArtifactError(f"a compiled {kind}, not a module")
    return list(_ENTRY.iter_unpack(view[table_at:head_end]))


def detect(data: Buffer) -> str | None:
    """``module`` or ``component`` if `data` starts as a ``.cwasm`` does, else None.

    >>> detect(b"\\0asm") is None
    True
    """
    view = memoryview(data)
    if len(view) < _HEADER_AT + _HEADER.size or bytes(view[:4]) != _ELF_MAGIC:
        return None
    magic, _, kind, *_ = _HEADER.unpack_from(view, _HEADER_AT)
    return KIND_NAMES.get(kind) if magic == HEADER_MAGIC else None
