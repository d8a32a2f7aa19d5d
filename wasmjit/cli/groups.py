"""The option groups ``-O -C -D -W -S``: wasmtime's names, what each means here, and which mean nothing here.

One row per option. A group's option is ``name[=value],...``; ``help`` in its place lists the group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .. import Config
from .rows import Setting, duration_seconds, integer, one_of, size_bytes

TRUE, FALSE = ("y", "yes", "true"), ("n", "no", "false")
ALL_PROPOSALS = "all-proposals"
_PROPOSAL_PREFIX = "wasm_"

# -O's words: LLVM's letters and digits, and the names Config uses.
OPT_LEVELS = {
    "0": "none",
    "1": "speed",
    "2": "speed",
    "3": "speed",
    "s": "speed_and_size",
    "z": "speed_and_size",
    "none": "none",
    "speed": "speed",
    "speed_and_size": "speed_and_size",
}
TITLES = {
    "O": "optimisation and memory",
    "C": "code generation",
    "D": "debugging",
    "W": "the language and its limits",
    "S": "WASI",
}
# What the tables of a configuration file are called, as in wasmtime's.
TABLES = {"O": "optimize", "C": "codegen", "D": "debug", "W": "wasm", "S": "wasi"}


class Choice(NamedTuple):
    """An option of a group: the setting it makes (see `rows.Setting`), and its kind (None: y or n)."""

    setting: str
    help: str
    kind: Callable[[str], Any] | None = None
    default: str = ""


def opt_level(text: str) -> str:
    """The Config opt_level of ``-O``'s word."""
    try:
        return OPT_LEVELS[text]
    except KeyError:
        raise ValueError(f"{text!r} is not one of {', '.join(OPT_LEVELS)}") from None


def _compiler(text: str) -> str:
    if text == "winch":
        raise ValueError("wasmjit has no winch: `-O opt-level=0` or `--tier baseline` compile quickly")
    return one_of("auto", "cranelift", "llvm")(text)


def _of_config(setting: str, kind: Callable[[str], Any] | None = None) -> Choice:
    """An entry that documents itself by the Config option it sets."""
    option = Config.options()[setting]
    default = ("y" if option.default else "n") if isinstance(option.default, bool) else str(option.default)
    return Choice(setting, (option.__doc__ or "").rstrip("."), kind, default)


def _optimize() -> dict[str, Choice]:
    return {
        "opt-level": Choice("opt_level", "0, 1, 2, 3, s, z; the word alone will do: `-O2`", opt_level, "2"),
        "tier": _of_config("tier", str),
        "exact-traps": _of_config("exact_traps"),
        "memory-may-move": _of_config("memory_may_move"),
        "memory-reservation": _of_config("memory_reservation", size_bytes),
        "memory-reservation-for-growth": _of_config("memory_reservation_for_growth", size_bytes),
        "memory-guard-size": _of_config("memory_guard_size", size_bytes),
        "memory-init-cow": _of_config("memory_init_cow"),
        "signals-based-traps": _of_config("signals_based_traps"),
        "static-memory-maximum-size": Choice("memory_reservation", "older name of memory-reservation", size_bytes),
        "static-memory-guard-size": Choice("memory_guard_size", "older name of memory-guard-size", size_bytes),
        "dynamic-memory-guard-size": Choice("memory_guard_size", "older name of memory-guard-size", size_bytes),
        "dynamic-memory-reserved-for-growth": Choice(
            "memory_reservation_for_growth", "older name of memory-reservation-for-growth", size_bytes
        ),
    }


def _codegen() -> dict[str, Choice]:
    return {
        "compiler": Choice("strategy", "auto, cranelift or llvm: all compile with LLVM", _compiler, "auto"),
        "cpu-features": _of_config("cpu_features", str),
        "cache": Choice("run.cache", "Use the cache of compiled code", None, "y"),
        "cache-config": Choice(
            "cache", "A wasmtime cache configuration file, or a directory, in place of the default one", str
        ),
        "parallel-compilation": _of_config("parallel_compilation"),
        "native-unwind-info": _of_config("native_unwind_info"),
        "cranelift-debug-verifier": Choice("verify_ir", "LLVM's verifier checks the code (slow)", None, "n"),
        "verify-ir": _of_config("verify_ir"),
    }


def _debug() -> dict[str, Choice]:
    return {"debug-info": _of_config("debug_info"), "address-map": _of_config("generate_address_map")}


