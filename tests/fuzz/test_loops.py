"""A short run of `loops.py` in each tier, and for another machine; and its reducer. `make fuzz-loops` is long."""

from __future__ import annotations

import functools
import random
import time
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")

import wasmtime

from tests.fuzz import loops_recorded
from tests.fuzz.loops import compile_only, configurations, investigate, make
from tests.fuzz.loops_make import Arguments, make_arguments, make_function
from tests.fuzz.loops_run import CHANGED, CONFIGURATIONS, Batch, Subject
from tests.fuzz.loops_tree import Function, MemoryShape, Node, binary, const, get, op, put, size, text, walk
from tests.fuzz.reduce import reduce
from wasmjit import Config, Module, wat2wasm
from wasmjit.wasm.decode import decode

EXACT_TIERS = ("exact", "baseline", "auto", "explicit", "stencils", "fuel", "auto-fuel", "auto-epoch")
EXACT_TIERS += (
    "auto-explicit",
    "auto-canonical",
    "stencils-fuel",
    "stencils-epoch",
    "stencils-explicit",
    "stencils-canonical",
    "shared_exact",
)
# Soon hot, from code of stencils.
STENCILS = (
    "hot_stencils",
    "hot_stencils-fuel",
    "hot_stencils-epoch",
    "hot_stencils-explicit",
    "hot_stencils-canonical",
)
PAGE = MemoryShape()


@pytest.fixture(autouse=True)
def _patient_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in CHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))


def masked_index(width: int = 1) -> Function:
    """for (i = 0; i != n; i++) b[i] = k[i & 3];"""
    i = get("i")
    shift = const("i32", width.bit_length() - 1)
    store, load = ("i32.store8", "i32.load8_u") if width == 1 else ("i32.store", "i32.load")
    value = Node(load, (1024, 0), (op("i32.shl", op("i32.and", i, const("i32", 3)), shift),))
    body = (
        Node(store, (2048, 0), (op("i32.shl", i, shift), value)),
        put("i", op("i32.add", i, const("i32", 1))),
        Node("br_if", ("l",), (op("i32.ne", i, get("n")),)),
    )
    return Function({"i": "i32"}, (Node("loop", ("l",), body),), get("s"))


def test_what_is_made_is_valid_and_reads_alike_as_text() -> None:
    for seed in range(40):
        source = random.Random(seed)
        memory = MemoryShape(1, seed % 4 == 0)
        function, style = make_function(source, memory)
        wasm = binary([function], memory)
        wasmtime.Module.validate(wasmtime.Engine(), wasm)
        ours, parsed = decode(wasm), decode(wat2wasm(text(function, memory)))
        bodies = [module.wasm[module.bodies[0].start : module.bodies[0].end] for module in (ours, parsed)]
        assert bodies[0] == bodies[1]
        assert len(make_arguments(source, memory, style)) == 6
    assert make(3).subjects == make(3).subjects != make(4).subjects


@pytest.mark.parametrize("tier", EXACT_TIERS)
def test_random_loops_behave_as_in_wasmtime(tier: str) -> None:
    made = make(EXACT_TIERS.index(tier), calls=20, functions=15)
    batch = Batch(made.subjects, made.memory, configurations([tier], []))
    assert not list(batch.disagreements())
    assert batch.counts.executions > 100 and batch.counts.traps > 10
    if tier.startswith("stencils"):
        assert {function.tier for function in batch.ours[0].kept[1].tier_report()} == {"stencil"}
    batch.close()


@pytest.mark.part(2)
@pytest.mark.parametrize("kind", ["hot", "hot-fuel", "hot-epoch", "hot-explicit", "hot-canonical", *STENCILS])
def test_loops_go_on_in_other_code_in_the_middle(kind: str) -> None:
    made = make(5, calls=8, functions=16)
    batch = Batch(made.subjects, made.memory, configurations([kind], []))
    deadline = time.monotonic() + 120
    tiers: list[str] = []
    # Questions about better code wait for a share of what the last one took: beside other work, for another round.
    while "optimized" not in tiers and time.monotonic() < deadline:
        assert not list(batch.disagreements())
        tiers = [tier for function in batch.ours[0].kept[1].tier_report() for _, tier in function.loops]
        assert len(tiers) > 8
    assert "optimized" in tiers
    batch.close()


