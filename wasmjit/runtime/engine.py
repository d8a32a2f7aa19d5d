"""Engine: a Config made definite for this process, shared by Modules, Linkers and Stores."""

from __future__ import annotations

import functools

from ..config import Config
from .handle import Handle
from .native import ffi, lib
from .trampolines import Trampolines

# C aligns large reservations to huge pages with this much slack (runtime_c/memory.c).
_RESERVATION_SLACK_BYTES = 2 << 20


@functools.lru_cache(maxsize=16)
def _can_reserve(size_bytes: int) -> bool:
    return bool(lib.wj_can_reserve(size_bytes))


class Engine(Handle):
    """Compiles Modules and owns what Stores share. Thread-safe.

    Takes a copy of `config`. Where guard-page reservations fail (ulimit, containers), its Modules check memory accesses
    explicitly.

    >>> Engine(Config(opt_level="none"))  # doctest: +ELLIPSIS
    <Engine Config(opt_level='none'...)>
    """

    def __init__(self, config: Config | None = None) -> None:
        if config is None:
            config = Config()
        elif not isinstance(config, Config):
            raise TypeError("expected Config")
        self._config = _definite(config)
        # What every Store and Memory asks for; reading options takes longer than making those.
        self._memory_policy = self._config.memory_policy
        self._max_wasm_stack = self._config.max_wasm_stack
        self._has_epochs = self._config.epoch_interruption
        self._trampolines = Trampolines(self._config)
        self._epoch = ffi.new("uint64_t *")  # generated code reads it: every Store keeps it alive
        self._found_cache_key: str | None = None

    @property
    def _cache_key(self) -> str:
        # No functools.cached_property: it asks for `__dict__`, and Python 3.11 frees attributes twice if a finalizer or
        # another thread asks for it too, in a collection that comes while it is made. Threads share engines.
        if self._found_cache_key is None:
            self._found_cache_key = self._config.cache_key()
        return self._found_cache_key

    def precompile_module(self, wasm: str | bytes) -> bytearray:
        """Compiles a module (binary or text) for `Module.deserialize`, also for another target than this machine.

        Raises WasmError as `Module` does.
        """
        from ..driver.build import build, to_binary

        self._check_open()
        (artifact,) = build(self._config, [to_binary(wasm)], self._trampolines.code)
        return bytearray(artifact.to_bytes())

    def precompile_compatibility_hash(self) -> bytes:
        """32 bytes that are equal for Engines whose precompiled modules can be exchanged: the key for storing them.

        >>> other = Engine(Config(max_wasm_stack=1 << 20))
        >>> Engine().precompile_compatibility_hash() == other.precompile_compatibility_hash()
        True
        """
        import hashlib

        from ..artifact import FORMAT_VERSION, abi_hash
        from ..driver.build import target_of
        from ..version import VERSION

        self._check_open()
        parts = (VERSION, FORMAT_VERSION, abi_hash(), target_of(self._config), self._cache_key)
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
        """Advances the epoch by one; from any thread. Code compiled with `Config.epoch_interruption` looks at it.

        >>> engine = Engine(Config(epoch_interruption=True))
        >>> engine.increment_epoch()
        """
        self._check_open()
        lib.wj_epoch_increment(self._epoch)

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
