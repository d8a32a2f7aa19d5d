"""Config: every option, declared and documented once; the feature flags, the memory policy and the cache key.

An option is one `Option` row of class `Config`: name, default, check, what it does, and whether it changes
generated code (then it is part of `Config.cache_key()`). Names follow the wasmtime package's Config where it has one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

from .errors import UnsupportedError, WasmError
from .reading import read_written

if TYPE_CHECKING:
    from dataclasses import dataclass, fields
else:
    from .records import dataclass, fields

Value = TypeVar("Value")

GIB = 1 << 30
# A 32-bit memory never exceeds this, so a reservation of this size needs no bounds check of the address itself.
FULL_RESERVATION_BYTES = 4 * GIB
# Generated code leaves out the check of accesses whose constant offset plus size is at most this
# (compile/memory.py), so a smaller guard means explicit checks.
MIN_GUARD_BYTES = 2 * GIB

OPT_LEVELS = ("none", "speed", "speed_and_size")
TIER_VARIABLE = "WASMJIT_TIER"
BASELINE, OPTIMIZED, AUTO = TIERS = ("baseline", "optimized", "auto")
ARCHITECTURES = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True)
class Features:
    """Proposals that a module may use; an attribute per ``Config.wasm_*`` option.

    `check` is how the decoder and the validator ask, so that "off in the Config" and "not supported by this version
    of wasmjit" read the same everywhere.
    """

    threads: bool = True
    tail_call: bool = True
    reference_types: bool = True
    simd: bool = True
    bulk_memory: bool = True
    multi_value: bool = True
    multi_memory: bool = True
    memory64: bool = True
    relaxed_simd: bool = True
    exceptions: bool = True
    function_references: bool = True
    gc: bool = True
    wide_arithmetic: bool = False
    custom_page_sizes: bool = False
    extended_const: bool = True
    stack_switching: bool = False
    component_model: bool = True

    def check(self, name: str, offset: int | None = None) -> None:
        """Raises UnsupportedError, naming `offset`, unless proposal `name` is both supported and on."""
        if name not in SUPPORTED_FEATURES:
            raise UnsupportedError(f"feature {name} is not supported yet", offset=offset)
        self.check_is_on(name, offset)

    def check_is_on(self, name: str, offset: int | None = None) -> None:
        """As `check`, of what this version has of the proposal."""
        if not getattr(self, name):
            raise UnsupportedError(
                f"feature {name} is off in the Config (wasm_{name}; `-W {name.replace('_', '-')}=y`)", offset=offset
            )


# What this version implements. A later proposal is added here when its opcodes are.
SUPPORTED_FEATURES = frozenset(
    {
        "reference_types",
        "bulk_memory",
        "multi_value",
        "multi_memory",
        "memory64",
        "custom_page_sizes",
        "wide_arithmetic",
        "extended_const",
        "simd",
        "relaxed_simd",
        "tail_call",
        "function_references",
        "threads",
        "exceptions",
        "gc",
    }
)


@dataclass(frozen=True, slots=True)
class MemoryPolicy:
    """How 32-bit linear memories are laid out; generated code and runtime must agree on it.

    `guarded`: `reservation_bytes` of address space with `guard_bytes` of inaccessible space before and after; an access
    whose constant offset plus size is at most `MIN_GUARD_BYTES` needs no check, and the base never moves.
    Otherwise every access is checked explicitly, and the base may move on growth past the reservation.
    64-bit memories are always checked.
    """

    guarded: bool
    reservation_bytes: int
    guard_bytes: int

    def __str__(self) -> str:
        return f"guarded:{self.reservation_bytes}:{self.guard_bytes}" if self.guarded else "checked"


class CompileProgress(NamedTuple):
    """How far a compilation is: what `Module` calls its `progress` with, after each unit (a group of functions).

    >>> from wasmjit import Config, Engine, Module
    >>> seen = []
    >>> module = Module(Engine(Config(tier="optimized")), "(module (func) (func))", progress=seen.append)
    >>> seen[-1]
    CompileProgress(functions_done=2, functions_total=2, units_done=1, units_total=1)
    """

    functions_done: int
    functions_total: int
    units_done: int
    units_total: int


class Option(Generic[Value]):
    """One option of Config, as a descriptor: `check` refuses wrong values, `doc` says what it does."""

    def __init__(self, default: Value, check: Callable[[str, Any], Value], doc: str, *, changes_code: bool) -> None:
        self.default = default
        self.check = check
        self.changes_code = changes_code
        self.__doc__ = doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, config: None, owner: type) -> Option[Value]: ...
    @overload
    def __get__(self, config: Config, owner: type) -> Value: ...
    def __get__(self, config: Config | None, owner: type) -> Option[Value] | Value:
        if config is None:
            return self
        value: Value = config._values.get(self.name, self.default)
        return value

    def __set__(self, config: Config, value: Value) -> None:
        config._values[self.name] = self.check(self.name, value)


def _bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected a bool")
    return value


def _truth(name: str, value: Any) -> bool:
    return bool(value)


def _size_bytes(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("expected an int")
    if not 0 <= value < 1 << 64:
        raise WasmError(f"{name}: {value} is not a size in bytes")
    return value


def _seconds(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("expected an int")
    if not 0 <= value < 1 << 31:
        raise WasmError(f"{name}: {value} is not a number of seconds")
    return value


def _optional_seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("expected seconds or None")
    if not 0 < value < 1 << 31:
        raise WasmError(f"{name}: {value} is not a number of seconds")
    return float(value)


def _optional_text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("expected a str")
    return value


def _choice(what: str, *choices: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in choices:
            raise WasmError(f"unknown {what}: {value} (one of {', '.join(choices)})")
        return str(value)

    return check


def _target(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("expected a str")
    architecture, _, rest = value.partition("-")
    if {"arm64": "aarch64"}.get(architecture, architecture) not in ARCHITECTURES or not rest:
        raise WasmError(f"unrecognized target triple: {value} (supported architectures: {', '.join(ARCHITECTURES)})")
    if not re.search(r"-(linux|darwin|macos)", value):
        raise WasmError(
            f"unsupported target triple: {value} (supported systems: linux, as in {architecture}-unknown-"
            f"linux-gnu, and macOS, as in {architecture}-apple-darwin)"
        )
    return value


def _cpu_features(name: str, value: Any) -> str | None:
    text = _optional_text(name, value)
    for feature in text.split(",") if text else ():
        if not re.fullmatch(r"[+-][A-Za-z0-9_.\-]+", feature.strip()):
            raise WasmError(f"{name}: expected LLVM's form '+avx2,-fma', got {feature!r}")
    return text


def _cache(name: str, value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise TypeError("expected string or bool")
    if value.endswith(".toml"):
        _directory_from_toml(value)  # so that an unreadable one is refused here
    return value


def _feature(default: bool, doc: str) -> Option[bool]:
    return Option(default, _bool, f"Whether modules may use the {doc} proposal.", changes_code=True)


class Config:
    """Options for an Engine. Set them as attributes or give them by name; the Engine takes a copy.

    >>> config = Config(opt_level="none")
    >>> config.max_wasm_stack = 1 << 20
    >>> config  # doctest: +ELLIPSIS
    Config(max_wasm_stack=1048576, opt_level='none'...)
    """

    # ---- the language ----
    wasm_threads = _feature(True, "threads")
    wasm_tail_call = _feature(True, "tail call")
    wasm_reference_types = _feature(True, "reference types")
    wasm_simd = _feature(True, "fixed-width SIMD")
    wasm_bulk_memory = _feature(True, "bulk memory")
    wasm_multi_value = _feature(True, "multi-value")
    wasm_multi_memory = _feature(True, "multi-memory")
    wasm_memory64 = _feature(True, "memory64")
    wasm_relaxed_simd = _feature(True, "relaxed SIMD")
    wasm_exceptions = _feature(True, "exception handling")
    wasm_function_references = _feature(True, "typed function references")
    wasm_gc = _feature(True, "garbage collection")
    wasm_wide_arithmetic = _feature(False, "wide arithmetic")
    wasm_custom_page_sizes = _feature(False, "custom page sizes")
    wasm_extended_const = _feature(True, "extended constant expressions")
    wasm_stack_switching = _feature(False, "stack switching")
    wasm_component_model = _feature(True, "component model")
    wasm_component_model_map = _feature(False, "component model's map types")
    wasm_component_model_implements = _feature(False, "component model's implements")
    wasm_relaxed_simd_deterministic = Option(
        False, _bool, "Relaxed SIMD gives the same results on every processor, at some cost.", changes_code=True
    )
    shared_memory = Option(False, _bool, "Whether shared memories can be created.", changes_code=False)
    gc_support = Option(True, _bool, "Whether the garbage-collected heap is available at all.", changes_code=False)

    gc_heap_reservation = Option(
        4 * GIB,
        _size_bytes,
        "Address space in bytes reserved for the objects of garbage collection of each Store that has some: 129 MiB"
        " to 4 GiB. They cannot take more than that less 128 MiB.",
        changes_code=False,
    )

    # ---- code generation ----
    opt_level = Option(
        "speed",
        _choice("opt level", *OPT_LEVELS),
        "`none` (LLVM O0: quick to compile), `speed` (O2) or `speed_and_size` (Os).",
        changes_code=True,
    )
    tier = Option(
        AUTO,
        _choice("tier", *TIERS),
        "`auto`: functions are interpreted, or begin in native code that is made as fast, and hot ones compiled as with"
        " `baseline`; another process makes"
        " the optimised code meanwhile, which replaces all that while it runs (see `Module.wait_optimized`)."
        " What cannot be interpreted is compiled at its first call."
        " `optimized`: code of `opt_level`, before `Module` returns. `baseline`: code as with `opt_level` `none`."
        " The environment variable `WASMJIT_TIER` sets another default for a process.",
        changes_code=False,  # but for what `cache_key` says as opt_level
    )
    strategy = Option(
        "auto",
        _choice("strategy", "auto", "cranelift", "llvm"),
        "Accepted for the wasmtime package's sake: all choices compile with LLVM.",
        changes_code=False,
    )
    target = Option(
        None,
        _target,
        "LLVM target triple of the code; None is this machine. Another one compiles only.",
        changes_code=True,
    )
    cpu = Option(
        None,
        _optional_text,
        "LLVM CPU name; None is this machine's, or a generic one with `target`.",
        changes_code=True,
    )
    cpu_features = Option(
        None, _cpu_features, "CPU features to add or remove, as LLVM writes them: `+avx2,-fma`.", changes_code=True
    )
    exact_traps = Option(
        False,
        _bool,
        "Every memory access happens, in order, as the host sees it after a trap (no loop with memory accesses"
        " vectorises). Otherwise each trap still happens, but other stores around it may move.",
        changes_code=True,
    )
    nan_canonicalization = Option(
        False,
        _bool,
        "Every NaN that arithmetic yields is the canonical one: results equal on all processors.",
        changes_code=True,
    )
    debug_info = Option(False, _bool, "Keep what debuggers need in the generated code.", changes_code=True)
    native_unwind_info = Option(
        True, _bool, "Accepted; our backtraces walk frame pointers and need no unwind tables.", changes_code=False
    )
    generate_address_map = Option(
        True,
        _bool,
        "Keep which machine code belongs to which wasm instruction, for backtraces and `Module.address_map`.",
        changes_code=True,
    )
    consume_fuel = Option(False, _bool, "Code counts fuel and traps when it is used up.", changes_code=True)
    epoch_interruption = Option(
        False, _truth, "Code looks at the engine's epoch and traps at the deadline.", changes_code=True
    )
    verify_ir = Option(
        False,
        _bool,
        "LLVM's verifier checks our IR before and after optimisation (slow; for finding our defects).",
        changes_code=False,
    )
    parallel_compilation = Option(
        True,
        _bool,
        "Units of a module compile in several processes, and large ones are validated by several threads.",
        changes_code=False,
    )
    profiler = Option(
        "none",
        _choice("profiler", "none", "jitdump", "vtune", "perfmap"),
        "Which profiler to tell about loaded code: `perfmap` writes /tmp/perf-PID.map, `jitdump` jit-PID.dump in the"
        " working directory; `vtune` is accepted, and told nothing.",
        changes_code=False,
    )
    cache: Option[bool | str] = Option(
        False,
        _cache,
        "Keep compiled modules on disk: True for the default directory, a path for a directory of your own or for a"
        " wasmtime cache configuration file (TOML, its `directory` is used).",
        changes_code=False,
    )

    compile_timeout = Option(
        None,
        _optional_seconds,
        "Seconds after which making a `Module`'s code ends with CompileError; None is no limit. (Text generation of a"
        " group of functions is not interrupted.) With `tier` `auto` there is little to wait for.",
        changes_code=False,
    )
    max_module_bytes = Option(
        1 << 30, _size_bytes, "Larger binary modules are refused with CompileError.", changes_code=False
    )
    max_function_bytes = Option(
        7_654_321,
        _size_bytes,
        "Modules with a function whose body is larger are refused with CompileError. The default is the limit of"
        " browsers.",
        changes_code=False,
    )
    max_compiler_memory = Option(
        0,
        _size_bytes,
        "Address space in bytes that each compiler process may have: it begins with some 850 MB, of which 512 MiB are"
        " for its stack. 0: no limit but the process's own.",
        changes_code=False,
    )
    background_cpu_seconds = Option(
        120,
        _seconds,
        "With `tier` `auto` and a `cache`: processor time in seconds for which a process may go on after the program's"
        " normal end, to put the optimised code into the cache; 0: none is left. There is at most one such process per"
        " user, on one core that nobody else wants.",
        changes_code=False,
    )
    background_memory = Option(
        2 * GIB, _size_bytes, "Address space in bytes that this process may have.", changes_code=False
    )

    # ---- memory and stack ----
    signals_based_traps = Option(
        True,
        _bool,
        "Out-of-bounds accesses are found by guard pages. False: by explicit checks, without large reservations.",
        changes_code=True,
    )
    memory_reservation = Option(
        FULL_RESERVATION_BYTES,
        _size_bytes,
        "Address space in bytes reserved for each memory. Below 4 GiB accesses are checked explicitly.",
        changes_code=True,
    )
    memory_guard_size = Option(
        MIN_GUARD_BYTES, _size_bytes, "Inaccessible bytes before and after each reservation.", changes_code=True
    )
    memory_reservation_for_growth = Option(
        2 * GIB, _size_bytes, "Extra address space in bytes kept when a memory has to move.", changes_code=False
    )
    memory_may_move = Option(
        True,
        _bool,
        "Whether a memory may move when it outgrows its reservation; else it refuses to grow.",
        changes_code=False,
    )
    memory_init_cow = Option(True, _bool, "Large initial data is mapped copy-on-write.", changes_code=False)
    max_wasm_stack = Option(
        2 << 20,
        _size_bytes,
        "Stack in bytes that compiled wasm may use before it traps with STACK_OVERFLOW; interpreted, 16 times that.",
        changes_code=False,
    )
    macos_use_mach_ports = Option(True, _bool, "Accepted; wasmjit handles signals on every system.", changes_code=False)

    def __init__(self, **options: Any) -> None:
        self._values: dict[str, Any] = {}
        tier = os.environ.get(TIER_VARIABLE)
        if tier and tier != AUTO:
            if tier not in TIERS:
                raise WasmError(f"{TIER_VARIABLE}: unknown tier: {tier} (one of {', '.join(TIERS)})")
            self._values["tier"] = tier
        for name, value in options.items():
            if not isinstance(getattr(type(self), name, None), (Option, property)):
                raise TypeError(f"Config has no option {name!r}")
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt option must not pass silently.
        if name != "_values" and not isinstance(getattr(type(self), name, None), (Option, property)):
            raise AttributeError(f"Config has no option {name!r}")
        super().__setattr__(name, value)

    @classmethod
    def options(cls) -> dict[str, Option[Any]]:
        """All options by name, in declaration order."""
        return {name: option for name, option in vars(cls).items() if isinstance(option, Option)}

    def copy(self) -> Config:
        """An independent Config with the same options."""
        other = Config()
        other._values = dict(self._values)
        return other

    def close(self) -> None:
        """Nothing to release; here because handles of the wasmtime package have it."""

    def __enter__(self) -> Config:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and all(getattr(self, name) == getattr(other, name) for name in self.options())

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        changed = (
            f"{name}={getattr(self, name)!r}"
            for name, option in sorted(self.options().items())
            if getattr(self, name) != option.default
        )
        return f"Config({', '.join(changed)})"

    # ---- Cranelift's names, with their closest meaning here ----
    @property
    def cranelift_opt_level(self) -> str:
        """Same as `opt_level`."""
        return self.opt_level

    @cranelift_opt_level.setter
    def cranelift_opt_level(self, level: str) -> None:
        self.opt_level = level

    @property
    def cranelift_debug_verifier(self) -> bool:
        """Same as `verify_ir`."""
        return self.verify_ir

    @cranelift_debug_verifier.setter
    def cranelift_debug_verifier(self, enable: bool) -> None:
        self.verify_ir = enable

    @property
    def cranelift_nan_canonicalization(self) -> bool:
        """Same as `nan_canonicalization`."""
        return self.nan_canonicalization

    @cranelift_nan_canonicalization.setter
    def cranelift_nan_canonicalization(self, enable: bool) -> None:
        self.nan_canonicalization = enable

    def cranelift_flag_enable(self, flag: str) -> None:
        """Turns on a Cranelift flag: ``has_avx2`` becomes the CPU feature ``+avx2``.

        Raises WasmError for a flag that Cranelift does not have.
        """
        if not isinstance(flag, str):
            raise TypeError("expected a str")
        self.cranelift_flag_set(flag, "true")

    def cranelift_flag_set(self, key: str, value: str) -> None:
        """Sets a Cranelift flag. CPU flags and ``opt_level`` have their meaning here, the rest has none with LLVM.

        Raises WasmError for a flag that Cranelift does not have.
        """
        if not isinstance(key, str):
            raise TypeError("expected a str for key")
        if not isinstance(value, str):
            raise TypeError("expected a str for value")
        if key == "opt_level":
            self.opt_level = value
        elif key == "enable_verifier":
            self.verify_ir = _flag_value(key, value)
        elif key == "enable_nan_canonicalization":
            self.nan_canonicalization = _flag_value(key, value)
        elif key in CRANELIFT_CPU_FLAGS:
            feature = ("+" if _flag_value(key, value) else "-") + CRANELIFT_CPU_FLAGS[key]
            self.cpu_features = f"{self.cpu_features},{feature}" if self.cpu_features else feature
        elif key not in CRANELIFT_IGNORED_FLAGS:
            raise WasmError(f"no existing Cranelift flag: {key}")

    # ---- what the other parts read ----
    @property
    def features(self) -> Features:
        """The proposals that are on."""
        return Features(**{field.name: getattr(self, f"wasm_{field.name}") for field in fields(Features)})

    @property
    def memory_policy(self) -> MemoryPolicy:
        """Guard pages if the options allow them, else explicit checks."""
        guarded = (
            self.signals_based_traps
            and self.memory_reservation >= FULL_RESERVATION_BYTES
            and self.memory_guard_size >= MIN_GUARD_BYTES
        )
        return MemoryPolicy(guarded, self.memory_reservation, self.memory_guard_size if guarded else 0)

    @property
    def final_opt_level(self) -> str:
        """The opt level of the code that modules have in the end, also with `tier` `auto`.

        >>> Config(tier="baseline").final_opt_level, Config(tier="auto").final_opt_level
        ('none', 'speed')
        """
        return "none" if self.tier == BASELINE else self.opt_level

    @property
    def starts_at_baseline(self) -> bool:
        """Whether modules run baseline code until there is better code. Not where that would be no better, and not for
        another target, on which they do not run here."""
        return self.tier == AUTO and self.opt_level != "none" and self.target is None

    @property
    def cache_directory(self) -> str | None:
        """Where compiled modules are kept; None when `cache` is off, and for a user without a home directory.

        Raises WasmError for an unreadable TOML file.
        """
        if self.cache is False:
            return None
        if isinstance(self.cache, str):
            return _directory_from_toml(self.cache) if self.cache.endswith(".toml") else self.cache
        return default_cache_directory()

    def cache_key(self) -> str:
        """Everything here that changes generated code, as text: equal keys, equal code (for one CPU and version)."""
        policy_options = {"signals_based_traps", "memory_reservation", "memory_guard_size"}
        parts = [f"memory={self.memory_policy}"]
        for name, option in sorted(self.options().items()):
            if option.changes_code and name not in policy_options:
                parts.append(f"{name}={self.final_opt_level if name == 'opt_level' else getattr(self, name)}")
        return ";".join(parts)


def default_cache_directory() -> str | None:
    """``$WASMJIT_CACHE_DIR``, else ``wasmjit`` in the user's cache directory. None for a user without a home."""
    own = os.environ.get("WASMJIT_CACHE_DIR")
    if own:
        return own
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return None if base.startswith("~") else os.path.join(base, "wasmjit")  # a directory of that name is nobody's home


