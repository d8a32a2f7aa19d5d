"""What crossing the boundary between Python and wasm costs, beside the wasmtime package and a C extension.

    python -m bench.call [--json]

All contenders take turns, one round each, within one run; a figure is the median of 7 rounds. Columns:

- wasmjit, wasmtime: the two packages, and how many times faster ours is;
- cffi: the C twin of the same functions (bench/call_twin) as cffi's API mode wraps them, which always releases the GIL;
- C: the twin as METH_FASTCALL builtins and vectorcalls written by hand against the CPython API: the limit;
- Python: the same done by a Python function;
- at most: what we promise ourselves.

Of the two limits, C is the lower: cffi's own wrapping costs about 35 ns more than METH_FASTCALL with the GIL released.

A statement that is timed stands ten times in its loop, so each figure has a tenth of a turn of a Python loop in it.
"""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy

import wasmjit
from bench import memory_access
from bench.call_twin import Twin, load

try:
    import wasmtime
except ImportError:  # a test extra
    wasmtime = None  # type: ignore[assignment]

ROUNDS = 7
SECONDS_PER_ROUND = 0.02
REPEATED = 10  # how often a timed statement stands in its loop
LOOP_CALLS = 20_000
EXPORTS = 100
ELEMENTS = 1_000_000
SPINS = 20_000_000
COLUMNS = ("wasmjit", "wasmtime", "cffi", "C", "Python")

Round = Callable[[], float]  # one round: nanoseconds for each operation

PARAMS = "(param i32 i32) (result i32)"
LOOP_END = "(br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))"
WAT = f"""(module
  (import "host" "nothing" (func $nothing))
  (import "host" "add" (func $add {PARAMS}))
  (func (export "nothing"))
  (func (export "add") {PARAMS} (i32.add (local.get 0) (local.get 1)))
  (func (export "pair") (param i32) (result i32 i64) (local.get 0) (i64.const 1))
  (func (export "call_nothing") (param i32) (loop (call $nothing) {LOOP_END})
  (func (export "call_add") (param i32) (loop (drop (call $add (local.get 0) (i32.const 1))) {LOOP_END})
  (func (export "spin") (param i32) (result i32) (local i32)
    (local.set 1 (i32.const 1))
    (loop
      (local.set 1 (i32.add (i32.mul (local.get 1) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set 1 (i32.xor (local.get 1) (i32.shr_u (local.get 1) (i32.const 13))))
      {LOOP_END}
    (local.get 1)))"""
EXPORTS_WAT = (
    "(module "
    + "".join(f'(func (export "f{i}") {PARAMS} (i32.add (local.get 0) (local.get 1)))' for i in range(EXPORTS))
    + ")"
)


@dataclass
class Row:
    """One line of the table: what each column's contender does in a round."""

    case: str
    rounds: dict[str, Round]
    at_most_ns: float | None = None
    medians_ns: dict[str, float] = field(default_factory=dict)

    def measure(self) -> None:
        """Lets the contenders take turns."""
        taken: dict[str, list[float]] = {column: [] for column in self.rounds}
        for number in range(ROUNDS + 1):
            for column, one_round in self.rounds.items():
                figure = one_round()
                if number:  # the first warms caches up
                    taken[column].append(figure)
        self.medians_ns = {column: statistics.median(figures) for column, figures in taken.items()}

    @property
    def times_faster(self) -> float | None:
        """How many of our operations fit into one of wasmtime's."""
        ours, theirs = self.medians_ns.get("wasmjit"), self.medians_ns.get("wasmtime")
        return theirs / ours if ours and theirs else None


# ---- rounds ----


