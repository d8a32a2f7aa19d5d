"""Preview 1 case by case: small C programs, each asserting one behaviour or errno, here and in the wasmtime package.

The cases are the `CASE(name)` of ``programs/*.c``; ``python examples/rebuild.py`` compiles them. A case passes here if
it ends as it says itself, and if wasmtime gives the same exit code, output, errors and files. Where wasmtime differs,
``programs/differences.toml`` says how and why; a listed case on which both agree fails as well.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import wasmtime

import wasmjit

try:
    import tomllib
except ImportError:  # before Python 3.11; pytest brings it there
    import tomli as tomllib

PROGRAMS = Path(__file__).parent / "programs"
CASES = {
    f"{source.stem}.{name}": (source.stem, name)
    for source in sorted(PROGRAMS.glob("*.c"))
    for name in re.findall(r"^CASE\((\w+)\)", source.read_text(), re.MULTILINE)
}
DIFFERENCES: dict[str, dict[str, str]] = tomllib.loads((PROGRAMS / "differences.toml").read_text())
# The last arguments are seen by the cases about arguments.
ARGUMENTS = ["", "ünï"]
ENVIRONMENT = (("A", "1"), ("EMPTY", ""), ("EQUALS", "a=b"))
EXIT_CODES = {"environment.exit_ends_at_once": 7}


class Outcome(NamedTuple):
    """What a program did: exit code (or "trap"), standard output, standard error, and the files it left."""

    code: int | str
    stdout: bytes
    stderr: bytes
    files: dict[str, object]


class Engines:
    """The programs compiled for both APIs, on first use."""

    def __init__(self) -> None:
        # The calls are what is tested here, not the code around them: the quick tier.
        config = wasmjit.Config()
        config.tier = "baseline"
        self.engines: dict[Any, Any] = {wasmjit: wasmjit.Engine(config), wasmtime: wasmtime.Engine()}
        self._modules: dict[tuple[Any, str], Any] = {}
        self._theirs: dict[str, Outcome] = {}

    def module(self, api: Any, area: str) -> Any:
        key = (api, area)
        if key not in self._modules:
            self._modules[key] = api.Module.from_file(self.engines[api], str(PROGRAMS / f"{area}.wasm"))
        return self._modules[key]

    def theirs(self, case: str, template: Path, tmp_path: Path) -> Outcome:
        """What a case does in wasmtime, however ours is done."""
        if case not in self._theirs:
            self._theirs[case] = run_on_host(self, wasmtime, *CASES[case], template, tmp_path / "theirs")
        return self._theirs[case]


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory behind "/": copied for each run."""
    root = tmp_path_factory.mktemp("template") / "root"
    for directory in ("dir/sub", "empty", "many"):
        (root / directory).mkdir(parents=True)
    (root / "file").write_text("hello world")
    (root / "dir" / "a").write_text("aaa")
    for number in range(40):
        (root / "many" / f"n{number:02}").touch()
    for name, target in {
        "link": "file", "dlink": "dir", "dangling": "nowhere", "loop1": "loop2", "loop2": "loop1",
        "up": "../secret", "absolute": "/etc/passwd",
    }.items():  # fmt: skip
        os.symlink(target, root / name)
    os.utime(root / "file", ns=(10**18, 10**18))
    return root


def time_of(modified_ns: int) -> int | str:
    """A time that a case, or the template, has set; others differ from run to run."""
    return modified_ns if modified_ns <= 10**18 else "recent"


def files_below(directory: str, below: str = "") -> dict[str, object]:
    """Names with link targets, or contents, link counts and times. Directories come before what is in them."""
    found: dict[str, object] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            name = below + entry.name
            if entry.is_symlink():
                found[name] = os.readlink(entry.path)
            elif entry.is_dir():
                found[name] = "directory"
                found.update(files_below(entry.path, f"{name}/"))
            else:
                status = entry.stat(follow_symlinks=False)
                with open(entry.path, "rb") as file:
                    found[name] = (file.read(), status.st_nlink, time_of(status.st_mtime_ns))
    return found


def files_in(files: wasmjit.MemoryFS, below: str = "") -> dict[str, object]:
    """The same of a MemoryFS."""
    found: dict[str, object] = {}
    for entry in files.listdir(f"/{below}"):
        name = below + entry
        if files.is_symlink(name):
            found[name] = files.readlink(name)
        elif files.is_dir(name):
            found.update({name: "directory", **files_in(files, f"{name}/")})
        else:
            status = files.stat(name)
            found[name] = (files.read_bytes(name), status.links, time_of(status.modified_ns))
    return found


