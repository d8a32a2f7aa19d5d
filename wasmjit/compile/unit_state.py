"""What the functions of one LLVM module share while they are made: the choices of the Config, layouts, and counters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import abi
from ..config import Config
from ..target import has_fused_multiply_add
from ..wasm.module import Module
from ..wasm.types import PAGE_SIZE_LOG2, FuncType, MemoryType

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass


@dataclass(frozen=True, slots=True)
class CodePolicy:
    """The choices of a Config that the generators look at."""

    guard_pages: bool
    exact_traps: bool
    optimise_size: bool
    canonical_nans: bool
    deterministic_simd: bool
    fused_multiply_add: bool  # the processor has it; else `deterministic_simd` calls the runtime
    fuel: bool
    epochs: bool
    machine: str  # "x86_64" or "aarch64"
    replaceable: bool = False  # calls within a unit go through the function table too: each can be replaced
    counting: bool = False  # count how often functions and loops begin (metering.py)
    interprets: bool = False  # what LLVM cannot do in proportion is left to the interpreter (limits.py)

    @classmethod
    def from_config(
        cls,
        config: Config,
        machine: str,
        *,
        replaceable: bool = False,
        counting: bool = False,
        interprets: bool = False,
    ) -> CodePolicy:
        """The policy a Config asks for."""
        return cls(
            guard_pages=config.memory_policy.guarded,
            exact_traps=config.exact_traps,
            optimise_size=config.final_opt_level == "speed_and_size",
            canonical_nans=config.nan_canonicalization,
            deterministic_simd=config.wasm_relaxed_simd_deterministic,
            fused_multiply_add=has_fused_multiply_add(machine, config.target, config.cpu, config.cpu_features),
            fuel=config.consume_fuel,
            epochs=config.epoch_interruption,
            machine=machine,
            replaceable=replaceable,
            counting=counting,
            interprets=interprets,
        )


def has_guard_pages(memory: MemoryType) -> bool:
    """Whether the size of such a memory always ends where a guard page can begin; the runtime lays it out so then."""
    return memory.page_size_log2 == PAGE_SIZE_LOG2


class UnitState:
    """What the functions of a unit know of each other and of their module."""

    def __init__(
        self, module: Module, functions: Sequence[int], policy: CodePolicy, layout: abi.VMContextLayout
    ) -> None:
        self.module = module
        self.functions = functions
        self.policy = policy
        self.layout = layout
        self.guard_pages = policy.guard_pages
        self.guarded = frozenset(
            index
            for index, kind in enumerate(module.memories)
            if policy.guard_pages and not kind.is_64 and has_guard_pages(kind)
        )
        # Whether there are types of objects, so that there is a heap; and whether code uses it (heap.py).
        self.has_objects = any(not isinstance(module.types[index], FuncType) for index in module.gc_types)
        self.has_object_code = False
        self.shares_memory = any(kind.shared for kind in module.memories)
        self.wide_memories = frozenset(index for index, kind in enumerate(module.memories) if kind.is_64)
        self.volatile = "volatile " if policy.exact_traps else ""
        # Where accesses are checked first it is not they that trap; volatile ones stay.
        self.keeps_loads = policy.guard_pages and not policy.exact_traps
        self.float_register = "x" if policy.machine == "x86_64" else "w"
        self.func_ref_slots = {f: slot for slot, f in enumerate(module.func_ref_functions())}
        self.num_instructions = 0
        self.callees: list[int] = []  # functions called through the function table, as often as they are
        self.num_anchors = 0  # for names
        self.constants: list[int] = []  # what functions have too many of (`lower.constant_in_memory`)
        self.tangled: set[int] = set()  # functions that are not to be optimised, once the text is made (limits.py)
        # Functions that are not to be compiled, once the text is made: there is a trap in their place.
        self.left: set[int] = set()
        self.interpretable: set[int] = set()  # functions that the interpreter can run, once the text is made
        self.not_interpretable: set[int] = set()  # those of which it is known that the interpreter cannot run them
        # Tail calls (tail_calls.py): functions that make some, functions of this unit that are called so by their name,
        # the signatures for which an adapter is needed, with its number, and those whose prototype is known.
        self.tail_callers: set[int] = set()
        self.tail_called: set[int] = set()
        self.tail_adapters: dict[FuncType, int] = {}
        self.register_prototypes: dict[FuncType, Any] = {}
        # Exceptions (invoke.py): functions that catch some, and the functions that calls with many operands take, with
        # their numbers, by return type and the types of operands.
        self.catching: set[int] = set()
        self.spreads: dict[tuple[str, tuple[str, ...]], int] = {}

    def calls_directly(self, function: int) -> bool:
        """Whether code of this unit calls a defined function by its symbol, not through the function table."""
        return not self.policy.replaceable and function in self.functions

    def may_leave(self, function: int) -> bool:
        """Whether a function may be left to the interpreter."""
        return self.policy.interprets and function not in self.not_interpretable
