"""Runs functions of `loops_tree` under the wasmtime package and, call by call beside it, in configurations of wasmjit.

Before each call both have the same memory; after it, result or trap and every byte of memory must be equal. What is not
promised is not compared: after a trap, memory (and which trap it is, where two could be) only in configurations that
are exact; see "What exactly is promised about traps and memory?" in docs/rationale.md. Functions in which numbers
stand alone (tame) may differ in the bits of a NaN that an overflow has led to.
"""

from __future__ import annotations

import ctypes
import math
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import wasmtime
from wasmtime import _bindings as bindings

import wasmjit
from wasmjit import thresholds
from wasmjit.tiers.lazy import LazyCode

from .loops_make import Arguments
from .loops_tree import PAGE_BYTES, Function, MemoryShape, binary

# Of wasmtime's: what a call may use; one that takes more is not compared.
FUEL = 400_000
HANG_SECONDS = 100  # calls in hot tiers wait for LLVM, on a busy machine long
NEVER = 1 << 30
# Baseline code does not ask for better code more often (runtime_c/tiering.c: wj_may_ask).
ASKING_SECONDS = 0.011

# By name: options of wasmjit's Config. Those of `--cpu` are added to what is optimised.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "speed": {"tier": "optimized"},
    "size": {"tier": "optimized", "opt_level": "speed_and_size"},
    "baseline": {"tier": "baseline"},
    "auto": {"tier": "auto"},  # interpreted, never hot
    "hot": {
        "tier": "auto"
    },  # soon hot: interpreted, then baseline code from a loop on, then optimised code from one on
    "stencils": {"tier": "auto"},  # native code from stencils, never hot, with registers by use or at random
    "hot_stencils": {"tier": "auto"},  # as "hot", from there
    "exact": {"tier": "optimized", "exact_traps": True},
    "artifact": {"tier": "optimized"},
}
FIRST_TIERS = ("auto", "hot", "stencils", "hot_stencils")
# In optimised code, and in the others: "fuel", "auto-fuel", "hot-fuel", "stencils-fuel".
_OPTIONS: dict[str, dict[str, Any]] = {
    "explicit": {"signals_based_traps": False},
    "fuel": {"consume_fuel": True},
    "epoch": {"epoch_interruption": True},
    "canonical": {"nan_canonicalization": True},
}
# Their memories are shared: LLVM is told less of what is loaded, and code from stencils other things.
_SHARED: dict[str, dict[str, Any]] = {
    "shared": {},
    "shared_exact": {"exact_traps": True},
    "shared_explicit": _OPTIONS["explicit"],
}
_OPTIONS |= {name: {"shared_memory": True, **options} for name, options in _SHARED.items()}
CONFIGURATIONS |= {name: {"tier": "optimized", **options} for name, options in _OPTIONS.items()}
CONFIGURATIONS |= {
    f"{manner}-{name}": {"tier": "auto", **options} for manner in FIRST_TIERS for name, options in _OPTIONS.items()
}
NOT_OPTIMISED = (
    "baseline",
    *(name for name in CONFIGURATIONS if name.partition("-")[0] in ("auto", "stencils")),
)
# A check stands in front of each access: what was stored before is there.
EXACT = ("exact", "explicit", "shared_exact", "shared_explicit")
MUCH_FUEL = 1 << 62


class Subject(NamedTuple):
    """A function, what it is called with, and what memory is before each call."""

    function: Function
    calls: Sequence[Arguments]
    image: bytes
    tame: str = ""


class Disagreement(NamedTuple):
    """Where wasmjit does other than wasmtime."""

    subject: int
    call: int
    configuration: str
    expected: str
    got: str


# What `become_eager` and tier "auto" here change of the process: tests put it back.
CHANGED = (
    (LazyCode, "_ready"),
    (thresholds, "OPTIMISER_PATIENCE_SECONDS"),
    (thresholds, "INTERPRETER_IS_PATIENT"),
    (thresholds, "INTERPRETER_BUDGET"),
    (thresholds, "STENCILS"),
    (thresholds, "REGISTER_SEED"),
    (thresholds, "LOOP_PATIENCE_SECONDS_A_BYTE"),
    (thresholds, "HAND_OVER_PERIOD"),
)


def become_eager() -> None:
    """Makes tier "auto" wait for its compilers, so that what runs where does not depend on time (this process only)."""
    ready = LazyCode._ready
    if getattr(ready, "is_eager", False):
        return

    def eager(code: LazyCode, timeout_seconds: float) -> Any:
        return ready(code, 60)

    eager.is_eager = True  # type: ignore[attr-defined]
    LazyCode._ready = eager  # type: ignore[method-assign]
    thresholds.OPTIMISER_PATIENCE_SECONDS = 3600.0  # no optimiser
    thresholds.INTERPRETER_IS_PATIENT = False
    thresholds.LOOP_PATIENCE_SECONDS_A_BYTE = 0.0
    thresholds.HAND_OVER_PERIOD = 16