def run_case(engines: Engines, api: Any, area: str, name: str, directories: dict[str, Any], streams: Path) -> Outcome:
    """Runs one case with these directories ("root" may be changed, "ro" may not), its standard streams in `streams`."""
    files = {stream: streams / stream for stream in ("stdin", "stdout", "stderr")}
    files["stdin"].write_bytes(b"standard input")
    wasi = api.WasiConfig()
    wasi.argv = [area, name, *ARGUMENTS]
    wasi.env = ENVIRONMENT
    wasi.stdin_file, wasi.stdout_file, wasi.stderr_file = map(str, files.values())
    wasi.preopen_dir(directories["root"], "/", True)
    wasi.preopen_dir(directories["ro"], "/ro", False)
    engine = engines.engines[api]
    store = api.Store(engine)
    store.set_wasi(wasi)
    linker = api.Linker(engine)
    linker.define_wasi()
    code: int | str = 0
    message = b""
    try:
        instance = linker.instantiate(store, engines.module(api, area))
        instance.exports(store)["_start"](store)
    except api.ExitTrap as exit_trap:
        code = exit_trap.code
    except (api.Trap, api.WasmtimeError) as error:
        code, message = "trap", str(error).encode()
    left = {
        f"{name}/{path}": what
        for name, directory in directories.items()
        for path, what in (files_below(directory) if isinstance(directory, str) else files_in(directory)).items()
    }
    return Outcome(code, files["stdout"].read_bytes(), files["stderr"].read_bytes() + message, left)


@functools.cache
def in_template(template: Path, area: str) -> dict[str, Any]:
    """What `files_below` says of a copy: only one area needs a directory of many files."""
    found = files_below(str(template))
    return {path: what for path, what in found.items() if area == "directories" or not path.startswith("many/")}


def run_on_host(engines: Engines, api: Any, area: str, name: str, template: Path, place: Path) -> Outcome:
    """Runs one case in fresh copies of the template."""
    place.mkdir()
    directories = {copy: str(place / copy) for copy in ("root", "ro")}
    for copy in directories.values():
        os.mkdir(copy)
        for path, what in in_template(template, area).items():
            if what == "directory":
                os.mkdir(f"{copy}/{path}")
            elif isinstance(what, str):
                os.symlink(what, f"{copy}/{path}")
            else:
                with open(f"{copy}/{path}", "wb") as file:
                    file.write(what[0])
        os.utime(f"{copy}/file", ns=(10**18, 10**18))
    return run_case(engines, api, area, name, directories, place)


# There is no absolute link in a MemoryFS, which a host directory may have; and it is up to a file system whether to
# allocate what is there is a modification.
NOT_IN_MEMORY = {"escapes.readlink_absolute", "files.allocate_never_shrinks"}


@pytest.mark.part(2)
@pytest.mark.parametrize("case", CASES)
def test_case(engines: Engines, template: Path, tmp_path: Path, case: str, done_in: str) -> None:
    """As in wasmtime; and a MemoryFS behaves as a directory of the host, files left behind included."""
    area, name = CASES[case]
    ours = run_on_host(engines, wasmjit, area, name, template, tmp_path / "ours")
    theirs = engines.theirs(case, template, tmp_path)
    assert b"instead of" not in ours.stderr, ours.stderr.decode()
    number = re.fullmatch(r"exit_(\d+)", name)
    assert ours.code == (int(number[1]) if number else EXIT_CODES.get(case, 0)), ours.stderr.decode()
    if case not in DIFFERENCES:
        assert ours == theirs
    else:
        assert ours != theirs, f"{case} is the same in wasmtime: take it out of differences.toml"
        said = theirs.stderr.decode(errors="replace")
        assert DIFFERENCES[case]["wasmtime"] in said, f"wasmtime differs otherwise than listed: {theirs.code} {said}"
    if case not in NOT_IN_MEMORY:
        in_memory = run_in_memory(engines, area, name, template, tmp_path)
        for outcome in (in_memory, ours):
            assert {"root/absolute", "ro/absolute"} <= outcome.files.keys()
        assert without_absolute_links(in_memory) == without_absolute_links(ours)


def run_in_memory(engines: Engines, area: str, name: str, template: Path, tmp_path: Path) -> Outcome:
    """Runs one case in a MemoryFS like the template."""
    directories = {copy: wasmjit.MemoryFS() for copy in ("root", "ro")}
    for files in directories.values():
        for path, what in in_template(template, area).items():
            if what == "directory":
                files.mkdir(path)
            elif isinstance(what, str):
                files.symlink(what if not what.startswith("/") else "../out", path)
            else:
                files.write_bytes(path, what[0])
        files.set_times("file", 10**18, 10**18)
    return run_case(engines, wasmjit, area, name, directories, tmp_path)


def without_absolute_links(outcome: Outcome) -> Outcome:
    files = {path: what for path, what in outcome.files.items() if path not in ("root/absolute", "ro/absolute")}
    return outcome._replace(files=files)


def test_differences_are_listed_properly() -> None:
    assert set(DIFFERENCES) <= set(CASES), "differences.toml names cases that are gone"
    assert all(set(row) == {"wasmtime", "reason"} and row["reason"] and row["wasmtime"] for row in DIFFERENCES.values())


def test_every_call_of_preview_1_has_a_case() -> None:
    declared = set(re.findall(r"^CALL\((\w+)\)", (PROGRAMS / "case.h").read_text(), re.MULTILINE))
    assert len(declared) == 46 and len(CASES) >= 120
    text = "".join(source.read_text() for source in PROGRAMS.glob("*.c"))
    by_helper = {"fd_read", "fd_write", "fd_tell", "path_open", "path_filestat_get"}  # of case.h
    assert {name for name in declared if f"{name}(" not in text} <= by_helper
