"""What reading and writing linear memory from Python costs, beside the wasmtime package's and plain Python copies.

`measure_memory` gives the rows; ``python -m bench.call`` prints them with its own. Each figure is the median of 7 runs,
in which the variants of a case take turns.
"""

from __future__ import annotations

import statistics
import struct
import timeit
from types import ModuleType
from typing import Any, TypedDict

import wasmjit

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

ROUNDS = 7
SECONDS_PER_RUN = 0.02
LARGE_BYTES = 65536
PAGES = 16


class Row(TypedDict):
    """Nanoseconds for one access; `limit` is what Python itself takes for the same bytes of the same memory."""

    case: str
    wasmjit_ns: float
    wasmtime_ns: float | None
    limit: str
    limit_ns: float


# Case, what it is with wasmjit, with wasmtime (None: as with wasmjit), and the limit. `large` and `small` are
# memoryviews of the first 65536 and 16 bytes of wasmjit's memory, so bytearray(large) is one memcpy into a fresh one.
CASES: list[tuple[str, str, str | None, str]] = [
    ("read 64 KiB", "memory.read(store, 0, 65536)", None, "bytearray(large)"),
    ("write 64 KiB", "memory.write(store, data, 0)", None, "large[:] = data"),
    ("read 16 bytes", "memory.read(store, 0, 16)", None, "bytearray(small)"),
    ("write 16 bytes", "memory.write(store, key, 0)", None, "small[:] = key"),
    ("memory[0:16]", "memory[0:16]", "memory.read(store, 0, 16)", "bytearray(small)"),
    ("memory[5]", "memory[5]", "memory.read(store, 5, 6)[0]", "small[5]"),
    (
        "read_u32",
        "memory.read_u32(store, 8)",
        "unpack_from('<I', memory.read(store, 8, 12))",
        "unpack_from('<I', small, 8)",
    ),
    (
        "write_u32",
        "memory.write_u32(store, 7, 8)",
        "memory.write(store, pack('<I', 7), 8)",
        "pack_into('<I', small, 8, 7)",
    ),
    (
        "read_str, 16 bytes",
        "memory.read_str(store, 0, 16)",
        "memory.read(store, 0, 16).decode()",
        "str(small, 'utf-8')",
    ),
    ("data_len", "memory.data_len(store)", None, "len(large)"),
]


def _names(api: ModuleType | Any) -> dict[str, Any]:
    """What the statements use, with the memory of `api`: wasmjit, or the wasmtime package, whose API is the same."""
    store = api.Store(api.Engine())
    memory = api.Memory(store, api.MemoryType(api.Limits(PAGES, PAGES)))
    memory.write(store, bytes(LARGE_BYTES), 0)  # no page faults later
    names = {"store": store, "memory": memory, "data": bytes(LARGE_BYTES), "key": b"sixteen bytes..."}
    return names | {name: getattr(struct, name) for name in ("pack", "pack_into", "unpack_from")}


def _median_ns(timers: list[timeit.Timer]) -> list[float]:
    """Nanoseconds per run of each."""
    counts = []
    for timer in timers:
        count, seconds = timer.autorange()
        counts.append(max(1, int(count * SECONDS_PER_RUN / seconds)))
    runs = [
        [timer.timeit(count) / count * 1e9 for timer, count in zip(timers, counts, strict=True)] for _ in range(ROUNDS)
    ]
    return [statistics.median(run) for run in zip(*runs, strict=True)]


def measure_memory() -> list[Row]:
    """The rows of the table; `wasmtime_ns` is None without the wasmtime package."""
    ours = _names(wasmjit)
    ours |= {
        "large": ours["memory"].view(ours["store"], 0, LARGE_BYTES),
        "small": ours["memory"].view(ours["store"], 0, 16),
    }
    theirs = _names(wasmtime) if wasmtime is not None else None
    rows: list[Row] = []
    for case, statement, other, limit in CASES:
        timers = [timeit.Timer(statement, globals=ours), timeit.Timer(limit, globals=ours)]
        if theirs is not None:
            timers.append(timeit.Timer(other or statement, globals=theirs))
        own_ns, limit_ns, *their_ns = _median_ns(timers)
        their = their_ns[0] if their_ns else None
        rows.append({"case": case, "wasmjit_ns": own_ns, "wasmtime_ns": their, "limit": limit, "limit_ns": limit_ns})
    return rows


def main() -> None:
    """Prints the table."""
    print(f"{'case':<20} {'wasmjit':>9} {'wasmtime':>9} {'ratio':>7} {'limit':>9} {'ratio':>7}  the limit is")
    for row in measure_memory():
        other = row["wasmtime_ns"]
        beside = f"{other:>9.0f} {row['wasmjit_ns'] / other:>7.3f}" if other else f"{'-':>9} {'-':>7}"
        limit = f"{row['limit_ns']:>9.0f} {row['wasmjit_ns'] / row['limit_ns']:>7.2f}"
        print(f"{row['case']:<20} {row['wasmjit_ns']:>9.0f} {beside} {limit}  {row['limit']}")


if __name__ == "__main__":
    main()
