"""Sequences of preview 1 calls from C give the same results here and in the wasmtime package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmjit

PROBE = Path(__file__).parent / "probe.wasm"
Run = Callable[..., tuple[int, bytes, bytes]]

READ, WRITE, BOTH = 2, 64, 66
CREAT, DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8

# Known differences are left out: rmdir of "x/" (EINVAL there), fd_readdir of a file (EBADF there), fsync of a directory
# (EBADF there), reads and writes of several vectors (only the first is used there), and unknown flags (a trap there).
SEQUENCES = {
    "ways out": f"""
        open 3 0 /etc/passwd 0 {READ} 0  open 3 1 abs 0 {READ} 0  open 3 0 abs 0 {READ} 0
        open 3 1 up 0 {READ} 0  open 3 1 ../secret 0 {READ} 0  open 3 0 dir/../../secret 0 {READ} 0
        open 3 1 dir/up2 0 {READ} 0  open 3 1 rootlink 0 {READ} 0  pathstat 3 1 rootlink/etc/passwd
        mkdir 3 ../evil  mkdir 3 up/evil  mkdir 3 updir/evil  rename 3 file 3 ../x  link 3 dir/a 3 ../x
        link 3 ../secret 3 x  unlink 3 ../secret  unlink 3 dir/../../secret  rmdir 3 ..  rmdir 3 ../outside
        symlink 3 /etc s  symlink 3 ../.. s2  readlink 3 s2  open 3 1 s2 {DIRECTORY} {READ} 0
        readlink 3 abs  readlink 3 up  pathtimes 3 up 1 1 5  open 3 1 absdir/file 0 {READ} 0
        open 3 1 inside 0 {READ} 0""",
    "resolution": f"""
        open 3 0 loop1/x 0 {READ} 0  open 3 1 loop1 0 {READ} 0  open 3 0 loop1 0 {READ} 0
        open 3 1 self 0 {READ} 0  open 3 0 file/ 0 {READ} 0  open 3 0 file/.. 0 {READ} 0
        open 3 0 dir/.. 0 {READ} 0  open 3 0 dir/parent/file 0 {READ} 0  open 3 0 - 0 {READ} 0
        open 3 0 link 0 {READ} 0  open 3 1 link 0 {READ} 0  open 3 0 dir/././a 0 {READ} 0
        open 3 0 ./dir/sub/../../dir/a 0 {READ} 0  pathstat 3 0 link  pathstat 3 1 link  pathstat 3 1 file/
        pathstat 3 0 dangling  pathstat 3 1 dangling  pathstat 3 0 dlink/  pathstat 3 0 dir/sub/../a
        readlink 3 file""",
    "directories": """
        mkdir 3 .  mkdir 3 new/.  mkdir 3 dir/  mkdir 3 new/  rmdir 3 new/.  rmdir 3 .  rmdir 3 dir
        rmdir 3 file  rmdir 3 new  mkdir 3 a//b  mkdir 3 a  mkdir 3 a//b  mkdir 3 dir/parent/d2
        unlink 3 dir  unlink 3 file/  rename 3 file 3 dir/  rename 3 dir 3 ndir/  rename 3 ndir 3 dlink
        rename 3 . 3 x  rename 3 ndir/.. 3 x  rename 3 x 3 ..  rename 3 ndir 3 ndir/sub/x  rename 3 nope 3 y
        rename 3 file 3 nodir/y  rename 3 file 3 dangling  pathstat 3 0 dangling
        rename 3 dangling 3 ndir/sub  rename 3 ndir/sub 3 dangling  rename 3 a/ 3 b/  rename 3 ndir/a/ 3 c
        readdir 3 0""",
    "opening": f"""
        open 3 1 file {CREAT | DIRECTORY} {READ} 0  open 3 1 dir {DIRECTORY} 16386 0  pathstat 4 1 sub
        pathstat 4 1 ../file  open 4 1 .. 0 {READ} 0  open 4 1 parent 0 {READ} 0
        open 3 1 new {CREAT} {WRITE} 0  open 3 1 new {CREAT | EXCL} {WRITE} 0
        open 3 1 nf/ {CREAT} {WRITE} 0  open 3 1 dir {CREAT} {READ} 0  open 3 1 dir 0 {BOTH} 0
        open 3 1 new {DIRECTORY} {READ} 0  open 3 1 dangling {CREAT} {WRITE} 0
        open 3 1 loop1 {CREAT} {WRITE} 0  open 3 1 loop1 {CREAT | EXCL} {WRITE} 0  open 3 1 new 0 0 0
        open 9 0 x 0 {READ} 0  open 0 0 x 0 {READ} 0  open 5 0 x 0 {READ} 0  readdir 3 0  readdir 3 1000""",
    "files": f"""
        open 3 1 file 0 {BOTH} 1  read 4 5  write 4 xyz  seek 4 -3 2  read 4 10  tell 4  fdstat 4
        setflags 4 0  fdstat 4  seek 4 0 0  write 4 HEL  stat 4  pread 4 4 2  pwrite 4 ZZ 20  stat 4
        setsize 4 4  stat 4  setsize 4 -1  seek 4 -1 0  seek 4 -100 1  pread 4 4 -1  read 4 100
        seek 4 1000 0  read 4 1  write 4 far  stat 4  sync 4  datasync 4  setflags 4 5  fdstat 4
        setflags 4 16  advise 4 0 0 0  advise 4 -1 1 5  settimes 4 1000 2000 5  stat 4  settimes 4 1 1 3
        pathtimes 3 link 5000 7000 5  pathstat 3 1 file  pathtimes 3 nope 1 1 5  pathtimes 3 file 1 1 12
        close 4  close 4  open 3 1 file {TRUNC} {WRITE} 0  stat 4  read 4 1  write 4 abc  pread 4 3 0""",
    "links": """
        link 3 file 3 hard  stat 3  pathstat 3 0 hard  link 3 dir 3 dirlink  link 3 up 3 uplink
        readlink 3 uplink  link 3 file 3 hard  link 3 file/ 3 hard2  link 3 file 3 hard3/  symlink 3 x dir/
        symlink 3 - s3  symlink 3 ../x file  symlink 0 x y  unlink 3 link  unlink 3 dlink  unlink 3 uplink
        unlink 3 dir/up2  unlink 3 nope""",
    "descriptors": f"""
        prestat 3  prestat 4  prestat 0  read 1 5  write 0 x  seek 1 0 0  tell 0  pread 0 1 0  stat 0
        stat 1  fdstat 0  fdstat 1  fdstat 2  fdstat 3  setsize 0 1  setsize 3 0  sync 0  sync 1
        advise 0 0 0 0  advise 3 0 0 0  write 3 x  read 3 1  seek 3 0 0  pread 3 1 1  close 77
        renumber 3 88  renumber 88 3  setflags 3 1  settimes 3 1000 1000 5  read 0 4  read 0 100  read 0 1
        open 3 1 file 0 {READ} 0  open 3 1 dir/a 0 {READ} 0  renumber 5 4  read 4 9  read 5 1
        open 3 1 file 0 {READ} 0  renumber 4 0  read 0 3  close 3  pathstat 3 1 x  prestat 3  mkdir 3 x""",
    "read only": f"""
        open 4 1 file 0 {READ} 0  open 4 1 file 0 {BOTH} 0  open 4 1 new {CREAT} {READ} 0
        open 4 1 file {TRUNC} {READ} 0  mkdir 4 new  unlink 4 file  rmdir 4 dir/sub  rename 4 file 4 x
        rename 4 file 3 x  rename 3 file 4 x  link 4 file 4 x  symlink 4 x y  pathstat 4 1 file
        pathtimes 4 file 1 1 5  settimes 4 1 1 5  settimes 5 1 1 5  read 5 3
        open 4 1 dir {DIRECTORY} {READ} 0  unlink 6 a  readdir 6 0""",
}


@pytest.fixture(scope="module")
def engines() -> list[tuple[Any, Any, Any]]:
    """(API, compiled probe, engine) of wasmjit and of wasmtime."""
    # The calls are what is tested here, not the code around them: the quick tier.
    ours, theirs = wasmjit.Engine(wasmjit.Config(tier="baseline")), wasmtime.Engine()
    return [
        (wasmjit, wasmjit.Module.from_file(ours, str(PROBE)), ours),
        (wasmtime, wasmtime.Module.from_file(theirs, str(PROBE)), theirs),
    ]


def tree(root: Path) -> dict[str, object]:
    """Names, link targets, contents and times below a directory."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            modified_ns = path.stat().st_mtime_ns
            found[name] = (path.read_bytes(), modified_ns if modified_ns < 2 * 10**15 else None)
        else:
            found[name] = None
    return found


@pytest.mark.parametrize("name", SEQUENCES)
def test_same_results_as_wasmtime(
    engines: list[tuple[Any, Any, Any]], run_program: Run, sandbox: Path, tmp_path: Path, name: str
) -> None:
    outcomes = []
    for api, module, engine in engines:
        copy = tmp_path / api.__name__
        copy.mkdir()
        for part in ("root", "outside", "secret"):
            source = tmp_path / part
            if source.is_dir():
                shutil.copytree(source, copy / part, symlinks=True)
            else:
                shutil.copy2(source, copy / part)
        directories = ((str(copy / "root"), "/", True), (str(copy / "root"), "/ro", False))[: 1 + (name == "read only")]
        outcome = run_program(
            api, module, engine, ["probe", *SEQUENCES[name].split()], stdin=b"standard input", directories=directories
        )
        outcomes.append((outcome, tree(copy)))
    (ours, our_tree), (theirs, their_tree) = outcomes
    assert ours[1].decode().splitlines() == theirs[1].decode().splitlines()
    assert ours == theirs and our_tree == their_tree
    assert ours[0] == 0 and ours[1].count(b"->") > 10
