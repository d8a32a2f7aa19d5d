"""The machine that code was compiled for, and whether this one can run it: without asking LLVM.

LLVM names a target by triple, CPU and features; the kernel tells the host's features by names of its own.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .records import dataclass

_MACHINE_ALIASES = {"amd64": "x86_64", "arm64": "aarch64", "x64": "x86_64"}


@dataclass(frozen=True, slots=True)
class Target:
    """An LLVM target: triple, CPU name, and the names of the enabled features, sorted, without ``+``.

    Those too that the CPU's name implies (compile/processors.py), as far as code may use them (`known_features`).
    """

    triple: str
    cpu: str
    features: tuple[str, ...]

    @property
    def machine(self) -> str:
        """``x86_64`` or ``aarch64``."""
        return normal_machine(self.triple.split("-", 1)[0])

    @property
    def system(self) -> str:
        """``linux`` or ``macos``; the triple's own word for another one."""
        return normal_system(self.triple)


def normal_machine(name: str) -> str:
    """One name per architecture, as in LLVM triples."""
    name = name.lower()
    return _MACHINE_ALIASES.get(name, name)


def normal_system(triple: str) -> str:
    """The operating system of a triple: whose calling convention and reserved registers the code keeps to.

    >>> normal_system("aarch64-apple-darwin"), normal_system("x86_64-unknown-linux-gnu")
    ('macos', 'linux')
    """
    for word in triple.lower().split("-")[1:]:
        if word.startswith(("darwin", "macos")):
            return "macos"
        if word.startswith("linux"):
            return "linux"
    return triple.partition("-")[2]


@functools.cache
def host_machine() -> str:
    """This machine's architecture, by the first part of its LLVM triple."""
    return normal_machine(os.uname().machine)


def parse_features(text: str) -> tuple[str, ...]:
    """The enabled features of an LLVM feature string such as ``+avx2,-avx512f``, sorted."""
    enabled: dict[str, bool] = {}
    for item in text.split(","):
        if item := item.strip():
            enabled[item.lstrip("+-")] = not item.startswith("-")
    return tuple(sorted(name for name, on in enabled.items() if on))


# LLVM feature -> Linux's name for it in /proc/cpuinfo; None where both agree up to punctuation. Only features whose
# instructions LLVM emits on its own: the others (system instructions, cryptography) never appear in our code.
_X86_FEATURES: dict[str, str | None] = {
    "sse3": "pni",
    "ssse3": None,
    "sse4.1": None,
    "sse4.2": None,
    "sse4a": None,
    "popcnt": None,
    "lzcnt": "abm",
    "bmi": "bmi1",
    "bmi2": None,
    "tbm": None,
    "movbe": None,
    "cx16": None,
    "sahf": "lahf_lm",
    "f16c": None,
    "fma": None,
    "fma4": None,
    "xop": None,
    "avx": None,
    "avx2": None,
    "avxvnni": "avx_vnni",
    "avxvnniint8": "avx_vnni_int8",
    "avxvnniint16": "avx_vnni_int16",
    "avxifma": "avx_ifma",
    "avxneconvert": "avx_ne_convert",
    "gfni": None,
    "vaes": None,
    "vpclmulqdq": None,
    "pclmul": "pclmulqdq",
    "avx512f": None,
    "avx512cd": None,
    "avx512bw": None,
    "avx512dq": None,
    "avx512vl": None,
    "avx512ifma": None,
    "avx512vbmi": None,
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx10.2": None,
    "egpr": "apx",
    "ppx": "apx",
    "push2pop2": "apx",
    "ndd": "apx",
    "nf": "apx",
    "ccmp": "apx",
    "cf": "apx",
    "zu": "apx",
}
# Those that a processor may have without the kernel telling: not used unless they are asked for.
UNTOLD_FEATURES = frozenset(name for name, told in _X86_FEATURES.items() if told == "apx") | {"avx10.2"}
_AARCH64_FEATURES: dict[str, str | None] = {
    "neon": "asimd",
    "fp-armv8": "fp",
    "lse": "atomics",
    "lse2": "uscat",
    "rdm": "asimdrdm",
    "fullfp16": "asimdhp",
    "fp16fml": "asimdfhm",
    "dotprod": "asimddp",
    "rcpc": "lrcpc",
    "rcpc-immo": "ilrcpc",
    "jsconv": "jscvt",
    "complxnum": "fcma",
    "crc": "crc32",
    "flagm": None,
    "altnzcv": "flagm2",
    "fptoint": "frint",
    "i8mm": None,
    "bf16": None,
    "sve": None,
    "sve2": None,
    "sme": None,
    "mops": None,
    "cssc": None,
    "rcpc3": "lrcpc3",
    "sha3": None,
    "lse128": None,
    "sve2p1": None,
    "sme2": None,
    "faminmax": None,
    "cmpbr": None,
    "fprcvt": None,
}


@functools.cache
def host_features() -> frozenset[str] | None:
    """What the kernel says of this CPU (Linux's names); None where that cannot be known."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return None


def missing_features(features: tuple[str, ...]) -> list[str]:
    """Those LLVM `features` that generated code may use and this CPU lacks, sorted."""
    host = host_features()
    return [] if host is None else _missing_features(features, host)


def known_features(machine: str) -> Mapping[str, str | None]:
    """The LLVM features that generated code for a machine may use, and Linux's names where they differ."""
    return _X86_FEATURES if machine == "x86_64" else _AARCH64_FEATURES


@functools.lru_cache(maxsize=16)
def _missing_features(features: tuple[str, ...], host: frozenset[str]) -> list[str]:
    table = known_features(host_machine())
    missing = []
    for feature in features:
        if feature in table and (table[feature] or feature.replace(".", "_")) not in host:
            missing.append(feature)
    return sorted(missing)


# x86-64 CPU names that say the processor has FMA. For another one the answer is no: slower code, but right.
_FMA_CPUS = re.compile(r"x86-64-v[34]|(broad|has)well|skylake.*|(ice|cannon|tiger|alder|rocket|cooper)lake.*|znver\d")


def has_fused_multiply_add(machine: str, triple: str | None, cpu: str | None, features: str | None) -> bool:
    """Whether code for a Config's target may use fused multiply-add instructions."""
    if machine != "x86_64":
        return True
    stated = [item.strip() for item in (features or "").split(",") if item.strip() in ("+fma", "-fma")]
    if stated:
        return stated[-1] == "+fma"
    if triple is None and cpu is None:
        return "fma" in (host_features() or ())
    return cpu is not None and _FMA_CPUS.fullmatch(cpu) is not None


@functools.cache
def host_fingerprint() -> str:
    """A text that is equal on machines for which "compile for the host" gives the same code."""
    features = host_features()
    if features is None:
        return f"{host_machine()} {os.uname().nodename}"
    return f"{host_machine()} {_cpu_model()} {' '.join(sorted(features))}"


def _cpu_model() -> str:
    """Vendor, family and model numbers, from which LLVM tells the CPU's name."""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU variant")
    values: dict[str, str] = {}
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, separator, value = line.partition(":")
            if not separator:
                break  # the first processor's entry ends
            if name.strip() in wanted:
                values[name.strip()] = value.strip()
    return ",".join(values.get(name, "") for name in wanted)
