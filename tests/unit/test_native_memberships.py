"""Memories belong to no store: stores are members, whose code may use them and traps where it leaves them."""

from __future__ import annotations

import errno
import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native_code import Code, Instance, TrapError, memory, memory_access
from wasmjit import Config, Engine, Limits, MemoryType, SharedMemory
from wasmjit.runtime.native import ffi, lib, take_object

ROOT = Path(__file__).resolve().parents[2]
PAGE = 65536
REFUSED = UNLIMITED = (1 << 64) - 1
MEMORY_OUT_OF_BOUNDS = 1
# Too small to be pooled: what is freed is unmapped.
SMALL = {"reservation": 16 * PAGE, "guard": PAGE}


def is_mapped(address: int) -> bool:
    """Whether something is mapped there."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= address < end:
            return True
    return False


class User:
    """A store with code that loads and stores in memory 0, which may have been made for another store."""

    def __init__(self, made: Any) -> None:
        self.instance = Instance([made if inspect.isfunction(made) else lambda store: made])
        (self.memory,) = self.instance.memories
        self.code = Code(memory_access(self.instance.layout.memories))
        self.load = self.instance.function(self.code.addresses["load8"], "iI", "i")
        self.store = self.instance.function(self.code.addresses["store8"], "iIi", "")

    def join(self) -> int:
        return int(lib.wj_memory_join(self.memory, self.instance.store))

    def total_bytes(self) -> int:
        return int(lib.wj_store_total_bytes(self.instance.store))

    def limit(self, memory_bytes: int = UNLIMITED, total_bytes: int = UNLIMITED) -> None:
        lib.wj_store_set_limits(self.instance.store, memory_bytes, UNLIMITED, total_bytes)

    def traps(self, address: int) -> bool:
        """Whether both a load and a store there are traps."""
        for function, arguments in ((self.load, (address, 0)), (self.store, (address, 0, 1))):
            with pytest.raises(TrapError) as caught:
                function(*arguments)
            assert caught.value.fault_address == lib.wj_memory_base(self.memory) + address
            assert len(caught.value.pcs) == 1
            if caught.value.code != MEMORY_OUT_OF_BOUNDS:
                return False
        return True

    def close(self) -> None:
        self.instance.close()


@pytest.fixture
def maker() -> Iterator[User]:
    user = User(memory(1, 10, **SMALL))
    yield user
    user.close()


@pytest.fixture
def member(maker: User) -> Iterator[User]:
    """Of the memory that the store of `maker` made."""
    user = User(maker.memory)
    assert user.join() == 0
    yield user
    user.close()


def test_a_fault_in_a_memory_that_another_store_made_is_a_trap(maker: User, member: User) -> None:
    maker.store(PAGE - 1, 0, 7)
    assert member.load(PAGE - 1, 0) == 7
    assert member.traps(PAGE) and maker.traps(PAGE)
    assert lib.wj_memory_grow(maker.memory, 1) == 1
    member.store(PAGE, 0, 8)
    assert maker.load(PAGE, 0) == 8
    assert member.traps(2 * PAGE) and member.traps(17 * PAGE - 1)


@pytest.mark.parametrize("joins", [True, False])
def test_only_members_have_their_faults_claimed(joins: bool) -> None:
    """Of a store that is none the process dies: nothing is made a trap that lies outside of a store's own memories."""
    source = f"""
from tests.unit.test_native_memberships import PAGE, SMALL, User, memory
maker = User(memory(1, 10, **SMALL))
other = User(maker.memory)
if {joins}:
    assert other.join() == 0
print(other.load(PAGE - 1, 0), flush=True)
print(other.traps(PAGE))
"""
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == ((0, "0\nTrue\n") if joins else (-signal.SIGSEGV, "0\n")), done.stderr


def test_it_lives_as_long_as_its_last_member(maker: User, member: User) -> None:
    base = lib.wj_memory_base(maker.memory)
    member.store(3, 0, 5)
    maker.close()
    assert member.load(3, 0) == 5 and member.traps(PAGE)
    assert lib.wj_memory_grow(member.memory, 2) == 1
    assert member.load(3 * PAGE - 1, 0) == 0 and is_mapped(base)
    member.close()
    assert not is_mapped(base)


def test_views_keep_it_and_not_the_store(maker: User, member: User) -> None:
    base = lib.wj_memory_base(maker.memory)
    view = memoryview(take_object(lib.wj_mapping_new(maker.memory)))
    maker.store(9, 0, 9)
    maker.close()
    member.close()
    assert view[9] == 9 and is_mapped(base)
    del view
    assert not is_mapped(base)


