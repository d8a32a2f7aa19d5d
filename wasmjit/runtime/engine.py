"""Engine: a Config made definite for this process, shared by Modules, Linkers and Stores."""

from __future__ import annotations

import functools
import threading

from ..config import Config
from ..errors import UnsupportedError
from .handle import Handle
from .native import lib

# C aligns large reservations to huge pages with this much slack (runtime_c/memory.c).
_RESERVATION_SLACK_BYTES = 2 << 20


@functools.lru_cache(maxsize=16)
def _can_reserve(size_bytes: int) -> bool:
    return bool(lib.wj_can_reserve(size_bytes))


class Engine(Handle):
    """Compiles Modules and owns what Stores share. Thread-safe.

    Takes a copy of `config`. Where guard-page reservations fail (ulimit, containers), its Modules check memory accesses
    explicitly. Raises UnsupportedError for options that this version does not implement.

    >>> Engine(Config(opt_level="none"))
    <Engine Config(opt_level='none')>
    """

    def __init__(self, config: Config | None = None) -> None:
        if config is None:
            config = Config()
        elif not isinstance(config, Config):
            raise TypeError("expected Config")
        for option in ("consume_fuel", "epoch_interruption"):
            if getattr(config, option):
                raise UnsupportedError(f"Config.{option} is not supported yet")
        self._config = _definite(config)
        self._epoch_lock = threading.Lock()
        self._epoch = 0

    def precompile_module(self, wasm: str | bytes) -> bytearray:
        """Compiles a module (binary or text) for `Module.deserialize`, also for another target than this machine.

        Raises WasmError as `Module` does.
        """
        from .module import compile_artifact

        self._check_open()
        return bytearray(compile_artifact(self, wasm).to_bytes())

    def precompile_compatibility_hash(self) -> bytes:
        """32 bytes that are equal for Engines whose precompiled modules can be exchanged: the key for storing them.

        >>> other = Engine(Config(max_wasm_stack=1 << 20))
        >>> Engine().precompile_compatibility_hash() == other.precompile_compatibility_hash()
        True
        """
        import hashlib

        from ..artifact import FORMAT_VERSION, abi_hash
        from ..compile.pipeline import resolve_target
        from ..version import VERSION

        self._check_open()
        parts = (VERSION, FORMAT_VERSION, abi_hash(), resolve_target(self._config), self._config.cache_key())
        return hashlib.sha256(repr(parts).encode()).digest()

    @staticmethod
    def detect_precompiled(encoded: bytes | bytearray | memoryview) -> str | None:
        """``"module"`` or ``"component"`` if `encoded` begins as a precompiled one does, else None. Checks no more.

        >>> Engine.detect_precompiled(b"\\0asm") is None
        True
        """
        from ..artifact import detect

        if not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise TypeError("expected bytes")
        return detect(encoded)

    @staticmethod
    def same(a: Engine, b: Engine) -> bool:
        """Whether Modules of `a` can be used in Stores of `b`: both are one Engine."""
        if not isinstance(a, Engine) or not isinstance(b, Engine):
            raise TypeError("expected an Engine")
        return a is b

    def increment_epoch(self) -> None:
        """Advances the epoch by one; from any thread. Looked at by code compiled with `Config.epoch_interruption`."""
        self._check_open()
        with self._epoch_lock:
            self._epoch += 1

    def is_pulley(self) -> bool:
        """Whether code is interpreted instead of compiled: never."""
        self._check_open()
        return False

    def __repr__(self) -> str:
        return f"<Engine {self._config!r}>"


def _definite(config: Config) -> Config:
    """A copy in which `signals_based_traps` says what will happen: on only if guard pages can be had."""
    config = config.copy()
    policy = config.memory_policy
    if config.signals_based_traps and not (
        policy.guarded and _can_reserve(policy.reservation_bytes + 2 * policy.guard_bytes + _RESERVATION_SLACK_BYTES)
    ):
        config.signals_based_traps = False
    return config