def statement(text: str, **names: Any) -> Round:
    """A round that runs `text`, in which `names` are local variables, often enough to be measured."""
    parameters = ", ".join(names)
    source = (
        f"def run(count, clock, repeat, {parameters}):\n started = clock()\n for _ in repeat(None, count):\n"
        + f"  {text}\n" * REPEATED
        + " return clock() - started\n"
    )
    namespace: dict[str, Any] = {}
    exec(source, namespace)

    def run(count: int) -> float:
        seconds: float = namespace["run"](count, time.perf_counter, itertools.repeat, **names)
        return seconds

    count = 1
    while (seconds := run(count)) < SECONDS_PER_ROUND / 4:
        count *= 2
    count = max(1, int(count * SECONDS_PER_ROUND / seconds))
    return lambda: run(count) / (count * REPEATED) * 1e9


def whole(operations: int, call: Callable[..., object], *arguments: Any) -> Round:
    """A round that is one call, of which `operations` are a part."""

    def run() -> float:
        started = time.perf_counter()
        call(*arguments)
        return (time.perf_counter() - started) / operations * 1e9

    return run


def add_in_python(a: int, b: int) -> int:
    """The host function, and what adding costs in Python itself."""
    return a + b


def nothing_in_python() -> None:
    """The other host function."""


class Subject:
    """A package with everything instantiated: wasmjit, or wasmtime, whose API is the same."""

    def __init__(self, api: ModuleType | Any) -> None:
        self.api = api
        self.engine = api.Engine()
        self.module = api.Module(self.engine, WAT)
        self.store, self.exports = self.instantiate()

    def instantiate(self) -> tuple[Any, Any]:
        """A store of its own with an instance whose imports are Python functions."""
        store, i32 = self.api.Store(self.engine), self.api.ValType.i32()
        linker = self.api.Linker(self.engine)
        linker.define_func("host", "nothing", self.api.FuncType([], []), nothing_in_python)
        linker.define_func("host", "add", self.api.FuncType([i32, i32], [i32]), add_in_python)
        return store, linker.instantiate(store, self.module).exports(store)

    def __getitem__(self, name: str) -> Any:
        return self.exports[name]

    def typed(self, name: str, nogil: bool = True) -> Any:
        """An export without its store; wasmjit only."""
        return self[name].typed(self.store, nogil=nogil)


# ---- the table ----


def rows(ours: Subject, theirs: Subject | None, twin: Twin) -> Iterator[Row]:
    """The lines of the table, to be measured as they come."""
    yield from calls_in(ours, theirs, twin)
    yield from calls_out(ours, theirs, twin)
    yield from native_calls(ours, twin)
    yield from first_calls(ours, theirs)
    yield from maps(ours, theirs, twin)


def beside(theirs: Subject | None, make: Callable[[Subject], Round]) -> dict[str, Round]:
    """The wasmtime column, where that package is there."""
    return {} if theirs is None else {"wasmtime": make(theirs)}


def calls_in(ours: Subject, theirs: Subject | None, twin: Twin) -> Iterator[Row]:
    """Python calls wasm."""

    def func(subject: Subject) -> Round:
        return statement("f(store, 1, 2)", f=subject["add"], store=subject.store)

    python = statement("f(1, 2)", f=add_in_python)
    yield Row(
        "add.typed(store, nogil=False)(1, 2)",
        {
            "wasmjit": statement("f(1, 2)", f=ours.typed("add", nogil=False)),
            **beside(theirs, func),
            "C": statement("f(1, 2)", f=twin.add),
            "Python": python,
        },
        at_most_ns=40,
    )
    yield Row(
        "add.typed(store)(1, 2), GIL released",
        {
            "wasmjit": statement("f(1, 2)", f=ours.typed("add")),
            **beside(theirs, func),
            "cffi": statement("f(1, 2)", f=twin.lib.twin_add),
            "C": statement("f(1, 2)", f=twin.add_released),
            "Python": python,
        },
        at_most_ns=65,
    )
    yield Row("  the same in a process without threads", alone(), at_most_ns=65)
    yield Row(
        "add(store, 1, 2)",
        {
            "wasmjit": func(ours),
            **beside(theirs, func),
            "cffi": statement("f(1, 2)", f=twin.lib.twin_add),
            "C": statement("f(1, 2)", f=twin.add_released),
            "Python": python,
        },
        at_most_ns=200,
    )
    yield Row(
        "nothing(store)",
        {
            "wasmjit": statement("f(store)", f=ours["nothing"], store=ours.store),
            **beside(theirs, lambda subject: statement("f(store)", f=subject["nothing"], store=subject.store)),
            "cffi": statement("f()", f=twin.lib.twin_nothing),
            "C": statement("f()", f=twin.nothing),
            "Python": statement("f()", f=nothing_in_python),
        },
    )
    yield Row(
        "pair(store, 1) -> (i32, i64)",
        {
            "wasmjit": statement("f(store, 1)", f=ours["pair"], store=ours.store),
            **beside(theirs, lambda subject: statement("f(store, 1)", f=subject["pair"], store=subject.store)),
        },
    )