def test_it_counts_for_all_members(maker: User, member: User) -> None:
    assert maker.total_bytes() == member.total_bytes() == PAGE
    assert member.join() == 0, "it is one already"
    assert lib.wj_memory_grow(maker.memory, 1) == 1
    assert maker.total_bytes() == member.total_bytes() == 2 * PAGE
    for limits in ({"memory_bytes": 3 * PAGE}, {"total_bytes": 3 * PAGE}):
        for limited, other in ((maker, member), (member, maker)):
            other.limit()
            limited.limit(**limits)
            assert lib.wj_memory_grow(maker.memory, 2) == REFUSED
            assert maker.total_bytes() == member.total_bytes() == 2 * PAGE, "nothing is counted of what is refused"
    assert lib.wj_memory_grow(maker.memory, 9) == REFUSED, "past the memory's own maximum"
    member.limit()
    maker.limit(total_bytes=3 * PAGE)
    maker.close()
    assert lib.wj_memory_grow(member.memory, 2) == 2, "what was closed limits nothing"
    assert member.total_bytes() == 4 * PAGE


def test_who_may_not_become_a_member(maker: User) -> None:
    other = User(maker.memory)
    other.limit(memory_bytes=PAGE - 1)
    assert other.join() == errno.EDQUOT
    other.limit(total_bytes=PAGE - 1)
    assert other.join() == errno.EDQUOT
    assert other.total_bytes() == 0
    assert lib.wj_memory_grow(maker.memory, 1) == 1, "its limits are not those of a member"
    moving = Instance([memory(1, 10, reservation=0, guard=0)])
    assert lib.wj_memory_join(moving.memories[0], other.instance.store) == errno.EINVAL, "it may move under its code"
    moving.close()
    other.close()


def test_a_memory_made_for_no_store() -> None:
    error = ffi.new("int *")
    made = lib.wj_memory_new(ffi.NULL, 1, 10, 16, SMALL["reservation"], SMALL["guard"], error)
    base = lib.wj_memory_base(made)
    assert lib.wj_memory_grow(made, 1) == 1
    users = [User(made), User(made)]
    assert [user.join() for user in users] == [0, 0]
    lib.wj_memory_release(made)
    users[0].store(2 * PAGE - 1, 0, 4)
    users[0].close()
    assert users[1].load(2 * PAGE - 1, 0) == 4 and users[1].traps(2 * PAGE)
    assert is_mapped(base)
    users[1].close()
    assert not is_mapped(base)


def test_a_shared_memory_that_is_closed_stays_with_its_members() -> None:
    engine = Engine(Config(shared_memory=True, signals_based_traps=False))  # as small as it can be: see SMALL
    shared = SharedMemory(engine, MemoryType(Limits(1, 4), shared=True))
    user = User(ffi.cast("wj_memory *", shared._open()))  # not the object that keeps it
    assert user.join() == 0
    user.store(5, 0, 6)
    assert shared.view()[5] == 6
    base = lib.wj_memory_base(user.memory)
    shared.close()
    assert user.load(5, 0) == 6
    user.close()
    assert not is_mapped(base)


# ---- threads ----


def test_stores_of_many_threads_use_and_grow_one_memory() -> None:
    """Two threads run code, which faults now and then, one grows, and one has stores that come and go."""
    made = lib.wj_memory_new(ffi.NULL, 1, 600, 16, 600 * PAGE, PAGE, ffi.new("int *"))
    rounds = 150
    failures: list[BaseException] = []

    def use(user: User, place: int) -> None:
        for count in range(rounds):
            user.store(place, 0, count % 256)
            assert user.load(place, 0) == count % 256
            assert user.traps(600 * PAGE)

    def grow() -> None:
        for _ in range(rounds):
            assert lib.wj_memory_grow(made, 1) != REFUSED

    def come_and_go() -> None:
        for _ in range(rounds // 5):
            user = User(made)
            assert user.join() == 0
            size_bytes = int(lib.wj_memory_size_bytes(made))
            assert user.load(size_bytes - 1, 0) == 0 and user.total_bytes() >= size_bytes
            user.close()

    def caught(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(error)

    users = [User(made), User(made)]
    assert [user.join() for user in users] == [0, 0]
    threads = [threading.Thread(target=caught, args=(use, user, 100 * i)) for i, user in enumerate(users)]
    threads += [threading.Thread(target=caught, args=(work,)) for work in (grow, come_and_go)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert lib.wj_memory_size_bytes(made) == users[0].total_bytes() == users[1].total_bytes() == (1 + rounds) * PAGE
    for user in users:
        user.close()
    lib.wj_memory_release(made)
