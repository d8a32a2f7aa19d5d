"""What a call costs in a process that never started a thread.

Letting go of the GIL takes less time there: glibc leaves out atomic instructions as long as there is one thread.
Run by bench/call.py, which has threads (NumPy's and wasmtime's); prints each contender's rounds as JSON, ns a call.
"""

from __future__ import annotations

import json
import sys
import threading
import timeit

import wasmjit
from bench.call_twin import load

CALLS = 50_000
REPEATED = 10  # how often the call stands in its loop
WAT = """(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"""


def main(rounds: int) -> None:
    """Measures and prints."""
    store = wasmjit.Store()
    add = wasmjit.Instance(store, wasmjit.Module(store.engine, WAT), []).exports(store)["add"]
    assert isinstance(add, wasmjit.Func)
    contenders = {"wasmjit": add.typed(store), "C": load().add_released}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            statement = "\n".join(["f(1, 2)"] * REPEATED)
            seconds = timeit.timeit(statement, globals={"f": function}, number=CALLS // REPEATED)
            taken[name].append(seconds / CALLS * 1e9)
    assert threading.active_count() == 1
    print(json.dumps(taken))


if __name__ == "__main__":
    main(int(sys.argv[1]))