def _wasm() -> dict[str, Choice]:
    limits = {
        "fuel": Choice("run.fuel", "Trap after about N instructions", integer),
        "timeout": Choice("run.timeout", "Trap when a call runs longer: 2s, 100ms", duration_seconds),
        "max-memory-size": Choice("run.memory_size", "Refuse memories larger than this", size_bytes),
        "max-table-elements": Choice("run.table_elements", "Refuse tables larger than this", integer),
        "max-instances": Choice("run.instances", "How many instances there may be", integer),
        "max-tables": Choice("run.tables", "How many tables there may be", integer),
        "max-memories": Choice("run.memories", "How many memories there may be", integer),
        "unknown-imports-trap": Choice("run.unknown_imports_trap", "Missing functions trap when called", None, "n"),
        "unknown-imports-default": Choice("run.unknown_imports_default", "Missing functions return zeros", None, "n"),
        "unknown-exports-allow": Choice("run.unknown_exports_allow", "Preloaded commands may export all", None, "n"),
    }
    names = [name for name in Config.options() if name.startswith(_PROPOSAL_PREFIX)]
    further = ("nan_canonicalization", "epoch_interruption", "shared_memory", "gc_support")
    return {
        ALL_PROPOSALS: Choice(ALL_PROPOSALS, "all proposals at once"),
        **{name.removeprefix(_PROPOSAL_PREFIX).replace("_", "-"): _of_config(name) for name in names},
        "max-wasm-stack": _of_config("max_wasm_stack", _number),
        **{name.replace("_", "-"): _of_config(name) for name in further},
        **limits,
    }


def _wasi() -> dict[str, Choice]:
    return {
        "cli": Choice("run.wasi", "Provide WASI preview 1", None, "y"),
        "common": Choice("run.wasi", "older name of cli", None, "y"),
        "inherit-env": Choice("run.inherit_env", "The program sees our environment; --env adds to it", None, "n"),
        "threads": Choice(
            "run.threads", "wasi-threads: the program may start threads; makes its shared memory", None, "n"
        ),
        "deterministic": Choice("run.deterministic", "Clocks and random numbers are the same in each run", None, "n"),
        "tcplisten": Choice("run.tcplisten", "Gives a socket that listens there: HOST:PORT; may be repeated", _address),
    }


_ENTRIES: dict[str, Callable[[], dict[str, Choice]]] = {
    "O": _optimize,
    "C": _codegen,
    "D": _debug,
    "W": _wasm,
    "S": _wasi,
}
_COMPONENTS = "the component model is not supported yet"
_PREVIEW_2 = "it belongs to WASI preview 2, which is not supported yet"
# wasmtime's options that have no equivalent, and why. A name that ends in `-` stands for all that begin so.
_MISSING: dict[str, dict[str, str]] = {
    "O": {
        "regalloc-algorithm": "LLVM chooses its register allocator",
        "guard-before-linear-memory": "memories always have guards on both sides",
        "table-lazy-init": "tables are always filled at instantiation",
        "pooling-": "there is no pooling allocator",
        "memory-guaranteed-dense-image-size": "memory-init-cow chooses by the size of the data",
        "static-memory-forced": "use memory-may-move",
    },
    "C": {
        "collector": "there is no garbage collector to choose",
        "pcc": "LLVM has no proof-carrying code",
        "inlining": "wasm functions are never inlined, so that backtraces name each",
    },
    "D": {
        "guest-debug": "there is no debugger interface",
        "logging": "there is no log; WASMJIT_TRACEBACK=1 shows where an error came from",
        "log-to-files": "there is no log; WASMJIT_TRACEBACK=1 shows where an error came from",
        "coredump": "there are no core dumps; a trap prints its backtrace",
    },
    "W": {
        "async-stack-size": "calls run on the caller's stack",
        "async-stack-zeroing": "calls run on the caller's stack",
        "wmemcheck": "there is no checker of the guest's heap",
        "trap-on-grow-failure": "growth that fails returns -1, as the specification says",
        "shared-everything-threads": "the proposal is not supported",
        "component-model-": _COMPONENTS,
        "concurrency-support": _COMPONENTS,
    },
    "S": {
        "cli-exit-with-code": _PREVIEW_2,
        "nn": "there is no wasi-nn",
        "nn-graph": "there is no wasi-nn",
        "http": _PREVIEW_2,
        "http-": _PREVIEW_2,
        "config": _PREVIEW_2,
        "config-var": _PREVIEW_2,
        "keyvalue": _PREVIEW_2,
        "keyvalue-in-memory-data": _PREVIEW_2,
        "listenfd": "sockets of systemd are not looked for (use tcplisten)",
        "tls": _PREVIEW_2,
        "preview2": "there is one implementation of preview 1",
        "preview0": "`wasi_unstable` is linked where a module imports it",
        "inherit-network": _PREVIEW_2,
        "allow-ip-name-lookup": _PREVIEW_2,
        "tcp": _PREVIEW_2,
        "udp": _PREVIEW_2,
        "network-error-code": _PREVIEW_2,
        "p3": "WASI preview 3 is not supported",
        "max-resources": _PREVIEW_2,
        "hostcall-fuel": _PREVIEW_2,
        "max-random-size": _PREVIEW_2,
        "max-http-fields-size": _PREVIEW_2,
    },
}


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise ValueError(f"expected an address as in 127.0.0.1:8080, not {text!r}")
    return host.strip("[]") or "0.0.0.0", int(port)


