"""The on-disk cache: hits, misses, damage, size, trust, many processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wasmjit import cache as cache_module
from wasmjit.cache import Cache, entry_key
from wasmjit.config import Config

KEY = Config().cache_key()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "deep" / "cache")


def entries(cache: Cache) -> list[Path]:
    return sorted(cache.directory.iterdir())


def test_what_is_stored_is_found(cache: Cache, objects: Any) -> None:
    """The driver goes by it: tests/unit/test_driver.py."""
    key, other = entry_key(b"wasm", KEY), entry_key(b"other wasm", KEY)
    assert cache.load(key, KEY) is None
    first = objects.make_artifact()
    assert cache.store(key, first)
    second = cache.load(key, KEY)
    assert second is not None and second is not first
    assert second.to_bytes() == first.to_bytes()
    assert cache.load(other, KEY) is None
    assert cache.store(other, first)
    assert len(entries(cache)) == 2


def test_keys_tell_everything_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [entry_key(b"a", KEY), entry_key(b"b", KEY), entry_key(b"a", Config(opt_level="none").cache_key())]
    keys.append(entry_key(b"a", Config(cpu="generic").cache_key()))
    assert entry_key(b"a", KEY) == keys[0] == entry_key(memoryview(b"a"), Config().cache_key())
    changes = {
        "VERSION": "99",
        "FORMAT_VERSION": 99,
        "abi_hash": lambda: "x",
        "host_fingerprint": str,
        "COMPILER_STATE": "x",
    }
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(cache_module, name, value)
            keys.append(entry_key(b"a", KEY))
    assert len(set(keys)) == len(keys) == 9


def test_sources_of_a_checkout_are_part_of_keys(tmp_path: Path) -> None:
    package = tmp_path / "wasmjit"
    shutil.copytree(Path(cache_module.__file__).parent, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    assert cache_module.compiler_state(str(package)) == "", "installed: its version says what it is"
    (tmp_path / "pyproject.toml").touch()
    states = [cache_module.compiler_state(str(package))]
    assert states[0] == cache_module.compiler_state(str(package))
    for name in ("abi.py", "wasm/ops.py", "compile/lower.py", "driver/build.py"):
        path = package / name
        times = path.stat()
        path.write_text(path.read_text().replace("the", "The", 1))  # of the same size, and made to look as old
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        states.append(cache_module.compiler_state(str(package)))
    (package / "compile" / "new.py").touch()
    states.append(cache_module.compiler_state(str(package)))
    (package / "cli" / "run.py").write_text("")
    assert states[-1] == cache_module.compiler_state(str(package)), "compiles nothing"
    assert len(set(states)) == len(states) == 6


@pytest.mark.parametrize("damage", ["flip in code", "flip in metadata", "truncated", "empty", "other file"])
def test_damaged_entries_are_made_again(cache: Cache, objects: Any, damage: str) -> None:
    artifact = objects.make_artifact()
    key = entry_key(b"wasm", KEY)
    assert cache.store(key, artifact)
    (path,) = entries(cache)
    data = bytearray(path.read_bytes())
    if damage.startswith("flip"):
        at = data.index(bytes(artifact.text)) + 100 if "code" in damage else 600
        data[at] ^= 1
    elif damage == "truncated":
        del data[-100:]
    else:
        data = bytearray(b"" if damage == "empty" else b"\0asm" * 1000)
    path.write_bytes(data)
    assert cache.load(key, KEY) is None
    assert entries(cache) == []
    assert cache.store(key, artifact)
    found = cache.load(key, KEY)
    assert found is not None and found.to_bytes() == artifact.to_bytes()


def test_incompatible_entries_are_not_used(cache: Cache, objects: Any) -> None:
    other = next(machine for machine in objects.machines if machine != objects.make_artifact().target.machine)
    cache.store("a" * 64, objects.make_artifact(other))
    assert cache.load("a" * 64) is None
    cache.store("b" * 64, objects.make_artifact())
    assert cache.load("b" * 64, Config(opt_level="none").cache_key()) is None


def test_least_recently_used_entries_go(cache: Cache, objects: Any) -> None:
    artifact = objects.make_artifact()
    size = len(artifact.to_bytes()) + 32  # with the tag
    cache.max_bytes = 10 * size
    keys = [f"{i:064x}" for i in range(10)]
    for i, key in enumerate(keys):
        assert cache.store(key, artifact)
        old = time.time() - 1000 + i
        assert cache._secret is not None
        os.utime(cache._path(key, cache._secret), (old, old))
    assert cache.load(keys[0]) is not None  # now it was used last
    assert cache.store("f" * 64, artifact)
    left = {path.stem for path in entries(cache)}
    assert left == {cache._path(key, cache._secret).stem for key in (keys[0], *keys[5:], "f" * 64)}


def test_leftovers_of_dead_processes_go(cache: Cache, objects: Any) -> None:
    cache.store("a" * 64, objects.make_artifact())
    old, new, foreign = (cache.directory / name for name in (".new-old", ".new-young", "README"))
    for path in (old, new, foreign):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    os.utime(foreign, (1, 1))
    assert cache.clean_up() == 0
    assert not old.exists() and new.exists() and foreign.exists()


def test_what_does_not_fit_is_not_kept(cache: Cache, objects: Any) -> None:
    cache.max_bytes = 100
    assert not cache.store("a" * 64, objects.make_artifact())
    assert not cache.directory.exists()


def test_an_unusable_directory_is_no_error(tmp_path: Path, objects: Any) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.load("a" * 64) is None
    assert not cache.store("a" * 64, objects.make_artifact())


def test_entries_that_others_can_write_are_not_taken(cache: Cache, objects: Any) -> None:
    cache.store("a" * 64, objects.make_artifact())
    (path,) = entries(cache)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o666)
    assert cache.load("a" * 64) is None
    path.chmod(0o644)
    assert cache.load("a" * 64) is not None


def test_entries_made_with_another_key_are_not_taken(cache: Cache, objects: Any) -> None:
    """Somebody who can write the directory, but has no key of ours, cannot make us run code."""
    cache.store("a" * 64, objects.make_artifact())
    foreign = Cache(cache.directory, secret=b"f" * 32)
    assert foreign.load("a" * 64) is None
    assert len(entries(cache)) == 1  # it is somebody else's, and stays
    assert foreign.store("a" * 64, objects.make_artifact())
    ours, theirs = (c._path("a" * 64, c._secret) for c in (cache, foreign) if c._secret is not None)
    assert cache.load("a" * 64) is not None and foreign.load("a" * 64) is not None
    os.replace(theirs, ours)  # under our name
    assert cache.load("a" * 64) is None
    assert not ours.exists()


def test_entries_cannot_be_exchanged(cache: Cache, objects: Any) -> None:
    """A valid entry does not stand for another module."""
    cache.store("a" * 64, objects.make_artifact())
    assert cache._secret is not None
    os.replace(cache._path("a" * 64, cache._secret), cache._path("b" * 64, cache._secret))
    assert cache.load("b" * 64) is None


def test_the_key_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    path = tmp_path / "state" / "wasmjit" / "cache.key"
    assert cache_module.user_key_path() == path
    found: list[bytes | None] = []
    threads = [threading.Thread(target=lambda: found.append(cache_module.user_key())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and found[0] is not None and len(found[0]) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("trouble", ["readable by others", "too short", "a directory", "unwritable"])
def test_without_a_secret_key_nothing_is_cached(tmp_path: Path, objects: Any, trouble: str) -> None:
    path = cache_module.user_key_path()
    path.parent.mkdir(parents=True)
    if trouble == "readable by others":
        path.write_bytes(b"k" * 32)
        path.chmod(0o644)
    elif trouble == "too short":
        path.touch(0o600)
    elif trouble == "a directory":
        path.mkdir()
    else:
        path.parent.rmdir()
        path.parent.write_bytes(b"")
    cache = Cache(tmp_path / "cache")
    assert not cache.store("a" * 64, objects.make_artifact())
    assert cache.load("a" * 64) is None


def test_the_artifact_survives_the_entry(cache: Cache, objects: Any) -> None:
    cache.store("a" * 64, objects.make_artifact())
    artifact = cache.load("a" * 64)
    (path,) = entries(cache)
    path.unlink()
    artifact.verify()


def test_threads_may_store_and_load_at_once(cache: Cache, objects: Any) -> None:
    artifact = objects.make_artifact()
    expected = artifact.to_bytes()
    failures: list[object] = []

    def work() -> None:
        for _ in range(30):
            if not cache.store("a" * 64, artifact):
                failures.append("store")
            loaded = cache.load("a" * 64)
            if loaded is None or loaded.to_bytes() != expected:
                failures.append(loaded)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(entries(cache)) == 1


def test_loading_from_the_cache_imports_no_compiler(cache: Cache, objects: Any) -> None:
    cache.store("a" * 64, objects.make_artifact())
    program = (
        "import sys; from wasmjit.cache import Cache\n"
        "assert Cache(sys.argv[1]).load('a' * 64) is not None\n"
        "print([name for name in sys.modules if name.startswith(('llvmlite', 'wasmjit.compile'))])"
    )
    command = [sys.executable, "-c", program, str(cache.directory)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_entry_is_made_by_one_process_at_a_time(cache: Cache) -> None:
    program = (
        "import sys, time\nfrom wasmjit.cache import Cache\n"
        "with Cache(sys.argv[1]).making('a'): print('has it', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(cache.directory)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "has it\n"
    order: list[str] = []

    def make(key: str) -> None:
        with Cache(cache.directory).making(key):
            order.append(key)

    with Cache(cache.directory).making("b"):
        order.append("b")
    waiting = threading.Thread(target=make, args=("a",))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive() and order == ["b"]
    other.stdin.close()
    waiting.join()
    other.wait()
    other.stdout.close()
    assert order == ["b", "a"]
    assert not list(cache.directory.iterdir())


def test_the_lock_of_a_process_that_was_killed_is_cleared_away(cache: Cache) -> None:
    program = (
        "import os, sys\nfrom wasmjit.cache import Cache\n"
        "with Cache(sys.argv[1]).making('a'): print(os.listdir(sys.argv[1])[0], flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(cache.directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        cache.clean_up()
        assert [path.name for path in entries(cache)] == [name]  # it is in use
        other.kill()
    assert [path.name for path in entries(cache)] == [name]
    cache.clean_up()
    assert not entries(cache)


def test_who_waited_for_a_lock_whose_file_was_removed_takes_that_of_the_new_file(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = cache_module._take_lock
    taken = []

    def replaced(descriptor: int, deadline: float) -> bool:
        if not taken:
            entries(cache)[0].unlink()
        taken.append(descriptor)
        return take(descriptor, deadline)

    monkeypatch.setattr(cache_module, "_take_lock", replaced)
    with cache.making("a"):
        assert len(taken) == 2
        assert os.path.samestat(os.stat(entries(cache)[0]), os.fstat(taken[1]))


def test_making_an_entry_needs_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Cache(tmp_path / "file" / "below").making("a"):
        pass