def test_a_difference_is_seen() -> None:
    """A byte of memory that differs, a trap that does not happen."""
    function = masked_index()
    outside = function._replace(body=(put("i", Node("i32.load", (65533, 0), (get("a"),))), *function.body))
    calls: list[Arguments] = [(64, 0, 0, 0, 0, 0.0)]
    for other, kind in ((function._replace(result=const("i64", 7)), "7"), (outside, "MEMORY_OUT_OF_BOUNDS")):
        batch = Batch([Subject(function, calls, bytes(65536))], PAGE, configurations(["baseline"], []))
        wrong = Batch([Subject(other, calls, bytes(65536))], PAGE, configurations(["baseline"], []))
        batch.ours = wrong.ours
        assert [found.got for found in batch.disagreements()] == [kind]
    batch = Batch([Subject(function, calls, bytes(range(256)) * 256)], PAGE, configurations(["baseline"], []))
    wrong = Batch([Subject(masked_index(4), calls, bytes(65536))], PAGE, configurations(["baseline"], []))
    batch.ours = wrong.ours
    assert [found.expected[:7] for found in batch.disagreements()] == ["memory["]


def test_what_wasmtime_did_can_be_compared_with_later(tmp_path: Path) -> None:
    """Under emulation, where wasmtime takes too long."""
    made = make(2, calls=6, functions=12)
    loops_recorded.write(tmp_path / "recorded", {2: loops_recorded.record(made.subjects, made.memory)})
    recording = loops_recorded.read(tmp_path / "recorded")[2]
    assert {type(outcome.result) for outcome in recording.outcomes} == {int, str}
    changed = next(
        i for i, outcome in enumerate(recording.outcomes) if outcome.changes and isinstance(outcome.result, int)
    )
    wrong = [*recording.outcomes]
    wrong[changed] = wrong[changed]._replace(changes=b"")
    for outcomes, count in ((recording.outcomes, 0), (wrong, 1)):
        theirs = functools.partial(loops_recorded.Replay, recording._replace(outcomes=outcomes))
        batch = Batch(made.subjects, made.memory, configurations(["stencils-fuel"], []), theirs)
        assert len(list(batch.disagreements())) == count
        assert batch.counts.executions > 40
        batch.close()


def test_loops_compile_for_aarch64() -> None:
    compile_only("aarch64-unknown-linux-gnu", 1, 15, [])


def test_every_configuration_is_one() -> None:
    for options in CONFIGURATIONS.values():
        assert Config(**options)


def test_the_reducer_leaves_what_matters() -> None:
    """Of random functions around a masked index in a loop, the masked index in a loop."""
    for seed in range(3):
        made, _ = make_function(random.Random(seed), PAGE)
        planted = made._replace(
            locals={**made.locals, "i": "i32"}, body=(*made.body, *masked_index().body), result=get("s")
        )
        engine = wasmtime.Engine()

        def is_faulty(function: Function, arguments: Arguments, engine: wasmtime.Engine = engine) -> bool:
            try:
                wasmtime.Module.validate(engine, binary([function], PAGE))
            except (wasmtime.WasmtimeError, ValueError):
                return False
            masked = Node("i32.and", (), (get("i"), const("i32", 3)))
            stores = [n for s in function.body if s.op == "loop" for n in walk(s) if n.op == "i32.store8"]
            return any(masked in walk(store) for store in stores) and arguments[0] >= 32

        function, arguments = reduce(planted, (300, 5, 4096, 77, 12345, 1.5), is_faulty, 30)
        assert text(function, PAGE).count("\n") < 20
        assert size(function) <= 8, text(function, PAGE)
        assert arguments == (32, 0, 0, 0, 0, 0.0)


def test_findings_say_what_finds_them_again() -> None:
    made = make(1, functions=2)
    chosen = configurations(["baseline"], [])[0]
    batch = Batch(made.subjects, made.memory, [chosen])
    (other,) = batch.ours
    other.calls.reverse()  # the second function for the first
    found = next(batch.disagreements())
    finding = investigate(found, made, 1, chosen, 0.0)
    assert "--seed 1 --count 50 --tiers baseline" in finding.head
    assert Module.validate(chosen.engine, wat2wasm(finding.head + finding.whole)) is None
