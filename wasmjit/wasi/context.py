"""What a running WASI program has: arguments, environment, descriptors, clock and random numbers."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from .clocks import HostClock, RandomSource
from .descriptors import DescriptorTable

if TYPE_CHECKING:
    from .descriptors import Mirror

    class KnownToC(Mirror, Protocol):
        """What C is told of a running program (`native.HostTable`)."""

        def add_memory(self, instance_address: int, memory: Any) -> None:
            """Code of this instance means this ``wj_memory *``."""


DEFAULT_MAX_THREADS = 256


class WasiContext:
    """The state of one running WASI program, made by `WasiConfig.build`. Closes its descriptors when it goes.

    Where a program has threads each has one, with descriptors that they share (thread_descriptors.py): those are closed
    with that of the first thread.
    """

    def __init__(
        self,
        arguments: list[bytes],
        environment: list[bytes],
        descriptors: DescriptorTable,
        clock: HostClock,
        random: RandomSource,
        max_threads: int = 0,
    ) -> None:
        self.arguments = arguments
        self.environment = environment
        self.descriptors = descriptors
        self.clock = clock
        self.random = random
        self.max_threads = max_threads
        self.threads: Any = None  # the descriptors, where threads share them (thread_descriptors.py)
        # Kept by `definitions`: instance address -> where C keeps the size of its memory, and the memory's bytes.
        self.views: dict[int, tuple[ctypes.c_uint64, memoryview]] = {}
        self.known_to_c: KnownToC | None = None
        self.close: Any = weakref.finalize(self, _finish, descriptors)


def _finish(descriptors: DescriptorTable) -> None:
    try:
        descriptors.flush_all()
    finally:
        descriptors.close_all()
