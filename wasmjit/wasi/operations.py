"""What may be done with a descriptor: which rights it takes, and what of it C does itself where the host is behind it.

`runtime_c/wj_wasi.h` has the bits, for `runtime_c/wasi.c`.
"""

from __future__ import annotations

from .constants import Rights

# Bits of what C is told that it may do with a descriptor. What it is not told is done in Python.
READ, WRITE, READ_AT, WRITE_AT, SEEK, TELL, STAT, FDSTAT, STAT_PATH = (1 << bit for bit in range(9))
# How: reads and writes may take any time; writes go to the end; nobody else has the open file, so that C may know its
# position better than the host does.
MAY_BLOCK, APPENDS, HAS_POSITION = 1 << 16, 1 << 17, 1 << 18
# Bits of what C may do that is about no descriptor: the clocks and random numbers are the host's.
HOST_CLOCK, HOST_RANDOM = 1 << 0, 1 << 1

# The rights that each takes.
NEEDED_RIGHTS: dict[int, int] = {
    READ: Rights.FD_READ.value,
    WRITE: Rights.FD_WRITE.value,
    READ_AT: (Rights.FD_READ | Rights.FD_SEEK).value,
    WRITE_AT: (Rights.FD_WRITE | Rights.FD_SEEK).value,
    SEEK: Rights.FD_SEEK.value,
    TELL: Rights.FD_TELL.value,
    STAT: Rights.FD_FILESTAT_GET.value,
    FDSTAT: 0,
    STAT_PATH: Rights.PATH_FILESTAT_GET.value,
}

BITS = {
    "READ": READ,
    "WRITE": WRITE,
    "READ_AT": READ_AT,
    "WRITE_AT": WRITE_AT,
    "SEEK": SEEK,
    "TELL": TELL,
    "STAT": STAT,
    "FDSTAT": FDSTAT,
    "STAT_PATH": STAT_PATH,
    "MAY_BLOCK": MAY_BLOCK,
    "APPENDS": APPENDS,
    "HAS_POSITION": HAS_POSITION,
    "HOST_CLOCK": HOST_CLOCK,
    "HOST_RANDOM": HOST_RANDOM,
}


def without_lost(operations: int, lost: int) -> int:
    """Those of `operations` that need none of the rights that were taken away."""
    for operation, rights in NEEDED_RIGHTS.items():
        if rights & lost:
            operations &= ~operation
    return operations