class Reference(Protocol):
    """An instance whose behaviour is expected; `memory` is where its memory lies."""

    memory: int

    def call(self, name: str, arguments: Arguments) -> int | str:
        """The result, or the trap's name."""

    def spent(self) -> int:
        """The fuel that the last call took."""

    def close(self) -> None:
        """Frees the instance."""


class Theirs:
    """An instance under wasmtime, called without its Python layers."""

    engine: wasmtime.Engine | None = None

    def __init__(self, wasm: bytes, memory: MemoryShape) -> None:
        if Theirs.engine is None:
            config = wasmtime.Config()
            config.consume_fuel = True
            config.parallel_compilation = False
            Theirs.engine = wasmtime.Engine(config)
        self.store = wasmtime.Store(Theirs.engine)
        self.store.set_fuel(FUEL)
        self.exports = wasmtime.Instance(self.store, wasmtime.Module(Theirs.engine, wasm), []).exports(self.store)
        pointer = self.exports["m"].data_ptr(self.store)  # type: ignore[union-attr]
        self.memory = ctypes.addressof(pointer.contents)
        self.context = self.store._context()
        self.raw = (bindings.wasmtime_val_raw * 6)()
        self.bytes = (ctypes.c_char * ctypes.sizeof(self.raw)).from_buffer(self.raw)

    def spent(self) -> int:
        """The fuel that the last call took."""
        return FUEL - self.store.get_fuel()

    def close(self) -> None:
        """Frees the instance."""
        self.store.close()

    def call(self, name: str, arguments: Arguments) -> int | str:
        """The result, or the trap's name."""
        bindings.wasmtime_context_set_fuel(self.context, FUEL)
        n, m, a, b, s, x = arguments
        self.bytes[:] = struct.pack("<i12xi12xi12xi12xq8xd8x", n, m, a, b, s, x)
        trap = ctypes.POINTER(bindings.wasm_trap_t)()
        function = self.exports[name]._func  # type: ignore[union-attr]
        error = bindings.wasmtime_func_call_unchecked(
            self.context, ctypes.byref(function), self.raw, 6, ctypes.byref(trap)
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if not trap:
            return int(struct.unpack_from("<q", self.bytes)[0])
        code = ctypes.c_uint8()
        bindings.wasmtime_trap_code(trap, ctypes.byref(code))
        bindings.wasm_trap_delete(trap)
        return wasmtime.TrapCode(code.value).name


class Configuration:
    """A named configuration for a CPU (empty: this machine's), with its Engine."""

    def __init__(self, kind: str, cpu: str = "") -> None:
        self.kind = kind
        self.cpu = cpu
        self.name = f"{kind} {cpu}".strip()
        config = wasmjit.Config(**{"tier": "optimized", **CONFIGURATIONS[kind]})
        if cpu:
            config.cpu = cpu
        self.engine = wasmjit.Engine(config)
        self.manner = kind.partition("-")[0]
        if self.manner in FIRST_TIERS:
            become_eager()

    def takes(self, memory: MemoryShape) -> bool:
        """Whether it is another one than others for such memories."""
        return not (memory.is_64 and self.kind.endswith("explicit"))


def is_shared(kind: str) -> bool:
    """Whether memories are, in a configuration."""
    return "shared_memory" in CONFIGURATIONS[kind]


class _Ours:
    def __init__(self, configuration: Configuration, wasm: bytes, functions: int) -> None:
        self.kind = configuration.kind
        self.name = configuration.name
        self.is_hot = configuration.manner in ("hot", "hot_stencils")
        if configuration.manner in FIRST_TIERS:
            thresholds.INTERPRETER_BUDGET = 7 if self.is_hot else NEVER
            thresholds.STENCILS = configuration.manner in ("stencils", "hot_stencils")
            thresholds.REGISTER_SEED = zlib.crc32(wasm) % 4
            # Half of them stay in stencils from call to call, and are left at the loops that ask.
            thresholds.FEW_CALLS = NEVER if self.is_hot and zlib.crc32(wasm) % 2 else 2
            thresholds.WATCHES_LOOPS = False
            thresholds.LOOP_PATIENCE_SECONDS_A_BYTE = 0
        store = wasmjit.Store(configuration.engine, timeout=HANG_SECONDS)
        self.store = store
        self.counts_fuel = "consume_fuel" in CONFIGURATIONS[self.kind]
        if self.counts_fuel:
            store.set_fuel(MUCH_FUEL)
        if "epoch_interruption" in CONFIGURATIONS[self.kind]:
            store.set_epoch_deadline(1 << 40)
        module = wasmjit.Module(configuration.engine, wasm)
        if self.kind == "artifact":
            module = wasmjit.Module.deserialize(configuration.engine, module.serialize())
        exports = wasmjit.Instance(store, module, []).exports(store)
        self.kept = store, module
        self.calls: list[Any] = [exports[f"f{i}"].typed(store) for i in range(functions)]  # type: ignore[union-attr]
        memory: Any = exports["m"]
        self.view = memory.view(*[] if is_shared(self.kind) else [store])
        self.memory = ctypes.addressof((ctypes.c_char * len(self.view)).from_buffer(self.view))

    def call(self, index: int, arguments: Arguments) -> int | str:
        """The result, or the trap's name."""
        if self.counts_fuel:
            self.store.set_fuel(MUCH_FUEL)
        try:
            return int(self.calls[index](*arguments))
        except wasmjit.Trap as trap:
            return trap.trap_code.name

    def spent(self) -> int:
        """The fuel that the last call took."""
        return MUCH_FUEL - self.store.get_fuel()


def equal_but_for_nans(ours: bytes, theirs: bytes, tame: str) -> bool:
    """Whether two memories of floats differ only where both have a NaN."""
    bits, letter = ("I", "f") if tame == "f32" else ("Q", "d")
    one, two = memoryview(ours), memoryview(theirs)
    pairs = zip(one.cast(bits), two.cast(bits), strict=True)
    different = [place for place, (x, y) in enumerate(pairs) if x != y]
    floats = one.cast(letter), two.cast(letter)
    return all(math.isnan(each[place]) for each in floats for place in different)


def _difference(ours: bytes, theirs: bytes) -> tuple[str, str]:
    first = next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y)
    count = sum(x != y for x, y in zip(ours, theirs, strict=True))
    return (
        f"memory[{first}:] {theirs[first : first + 8].hex()}",
        f"{ours[first : first + 8].hex()} ({count} bytes differ)",
    )