def _number(text: str) -> int:
    try:
        return integer(text)
    except ValueError:
        default = Config.options()["max_wasm_stack"].default
        raise ValueError(f"expected a number, as in max-wasm-stack={default}") from None


def entries(letter: str) -> dict[str, Choice]:
    """The options of a group by name."""
    return _ENTRIES[letter]()


def parse(letter: str, text: str) -> list[Setting]:
    """The settings of one group option. Raises ValueError, saying what there is or why something is not."""
    known = entries(letter)
    found: list[Setting] = []
    for part in _parts(text):
        name, equals, value = part.strip().partition("=")
        found += setting(letter, known, name, value if equals else None)
    return found


def _parts(text: str) -> list[str]:
    """The options between commas; CPU features contain commas themselves: ``cpu-features=+avx2,-fma``."""
    parts: list[str] = []
    for part in text.split(","):
        if part[:1] in ("+", "-") and parts:
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def setting(letter: str, known: dict[str, Choice], name: str, value: str | None) -> list[Setting]:
    """The settings that ``name=value`` stands for; `known` is `entries(letter)`. Raises ValueError."""
    if letter == "O" and value is None and name in OPT_LEVELS:
        name, value = "opt-level", name
    name = name.replace("_", "-")
    if letter == "C" and name.startswith("cranelift-") and name not in known:
        return [("cranelift", (name.removeprefix("cranelift-").replace("-", "_"), value or "true"))]
    entry = known.get(name)
    if entry is None:
        raise ValueError(_why_not(letter, name))
    if entry.kind is None:
        chosen = _truth(name, value)
        if name == ALL_PROPOSALS:
            return [(option, chosen) for option in proposals()]
        return [(entry.setting, chosen)]
    try:
        return [(entry.setting, entry.kind(value or ""))]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _why_not(letter: str, name: str) -> str:
    for missing, reason in _MISSING[letter].items():
        if name == missing or (missing.endswith("-") and name.startswith(missing)):
            return f"wasmtime's option -{letter} {name} has no equivalent in wasmjit: {reason}"
    return f"unknown option {name!r} (`-{letter} help` lists them)"


def _truth(name: str, text: str | None) -> bool:
    if text is None or text in TRUE:
        return True
    if text in FALSE:
        return False
    raise ValueError(f"{name}={text}: expected y or n")


def proposals() -> Iterable[str]:
    """The Config options that stand for a proposal each."""
    return [f"{_PROPOSAL_PREFIX}{name}" for name in Config().features.__dataclass_fields__]


def help_text(letter: str) -> str:
    """What ``-W help`` prints."""
    lines = [f"Options of -{letter} ({TITLES[letter]}), several with commas between them; NAME alone means NAME=y:", ""]
    for name, entry in entries(letter).items():
        default = f" (default: {entry.default})" if entry.default else ""
        value = "y|n" if entry.kind is None else "N" if entry.kind in (integer, size_bytes, _number) else "VALUE"
        lines.append(f"  {f'{name}={value}':<34} {entry.help}{default}")
    if letter == "C":
        lines.append(f"  {'cranelift-FLAG[=VALUE]':<34} A flag of Cranelift: CPU flags have their meaning, others none")
    missing = ", ".join(name + "*" if name.endswith("-") else name for name in _MISSING[letter])
    lines += ["", f"Options of wasmtime without an equivalent: {missing}"]
    return "\n".join(lines)


def complete(letter: str, typed: str) -> list[str]:
    """What `typed`, the beginning of a group option's value, can go on to."""
    before, comma, last = typed.rpartition(",")
    words = [*entries(letter), "help"] if not comma else list(entries(letter))
    return [before + comma + name for name in words if name.startswith(last)]
