"""Short forms of what `hostile`, `wakeups` and `growth` do for minutes."""

from __future__ import annotations

import re

import pytest

from tests.threads import growth, hostile, wakeups
from wasmjit import inspection, thresholds

SLOW = pytest.mark.slow
ROUNDS = [100, pytest.param(200_000, marks=SLOW)]
TIERS = [*(pytest.param(tier, marks=SLOW) for tier in hostile.TIERS[:2]), *hostile.TIERS[2:]]


@pytest.fixture
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tier that modules are made for, and stay in."""
    for name in ("STENCILS", "INTERPRETER_BUDGET"):
        monkeypatch.setattr(thresholds, name, getattr(thresholds, name))  # which is undone
    hostile.force(request.param)
    return str(request.param)


def fetches(world: hostile.World) -> dict[str, int]:
    """How many instructions of each function have the address of the number that changes."""
    counts = {}
    for module in world.modules.values():
        artifact = module.serialize()
        for place in inspection.functions(artifact):
            code = inspection.disassemble(artifact, place)
            counts[place.name or ""] = len(re.findall(rf"\b{hostile.PLACE:#x}\b", code))
    return counts


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize(
    "policy", [name if name == "checked" else pytest.param(name, marks=SLOW) for name in hostile.POLICIES]
)
@pytest.mark.parametrize(
    "tier", ["optimized", pytest.param("baseline", marks=SLOW), "words", "stencils"], indirect=True
)
def test_a_number_that_changes_between_check_and_use_leads_nowhere(tier: str, policy: str, rounds: int) -> None:
    # LLVM takes a second or two for all of them.
    names = list(hostile.PLACES)[:: 4 if tier == "optimized" and rounds == ROUNDS[0] else 1]
    world = hostile.World(tier, policy, names)
    if tier in ("optimized", "baseline"):
        fetched = fetches(world)
        assert {name: fetched[name] for name in names if name != "control"} == dict.fromkeys(names[1:], 1)
        assert fetched["control"] > 1
    for name in names:
        ends = world.play(name, rounds)
        assert ends["rounds"] == rounds


@pytest.mark.slow
def test_a_module_that_fetches_twice_finds_another_number() -> None:
    """Which says that the threads meet."""
    world, found = hostile.World("optimized", "guarded", ["control"]), 0
    while not found:
        found = world.play("control", 10**6)["found"]


@pytest.mark.parametrize("rounds", [20, pytest.param(100_000, marks=SLOW)])
@pytest.mark.parametrize("tier", TIERS, indirect=True)
def test_no_wakeup_gets_lost(tier: str, rounds: int) -> None:
    world = wakeups.World(tier, wakeups.KINDS)
    for kind in wakeups.KINDS:
        world.play(kind, rounds)


@pytest.mark.parametrize("seconds", [0.1, pytest.param(20, marks=SLOW)])
@pytest.mark.parametrize(
    "configuration", ["baseline", *(pytest.param(name, marks=SLOW) for name in growth.CONFIGURATIONS)]
)
def test_memories_grow_and_go_while_others_fault(configuration: str, seconds: float) -> None:
    assert growth.play(configuration, seconds).odd == []