class Counts(NamedTuple):
    """What was run: calls of ours compared, of which those that trapped; calls not compared for their fuel."""

    executions: int
    traps: int
    skipped: int


class Batch:
    """Subjects in one module, under wasmtime and under all configurations that take it."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        memory: MemoryShape,
        configurations: Sequence[Configuration],
        theirs: Callable[[bytes, MemoryShape], Reference] = Theirs,
    ) -> None:
        self.subjects = subjects
        self.size = memory.pages * PAGE_BYTES
        wasm = binary([subject.function for subject in subjects], memory)
        self.theirs = theirs(wasm, memory)
        functions = [subject.function for subject in subjects]
        self.ours = [
            _Ours(c, binary(functions, memory, is_shared=True) if is_shared(c.kind) else wasm, len(subjects))
            for c in configurations
            if c.takes(memory)
        ]
        self.counts = Counts(0, 0, 0)

    def disagreements(self) -> Iterator[Disagreement]:
        """Runs everything; of a function and configuration yields the first disagreement."""
        libc = ctypes.CDLL(None)
        memmove, memcmp = ctypes.memmove, libc.memcmp
        memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        size = self.size
        theirs = self.theirs
        executions = traps = skipped = 0
        try:
            for index, subject in enumerate(self.subjects):
                found: set[str] = set()
                for number, arguments in enumerate(subject.calls):
                    memmove(theirs.memory, subject.image, size)
                    expected = theirs.call(f"f{index}", arguments)
                    if expected == "OUT_OF_FUEL":
                        skipped += 1
                        continue
                    for ours in self.ours:
                        if ours.name in found:
                            continue
                        memmove(ours.memory, subject.image, size)
                        if ours.is_hot and number % 4 == 3:
                            time.sleep(ASKING_SECONDS)
                        got = ours.call(index, arguments)
                        executions += 1
                        traps += isinstance(expected, str)
                        # What is left after a trap is each compiler's own.
                        if ours.counts_fuel and got == expected and not isinstance(got, str):
                            wanted, took = theirs.spent(), ours.spent()
                            if wanted != took and wanted < FUEL:  # what is missing in the end is not told
                                found.add(ours.name)
                                yield Disagreement(index, number, ours.name, f"{wanted} of fuel", f"{took}")
                                continue
                        if got == expected and memcmp(ours.memory, theirs.memory, size) == 0:
                            continue
                        wrong = self._judge(subject, ours, expected, got)
                        if wrong:
                            found.add(ours.name)
                            yield Disagreement(index, number, ours.name, *wrong)
        finally:
            self.counts = Counts(executions, traps, skipped)

    def _judge(self, subject: Subject, ours: _Ours, expected: int | str, got: int | str) -> tuple[str, str] | None:
        """What was expected, and what was seen; None if that is allowed."""
        both_trap = isinstance(expected, str) and isinstance(got, str) and got != "INTERRUPT"
        if both_trap and ours.kind not in EXACT:
            return None
        if expected != got:
            return str(expected), str(got)
        mine = ctypes.string_at(ours.memory, self.size)
        other = ctypes.string_at(self.theirs.memory, self.size)
        if mine == other or (subject.tame and equal_but_for_nans(mine, other, subject.tame)):
            return None
        return _difference(mine, other)

    def close(self) -> None:
        """Frees the instances."""
        for ours in self.ours:
            ours.view.release()
            ours.calls.clear()
            ours.kept[0].close()
        self.theirs.close()
