"""Loads an artifact's machine code into this process, and finds the function behind a program counter.

Two loaders behind one interface, `load`: "image" maps the linked image itself and imports no LLVM, so that a start
from a ``.cwasm`` costs what mapping costs; "mcjit" hands the same image to llvmlite's MCJIT, wrapped into an object
with nothing left to relocate. ``WASMJIT_LOADER`` chooses for a whole process. No page is ever writable and executable
at once.

The code stays mapped as long as its LoadedCode lives: whoever may run it holds the LoadedCode.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import mmap
import os
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol

from .. import abi
from ..errors import CompileError, WasmError
from ..target import host_machine
from ..wasm.module import Module
from ..weak_values import WeakMembers, WeakValues
from .native import ffi, lib

LOADERS = ("image", "mcjit")
_IMAGE_SYMBOL = "wasmjit_image"
# AArch64's ADRP counts pages of this size from the image's start, whatever the kernel's pages are.
_INSTRUCTION_PAGE_BYTES = 4096


class Loadable(Protocol):
    """What `load` takes: an Artifact, or the code of some functions (driver/group_code.py)."""

    module: Module
    image_alignment: int
    functions: Sequence[int]  # that there is code of
    code_offsets: Sequence[int]
    code_sizes: Sequence[int]
    register_entries: dict[int, int]
    made: Sequence[tuple[Sequence[int], float]]  # functions that were compiled together, and the seconds it took

    @property
    def function_offsets(self) -> array[int] | memoryview[int]: ...
    @property
    def text(self) -> memoryview: ...
    @property
    def rodata(self) -> memoryview: ...
    @property
    def rodata_offset(self) -> int: ...
    def check_compatible(self) -> None: ...
    def take_file_mapping(self) -> tuple[mmap.mmap, int] | None: ...
    def function_at(self, text_offset: int) -> int | None: ...
    def wasm_offset_at(self, text_offset: int) -> int | None: ...
    def address_map(self) -> tuple[Sequence[int], Sequence[int]]: ...


class LoadedCode:
    """Executable code of one artifact. Made by `load`; unloaded when it is garbage collected.

    `function_addresses` has the entry address of every function that the module defines. `functions` is the module's
    function table, an array of code pointers that generated code calls through, at `functions_address`: storing
    another address there redirects all later calls. It has no counters. `register_entries` has the addresses of those
    that functions have, by function. ``[text_start, text_end)`` is the executable
    range.
    """

    __slots__ = (
        "__weakref__",
        "artifact",
        "function_addresses",
        "functions",
        "functions_address",
        "keep_alive",
        "loader",
        "register_entries",
        "text_end",
        "text_start",
    )

    def __init__(self, artifact: Loadable, loader: str, text_start: int) -> None:
        self.artifact = artifact
        self.loader = loader
        self.text_start = text_start
        self.text_end = text_start + len(artifact.text)
        count = len(artifact.function_offsets)
        self.functions = array("Q", bytes(abi.POINTER_BYTES * abi.function_word(abi.COUNTERS, count, 0)))
        self.functions_address: int = self.functions.buffer_info()[0]
        with ffi.from_buffer("uint32_t[]", artifact.function_offsets) as offsets:
            lib.wj_code_addresses(ffi.cast("uint64_t *", self.functions_address), text_start, offsets, count)
        self.function_addresses: Sequence[int] = self.functions[:count]
        self.register_entries = {function: text_start + at for function, at in artifact.register_entries.items()}
        for function, address in self.register_entries.items():
            position = artifact.functions.index(function)
            self.functions[abi.function_word(abi.REGISTER_ENTRIES, count, position)] = address
        self.keep_alive: tuple[object, ...] = ()  # what keeps the code mapped, and registered

    def __repr__(self) -> str:
        return f"<LoadedCode {self.text_start:#x}-{self.text_end:#x} ({self.loader})>"


# Live code by start address.
_live: WeakValues[int, LoadedCode] = WeakValues()
_changes = itertools.count(1)
_generation = 0
# The starts in ascending order, and the generation they were taken at.
_sorted_starts: tuple[int, list[int]] = (0, [])


def load(artifact: Loadable, loader: str | None = None) -> LoadedCode:
    """Make the code of `artifact` executable. `loader` is one of LOADERS; None: ``$WASMJIT_LOADER``, else "image".

    Raises ArtifactError if this machine cannot run it, WasmError if the system refuses executable memory.
    """
    loader = loader or os.environ.get("WASMJIT_LOADER") or LOADERS[0]
    if loader not in LOADERS:
        raise WasmError(f"unknown loader {loader!r} (one of {', '.join(LOADERS)})")
    artifact.check_compatible()
    if not artifact.text:
        return LoadedCode(artifact, loader, 0)
    text_start, keep_alive = _load_with_mcjit(artifact) if loader == "mcjit" else _load_image(artifact)
    code = LoadedCode(artifact, loader, text_start)
    # Before it is registered, and by C: what a signal handler raises may come at any line of Python, finalizers too,
    # and registered code must not outlive its mapping. Of a tuple, the last goes first.
    code.keep_alive = (keep_alive, ffi.gc(ffi.cast("void *", text_start), lib.wj_code_forget))
    error = lib.wj_code_register(code.text_start, code.text_end)
    if error:
        ffi.gc(code.keep_alive[1], None)
        raise WasmError(f"cannot register {len(artifact.text)} bytes of code: {os.strerror(error)}")
    _live[text_start] = code
    _note_change()
    return code


def announce(profiler: str, code: LoadedCode) -> None:
    """Tells the profiler (`Config.profiler`), if there is one, where the functions are. Raises WasmError."""
    if profiler != "none":
        from .. import profiling

        profiling.announce(profiler, code)


# Owners of code and of what it reads, which daemon threads may still be running when the interpreter ends.
_used_at_exit: WeakMembers[Any] = WeakMembers()


def keep_at_exit(owner: object) -> None:
    """Has `owner` survive the interpreter, if it lives until then: finalization frees what running threads use."""
    _used_at_exit.add(owner)


@atexit.register
def _survive_the_interpreter() -> None:
    for owner in _used_at_exit:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


def _note_change() -> None:
    global _generation
    _generation = next(_changes)


def lookup_pc(pc: int) -> tuple[LoadedCode, int, int | None] | None:
    """The code that holds address `pc`, the function's index in its module, and the offset in the wasm module of the
    instruction, None if unknown. None for addresses outside of wasm functions. For a return address, pass one less."""
    global _sorted_starts
    generation = _generation
    taken_at, starts = _sorted_starts
    if taken_at != generation:
        starts = sorted(_live)
        _sorted_starts = (generation, starts)
    i = bisect_right(starts, pc) - 1
    if i < 0:
        return None
    code = _live.get(starts[i])
    if code is None or pc >= code.text_end:
        return None
    offset = pc - code.text_start
    function = code.artifact.function_at(offset)
    return None if function is None else (code, function, code.artifact.wasm_offset_at(offset))


# ---- the image loader ----
def _load_image(artifact: Loadable) -> tuple[int, object]:
    """Start of the mapped code, and what keeps it mapped."""
    return _load_from_file(artifact) or _load_copy(artifact)


def _load_from_file(artifact: Loadable) -> tuple[int, object] | None:
    """Makes the code executable where its file is mapped: nothing is copied. None if that cannot be done."""
    taken = artifact.take_file_mapping()
    if taken is None:
        return None
    mapping, offset = taken
    if offset % mmap.PAGESIZE or artifact.image_alignment % mmap.PAGESIZE:
        return None
    start = _address_of(mapping) + offset
    # Fails for files on a file system that is mounted noexec.
    if lib.wj_code_protect(start, len(artifact.text), 1):
        return None
    return start, mapping


def _load_copy(artifact: Loadable) -> tuple[int, object]:
    """Copies code and constants into anonymous memory."""
    text, rodata, rodata_offset = artifact.text, artifact.rodata, artifact.rodata_offset
    size = rodata_offset + len(rodata)
    mapping = _map(size)
    mapping[: len(text)] = text
    mapping[rodata_offset:] = rodata
    start = _address_of(mapping)
    # Kernel pages larger than the image's alignment: code and constants share a page.
    separate = rodata_offset % mmap.PAGESIZE == 0
    _protect(start, len(text) if separate else size, executable=True)
    if separate and rodata:
        _protect(start + rodata_offset, len(rodata), executable=False)
    return start, mapping


def executable_copy(code: bytes | bytearray, data_bytes: int = 0) -> tuple[int, object]:
    """Address of a copy of `code` that can be run, and what keeps it mapped.

    Behind its last page follow `data_bytes` of writable memory. Raises WasmError if the system refuses.
    """
    size = -(-len(code) // mmap.PAGESIZE) * mmap.PAGESIZE
    mapping = _map(size + data_bytes)
    mapping[: len(code)] = bytes(code)
    start = _address_of(mapping)
    _protect(start, size, executable=True)
    return start, mapping


def _map(size_bytes: int) -> mmap.mmap:
    try:
        return mmap.mmap(
            -1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    except OSError as error:
        raise WasmError(f"cannot map {size_bytes} bytes for code: {error.strerror}") from error


def _protect(start: int, size_bytes: int, *, executable: bool) -> None:
    failure = lib.wj_code_protect(start, size_bytes, executable)
    if failure:
        raise WasmError(f"the system refuses executable memory: {os.strerror(failure)}")


def _address_of(mapping: mmap.mmap) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(mapping)))


# ---- the MCJIT loader ----
def _load_with_mcjit(artifact: Loadable) -> tuple[int, object]:
    """Start of the code in MCJIT's memory, and the engine that owns it. One engine per artifact: adding and removing
    modules in a shared one leaks."""
    import llvmlite.binding as llvm

    from .. import elf

    # One section: its parts are already linked at their distance. Nothing undefined, for which MCJIT would abort.
    # llvmlite's memory manager keeps code within reach of itself; its own default does not.
    image = bytes(artifact.text).ljust(artifact.rodata_offset if artifact.rodata else 0, b"\0") + bytes(artifact.rodata)
    section = elf.SectionToWrite(
        ".text", image, flags=elf.SHF_ALLOC | elf.SHF_EXECINSTR, alignment=_INSTRUCTION_PAGE_BYTES
    )
    machine = elf.MACHINE_NUMBERS[host_machine()]
    data, _ = elf.write(machine, [section], [(_IMAGE_SYMBOL, 0, 0, len(image))])
    engine = _make_mcjit_engine(llvm)
    engine.add_object_file(llvm.ObjectFileRef.from_data(bytes(data)))
    engine.finalize_object()
    start = engine.get_function_address(_IMAGE_SYMBOL)
    if not start or start % _INSTRUCTION_PAGE_BYTES:
        raise CompileError(f"MCJIT placed the code at {start:#x}")
    return start, engine


def _make_mcjit_engine(llvm: Any) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(reloc="pic", codemodel="small")
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