def _directory_from_toml(path: str) -> str | None:
    """The ``directory`` of a wasmtime cache configuration file; the default directory if it names none."""
    try:
        text = read_written(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise WasmError(f"cache configuration {path}: {error}") from error
    # Only this one key matters here, and Python 3.10 has no TOML parser.
    found = re.search(r"""^\s*directory\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')""", text, re.MULTILINE)
    return (found[1] or found[2]) if found else default_cache_directory()


def _flag_value(key: str, value: str) -> bool:
    if value not in ("true", "false", "1", "0", "on", "off", "yes", "no"):
        raise WasmError(f"flag {key}: expected true or false, got {value!r}")
    return value in ("true", "1", "on", "yes")


# Cranelift's CPU flags and LLVM's names for the same features.
CRANELIFT_CPU_FLAGS: dict[str, str] = {
    **{f"has_{name}": name for name in ("sse3", "ssse3", "avx", "avx2", "fma", "popcnt", "bmi2", "lzcnt")},
    **{f"has_{name}": name for name in ("avx512bitalg", "avx512dq", "avx512f", "avx512vbmi", "avx512vl")},
    "has_cmpxchg16b": "cx16",
    "has_sse41": "sse4.1",
    "has_sse42": "sse4.2",
    "has_bmi1": "bmi",
    "has_lse": "lse",
    "has_fp16": "fullfp16",
    "has_pauth": "pauth",
}
# Flags without a counterpart in LLVM or in this design.
CRANELIFT_IGNORED_FLAGS = frozenset(
    """regalloc_algorithm regalloc_checker regalloc_verbose_logs enable_alias_analysis enable_pcc is_pic
    use_colocated_libcalls enable_float enable_pinned_reg enable_atomics enable_safepoints enable_llvm_abi_extensions
    enable_multi_ret_implicit_sret unwind_info preserve_frame_pointers machine_code_cfg_info enable_probestack
    probestack_strategy probestack_size_log2 enable_jump_tables enable_heap_access_spectre_mitigation
    enable_table_access_spectre_mitigation enable_incremental_compilation_cache_checks bb_padding_log2_minus_one
    log2_min_function_alignment libcall_call_conv tls_model stack_switch_model sign_return_address
    sign_return_address_all sign_return_address_with_bkey use_bti""".split()
)
