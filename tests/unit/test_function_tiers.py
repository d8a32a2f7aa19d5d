"""The owner of which code runs each function: a function never goes to a lower tier, whoever comes late."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Mapping

import pytest

from wasmjit.tiers.function_tiers import FunctionTiers, Tier
from wasmjit.wasm.decode import decode
from wasmjit.wasm.text import wat2wasm

COUNT = 4


class Table:
    """A function table, and what happens in the middle of a change of it."""

    def __init__(self) -> None:
        self.words = [0] * 2 * COUNT
        self.meanwhile: Callable[[], None] | None = None

    def redirect(self, words: Mapping[int, int]) -> None:
        for word, address in words.items():
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            self.words[word] = address

    def address(self, position: int) -> int:
        return self.words[position]

    def count(self, position: int) -> int:
        return 10 * position

    def counts(self) -> list[int]:
        return [self.count(position) for position in range(COUNT)]


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def tiers(table: Table) -> FunctionTiers:
    tiers = FunctionTiers([Tier.UNCOMPILED, *[Tier.INTERPRETED] * (COUNT - 1)])
    tiers.attach(table)
    return tiers


def test_every_order_of_tiers_ends_in_the_highest(table: Table) -> None:
    """The address is that of the last code of the highest tier that came."""
    kinds = [Tier.BASELINE, Tier.BASELINE, Tier.OPTIMIZED, Tier.OPTIMIZED]
    for order in itertools.permutations(range(len(kinds))):
        tiers = FunctionTiers([Tier.INTERPRETED] * COUNT)
        tiers.attach(table)
        so_far = Tier.INTERPRETED
        for number in order:
            tiers.raise_to(kinds[number], {1: 100 + number})
            assert tiers.tier(1) >= so_far
            so_far = tiers.tier(1)
        last = [number for number in order if kinds[number] == Tier.OPTIMIZED][-1]
        assert (tiers.tier(1), tiers.address(1), tiers.is_optimized(1)) == (Tier.OPTIMIZED, 100 + last, True)
        assert (tiers.tier(0), tiers.tier(2)) == (Tier.INTERPRETED, Tier.INTERPRETED)


def test_some_functions_of_a_change_rise(table: Table, tiers: FunctionTiers) -> None:
    tiers.raise_to(Tier.OPTIMIZED, {1: 11, 2: 12})
    tiers.raise_to(Tier.BASELINE, {0: 20, 1: 21, 3: 23})
    assert table.words[:COUNT] == [20, 11, 12, 23]
    assert [tiers.tier(position) for position in range(COUNT)] == [2, 3, 3, 2]
    assert tiers.count(3) == 30


def test_register_entries_rise_with_their_function(table: Table, tiers: FunctionTiers) -> None:
    tiers.raise_to(Tier.OPTIMIZED, {1: 11, COUNT + 1: 91})
    tiers.raise_to(Tier.BASELINE, {1: 21, COUNT + 1: 92, COUNT + 2: 93})
    assert (table.words[1], table.words[COUNT + 1], table.words[COUNT + 2]) == (11, 91, 93)


@pytest.mark.parametrize("late", [Tier.BASELINE, Tier.OPTIMIZED])
def test_a_signal_handler_in_the_middle_of_a_change(table: Table, tiers: FunctionTiers, late: Tier) -> None:
    """What it brings holds, although the change that it came into goes on behind it."""
    table.meanwhile = lambda: tiers.raise_to(Tier.OPTIMIZED, {1: 11, 2: 12})
    tiers.raise_to(late, {1: 21, 2: 22, 3: 23})
    assert table.words[1:COUNT] == [11, 12, 23]
    assert [tiers.tier(position) for position in range(1, COUNT)] == [3, 3, late]


def test_a_change_that_is_interrupted_is_made_with_the_next(table: Table, tiers: FunctionTiers) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    table.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        tiers.raise_to(Tier.OPTIMIZED, {1: 11, 2: 12})
    tiers.raise_to(Tier.BASELINE, {1: 21, 2: 22, 3: 23})
    assert table.words[1:COUNT] == [11, 12, 23]


def test_threads_bring_code_in_any_order(table: Table, tiers: FunctionTiers) -> None:
    def bring(tier: Tier, first: int) -> None:
        for number in range(2000):
            tiers.raise_to(tier, {number % COUNT: first + number})

    threads = [
        threading.Thread(target=bring, args=arguments) for arguments in ((Tier.BASELINE, 0), (Tier.OPTIMIZED, 10_000))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(word >= 10_000 for word in table.words[:COUNT])


def test_a_forked_child_does_not_wait_for_threads_of_its_parent(table: Table, tiers: FunctionTiers) -> None:
    held, goes_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        held.set()
        goes_on.wait(60)

    table.meanwhile = meanwhile
    thread = threading.Thread(target=tiers.raise_to, args=(Tier.OPTIMIZED, {1: 11}))
    thread.start()
    assert held.wait(60)
    child = os.fork()
    if child == 0:
        tiers.raise_to(Tier.BASELINE, {1: 21, 2: 22})
        os._exit(0 if table.words[1:3] == [11, 22] else 1)
    goes_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_nothing_is_redirected_where_nothing_can_be_called_any_more() -> None:
    tiers = FunctionTiers([Tier.INTERPRETED])
    tiers.attach(Table())  # gone at once
    tiers.raise_to(Tier.BASELINE, {0: 1})
    assert (tiers.tier(0), tiers.address(0), tiers.count(0)) == (Tier.BASELINE, 0, 0)


def test_time_is_divided_by_size() -> None:
    """And said of the code that runs, not of what it has replaced."""
    module = decode(bytes(wat2wasm('(module (import "" "f" (func)) (func) (func nop nop nop) (func) (func nop))')))
    tiers = FunctionTiers([Tier.INTERPRETED] * COUNT)
    tiers.raise_to(Tier.BASELINE, {0: 1, 1: 1, 2: 1}, [([1, 3], 2.0), ([2], 5.0)])
    before = tiers.snapshot()
    assert tiers.compile_seconds(module, before) == [1.0, 5.0, 1.0, None]
    tiers.raise_to(Tier.OPTIMIZED, {0: 1, 1: 1}, [(range(1, 3), 7.0)])
    assert tiers.compile_seconds(module, before) == [1.0, 5.0, 1.0, None], "of what ran then"
    sizes = [body.end - body.start for body in module.bodies]
    part = 7.0 / (sizes[0] + sizes[1])
    expected = pytest.approx([part * sizes[0], part * sizes[1], 1.0, None])
    assert tiers.compile_seconds(module, tiers.snapshot()) == expected


def test_a_tier_is_seen_with_what_it_took(tiers: FunctionTiers) -> None:
    """A report in another thread told of optimised code that nobody had made."""
    made_before: list[int] = []

    class Watched(bytearray):
        def __setitem__(self, position: object, tier: object) -> None:
            made_before.append(len(tiers._made))
            super().__setitem__(position, tier)  # type: ignore[call-overload]

    tiers._tiers = Watched(tiers._tiers)
    tiers.optimize({1: 7}, [([1], 0.5)])
    assert made_before == [1]