def alone() -> dict[str, Round]:
    """The call with the GIL released, in a process of its own that has one thread (bench/call_alone.py)."""
    command = [sys.executable, "-m", "bench.call_alone", str(ROUNDS + 1)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken: dict[str, list[float]] = json.loads(done.stdout)
    return {column: functools.partial(next, iter(figures)) for column, figures in taken.items()}


def calls_out(ours: Subject, theirs: Subject | None, twin: Twin) -> Iterator[Row]:
    """Wasm calls Python, in a loop."""
    twin.ffi.def_extern("twin_callback_nothing")(nothing_in_python)
    twin.ffi.def_extern("twin_callback_add")(add_in_python)
    cffi_loops = {"nothing": twin.lib.twin_loop_callback_nothing, "add": twin.lib.twin_loop_callback_add}
    c_loops = {"nothing": twin.lib.twin_loop_python_nothing, "add": twin.lib.twin_loop_python_add}
    functions: dict[str, Callable[..., object]] = {"nothing": nothing_in_python, "add": add_in_python}
    for name, parameters in (("nothing", "()"), ("add", "(i32, i32)")):
        for nogil in (False, True):
            c_loop, address = c_loops[name], id(functions[name])
            row = Row(
                f"Python import {parameters}, GIL {'released' if nogil else 'kept'}",
                {
                    "wasmjit": whole(LOOP_CALLS, ours.typed(f"call_{name}", nogil=nogil), LOOP_CALLS),
                    **beside(
                        theirs,
                        lambda subject, name=name: whole(  # type: ignore[misc]
                            LOOP_CALLS, subject[f"call_{name}"], subject.store, LOOP_CALLS
                        ),
                    ),
                    "C": whole(LOOP_CALLS, c_loop, address, LOOP_CALLS, nogil),
                },
                at_most_ns=150,
            )
            if nogil:
                row.rounds["cffi"] = whole(LOOP_CALLS, cffi_loops[name], LOOP_CALLS)
            yield row


def native_calls(ours: Subject, twin: Twin) -> Iterator[Row]:
    """Wasm calls C, and C calls wasm, without Python in between."""
    i32 = wasmjit.ValType.i32()
    calls = LOOP_CALLS * 10
    linker = wasmjit.Linker(ours.engine)
    linker.define_func("host", "nothing", wasmjit.FuncType([], []), nothing_in_python)
    pointer = twin.ffi.addressof(twin.lib, "twin_add")
    linker.define_native("host", "add", wasmjit.FuncType([i32, i32], [i32]), pointer)
    loop = linker.instantiate(ours.store, ours.module).exports(ours.store)["call_add"].typed(ours.store)
    yield Row(
        "native import (i32, i32)",
        {"wasmjit": whole(calls, loop, calls), "C": whole(calls, twin.lib.twin_loop_native, calls)},
        at_most_ns=6,
    )
    address = ours["add"].native_address(ours.store)
    yield Row(
        "add.native_address(store) called from C",
        {
            "wasmjit": whole(calls, twin.lib.twin_loop_address, address, calls),
            "C": whole(calls, twin.lib.twin_loop_address, twin.lib.twin_add_address(), calls),
        },
    )


def first_calls(ours: Subject, theirs: Subject | None) -> Iterator[Row]:
    """Functions that are called once: lookup and first call."""

    def exports(subject: Subject) -> Round:
        module = subject.api.Module(subject.engine, EXPORTS_WAT)
        names = [f"f{i}" for i in range(EXPORTS)]

        def run() -> float:
            store = subject.api.Store(subject.engine)
            instance = subject.api.Instance(store, module, [])
            started = time.perf_counter()
            found = instance.exports(store)
            for name in names:
                found[name](store, 1, 2)
            nanoseconds = (time.perf_counter() - started) / EXPORTS * 1e9
            store.close()
            return nanoseconds

        return run

    yield Row(
        f"lookup and first call, {EXPORTS} exports",
        {"wasmjit": exports(ours), **beside(theirs, exports)},
        at_most_ns=2000,
    )

    def signatures(subject: Subject) -> Round:
        """Each round calls the next function, whose signature this process has not seen yet."""
        kinds = ["i32", "i64", "f32", "f64"]
        mixes = itertools.islice(itertools.product(kinds, repeat=5), 0, None, 37)
        params = [" ".join(mix) for mix in itertools.islice(mixes, ROUNDS + 1)]
        text = "".join(f'(func (export "f{i}") (param {param}))' for i, param in enumerate(params))
        store = subject.api.Store(subject.engine)
        found = subject.api.Instance(store, subject.api.Module(subject.engine, f"(module {text})"), []).exports(store)
        values = {"i": 1, "f": 1.0}
        upcoming = iter([(found[f"f{i}"], [values[k[0]] for k in mix.split()]) for i, mix in enumerate(params)])

        def run() -> float:
            function, arguments = next(upcoming)
            started = time.perf_counter()
            function(store, *arguments)
            return (time.perf_counter() - started) * 1e9

        return run

    yield Row("first call of a new signature", {"wasmjit": signatures(ours), **beside(theirs, signatures)})


def maps(ours: Subject, theirs: Subject | None, twin: Twin) -> Iterator[Row]:
    """A wasm function over arrays, per element."""
    a = numpy.arange(ELEMENTS, dtype=numpy.int32)
    b = a[::-1].copy()
    out = numpy.empty_like(a)
    typed = ours.typed("add")
    assert (typed.map(a, b) == a + b).all()
    some = ELEMENTS // 20  # loops in Python take their time
    list_a, list_b = a[:some].tolist(), b[:some].tolist()
    from_buffer = twin.ffi.from_buffer

    def loop(call: Callable[[int, int], int]) -> list[int]:
        return [call(x, y) for x, y in zip(list_a, list_b, strict=True)]

    def loop_with_store(subject: Subject) -> Round:
        call, store, few = subject["add"], subject.store, some // 20
        return whole(few, lambda: [call(store, x, y) for x, y in zip(list_a[:few], list_b[:few], strict=True)])

    yield Row(
        f"add.typed(store).map over {ELEMENTS:,} elements",
        {
            "wasmjit": whole(ELEMENTS, lambda: typed.map(a, b, out=out)),
            **beside(theirs, loop_with_store),
            "cffi": whole(
                ELEMENTS,
                twin.lib.twin_map_add,
                from_buffer("int32_t[]", a),
                from_buffer("int32_t[]", b),
                from_buffer("int32_t[]", out, require_writable=True),
                ELEMENTS,
            ),
            "Python": whole(some, loop, add_in_python),
        },
    )
    yield Row(
        "  the same as a Python loop over typed",
        {"wasmjit": whole(some, loop, typed), "Python": whole(some, loop, add_in_python)},
    )
    yield Row("  the same in numpy (Python column)", {"Python": whole(ELEMENTS, numpy.add, a, b, out)})


# ---- threads ----


def scaling(start_work: list[Callable[[], object]]) -> float:
    """How much more two threads get done than one: 2.0 at best, with two free processors. Median of rounds."""

    def seconds(works: list[Callable[[], object]]) -> float:
        threads = [threading.Thread(target=work) for work in works]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started

    ratios = []
    for _ in range(ROUNDS):
        alone = seconds(start_work[:1])
        ratios.append(2 * alone / seconds(start_work))
    return statistics.median(ratios)


def thread_figures(ours: Subject, theirs: Subject | None, twin: Twin) -> dict[str, float]:
    """How two threads with a store each scale, by contender."""

    def works(subject: Subject, bind: Callable[[Any, Any], Callable[[], object]]) -> list[Callable[[], object]]:
        made = [subject.instantiate() for _ in range(2)]
        return [bind(store, exports["spin"]) for store, exports in made]

    def typed(nogil: bool) -> list[Callable[[], object]]:
        return works(ours, lambda store, spin: functools.partial(spin.typed(store, nogil=nogil), SPINS))

    figures = {"wasmjit, GIL released": scaling(typed(True)), "wasmjit, GIL kept": scaling(typed(False))}
    if theirs is not None:
        figures["wasmtime"] = scaling(works(theirs, lambda store, spin: functools.partial(spin, store, SPINS)))
    figures["cffi"] = scaling([lambda: twin.lib.twin_spin(SPINS)] * 2)
    return figures


# ---- printing ----


def show(row: Row) -> str:
    """The line of the table."""
    cells = [f"{row.case:<42}"]
    for column in COLUMNS:
        figure = row.medians_ns.get(column)
        cells.append(f"{'-':>9}" if figure is None else f"{figure:>9,.{1 if figure < 100 else 0}f}")
        if column == "wasmtime":
            cells.append(f"{row.times_faster:>8.1f}x" if row.times_faster else f"{'-':>9}")
    if row.at_most_ns is not None:
        met = "" if row.medians_ns["wasmjit"] <= row.at_most_ns else "  missed"
        cells.append(f"{row.at_most_ns:>9,.0f}{met}")
    return " ".join(cells)


def show_access(row: memory_access.Row) -> str:
    """The line of an access to memory; its limit is what Python takes for the same bytes."""
    ours, theirs, limit = row["wasmjit_ns"], row["wasmtime_ns"], row["limit_ns"]
    beside = f"{theirs:>9,.0f} {theirs / ours:>8.1f}x" if theirs else f"{'-':>9} {'-':>9}"
    return f"{row['case']:<42} {ours:>9,.0f} {beside} {limit:>9,.0f} {ours / limit:>8.2f}x  {row['limit']}"


def main(arguments: list[str]) -> list[dict[str, object]]:
    """Measures and prints; returns the figures."""
    quiet = "--json" in arguments
    ours, theirs, twin = Subject(wasmjit), Subject(wasmtime) if wasmtime is not None else None, load()
    figures: list[dict[str, object]] = []
    if not quiet:
        print(f"\nCalls, in ns each; medians of {ROUNDS} rounds, contenders taking turns")
        heads = [f"{head:>9}" for head in ("wasmjit", "wasmtime", "faster", "cffi", "C", "Python", "at most")]
        print(f"{'case':<42}", *heads)
    for row in rows(ours, theirs, twin):
        row.measure()
        figures.append(
            {
                "case": row.case.strip(),
                **{f"{column.lower()}_ns": row.medians_ns.get(column) for column in COLUMNS},
                "times_faster_than_wasmtime": row.times_faster,
                "at_most_ns": row.at_most_ns,
            }
        )
        if not quiet:
            print(show(row), flush=True)
    memory = memory_access.measure_memory()
    figures.extend(dict(row) for row in memory)
    scales = thread_figures(ours, theirs, twin)
    figures.append({"case": "work done by two threads, times that of one", **scales})
    if quiet:
        json.dump(figures, sys.stdout, indent=1)
        return figures
    print(f"\n{'memory':<42} {'wasmjit':>9} {'wasmtime':>9} {'faster':>9} {'limit':>9} {'of limit':>9}  the limit is")
    for access in memory:
        print(show_access(access))
    print("\nTwo threads with a store each get done, times what one does (2.0 at best, if both processors are free):")
    print("  " + ", ".join(f"{contender} {ratio:.2f}" for contender, ratio in scales.items()))
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
