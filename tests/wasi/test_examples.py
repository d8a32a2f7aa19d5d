"""The example programs behave as under the wasmtime package: output, errors, exit code and files, byte for byte."""

from __future__ import annotations

import functools
import hashlib
import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasmjit

Run = Callable[..., tuple[int, bytes, bytes]]
Both = Callable[..., tuple[int, bytes, bytes]]
PROGRAMS = ("sha256", "json_pretty", "mandelbrot", "textsearch", "wordfreq")
LARGE = PROGRAMS[-2:]
BINARY = bytes(range(256)) * 40
# LLVM takes 4 s and 18 s to optimise the large ones.
LEVELS = pytest.mark.parametrize("level", ["none", pytest.param("speed", marks=pytest.mark.slow)])


class Programs:
    """Compiled examples under both engines, made on first use."""

    def __init__(self, examples: Path) -> None:
        self._examples = examples
        self._wasmtime = wasmtime.Engine()
        self._engines = {level: wasmjit.Engine(wasmjit.Config(opt_level=level)) for level in ("speed", "none")}
        self._modules: dict[tuple[str, str], list[tuple[Any, Any, Any]]] = {}

    def get(self, name: str, level: str = "speed") -> list[tuple[Any, Any, Any]]:
        """(API, module, engine) of each; `level`: of optimisation by wasmjit."""
        if (name, level) not in self._modules:
            path = str(self._examples / f"{name}.wasm")
            engines: list[tuple[Any, Any]] = [(wasmjit, self._engines[level]), (wasmtime, self._wasmtime)]
            self._modules[name, level] = [(api, api.Module.from_file(engine, path), engine) for api, engine in engines]
        return self._modules[name, level]


@pytest.fixture(scope="module")
def programs(examples: Path) -> Programs:
    return Programs(examples)


@pytest.fixture
def both(programs: Programs, run_program: Run, examples: Path, tmp_path: Path) -> Both:
    """Runs a program under both engines on copies of examples/data (as ``/data``) and returns what both gave."""

    def run(
        name: str,
        *arguments: str,
        stdin: bytes = b"",
        files: dict[str, bytes] | None = None,
        level: str = "speed",
    ) -> tuple[int, bytes, bytes]:
        outcomes, trees = [], []
        for api, module, engine in programs.get(name, level):
            root = tmp_path / f"{api.__name__}-root"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(examples / "data", root / "data")
            for path, contents in (files or {}).items():
                (root / path).write_bytes(contents)
            outcomes.append(
                run_program(api, module, engine, [name, *arguments], stdin=stdin, directories=((str(root), "/", True),))
            )
            trees.append({p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()})
        assert outcomes[0] == outcomes[1]
        assert trees[0] == trees[1]
        code, output, errors = outcomes[0]
        return code, output, errors

    return run


@pytest.mark.part(3)
@pytest.mark.parametrize("size", [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 10_000, 65_536, 200_001])
def test_sha256_of_standard_input(both: Both, size: int) -> None:
    data = (BINARY * (size // len(BINARY) + 1))[:size]
    assert both("sha256", stdin=data) == (0, f"{hashlib.sha256(data).hexdigest()}  -\n".encode(), b"")


def test_sha256_of_files(both: Both, examples: Path) -> None:
    names = ["data/article.txt", "data/library.json", "data/tree/src/add.wat"]
    lines = [f"{hashlib.sha256((examples / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    assert both("sha256", *names) == (0, "".join(lines).encode(), b"")
    code, output, errors = both("sha256", names[0], "nope", "data/tree", names[1])
    assert code == 1 and output == (lines[0] + lines[1]).encode()
    assert errors.startswith(b"sha256: nope: No such file") and errors.count(b"\n") == 2


DOCUMENTS = [
    b"{}", b"[]", b" [ ] \r\n\t", b"0", b"-0", b"-1.50e+007", b"1E5", b'""', b'"\\u0041\\n\\/\\\\\\""', b"true",
    b"[null,false]",
    b'{"a":{"b":[1,[2,[3,{"c":[]}]]]},"a":1}', '"\\ud83d\\ude00 ž 世界 😀"'.encode(), b'"\\u0000\\u001f\x7f"',
    b'"\\udc00\\ud800x\\ud800\\u0041"', b"\xef\xbb\xbf[1]", b"[" * 512 + b"]" * 512,
    b'[1.0, 1.00, 1e0, 123456789012345678901234567890]',
]  # fmt: skip


@pytest.mark.part(4)
@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
@pytest.mark.parametrize("options", [[], ["-c"], ["-i", "0"]], ids=["pretty", "compact", "zero"])
def test_json(both: Both, document: bytes, options: list[str]) -> None:
    code, output, errors = both("json_pretty", *options, stdin=document)
    assert (code, errors) == (0, b"")
    assert json.loads(output) == json.loads(document.decode("utf-8-sig"))
    if options == ["-c"]:
        assert b" " not in output.replace(b" \xf0", b"").replace(b" \xc5", b"").replace(b" \xe4", b"").replace(
            b" \xf0", b""
        )
    again = both("json_pretty", *options, stdin=output)
    assert again == (0, output, b"")


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (b"", "1:1"), (b"[1,]", "1:4"), (b'{"a":1,}', "1:8"), (b"[1 2]", "1:4"), (b"{1:2}", "1:2"), (b'{"a" 1}', "1:6"),
        (b"01", "1:2"), (b"-", "1:2"), (b"1.", "1:3"), (b"1e", "1:3"), (b".5", "1:1"), (b"+1", "1:1"), (b"nul", "1:1"),
        (b'"abc', "1:1"), (b'"a\nb"', "1:3"), (b'"\\x"', "1:2"), (b'"\\u12g4"', "1:6"), (b'["\xff"]', "1:3"),
        (b'"\xc0\x80"', "1:2"), (b'"\xed\xa0\x80"', "1:2"), (b"[\n  1,\n  x]", "3:3"), ("[\"žž\" x]".encode(), "1:7"),
        (b"[1]]", "1:4"), (b"[1", "1:3"), (b"[" * 513, "1:513"), (b"'a'", "1:1"), (b"[1,\x00]", "1:4"), (b"NaN", "1:1"),
    ],
)  # fmt: skip
def test_json_errors(both: Both, document: bytes, place: str) -> None:
    code, output, errors = both("json_pretty", stdin=document)
    assert code == 1 and output == b""
    assert errors.decode("utf-8", "replace").startswith(f"-:{place}: ")
    with pytest.raises(ValueError):
        json.loads(document.decode(), parse_constant=int)  # Python takes NaN; int("NaN") does not


def test_json_files(both: Both, examples: Path) -> None:
    code, output, errors = both("json_pretty", "data/library.json")
    assert (code, errors) == (0, b"")
    assert json.loads(output) == json.loads((examples / "data" / "library.json").read_bytes())
    assert both("json_pretty", "data/broken.json") == (1, b"", b"data/broken.json:3:20: expected a value, found ']'\n")
    assert both("json_pretty", "data")[0] == 2
    assert both("json_pretty", "nope")[0] == 2 and both("json_pretty", "-x")[0] == 2


def test_mandelbrot(both: Both) -> None:
    code, output, errors = both("mandelbrot", "120", "80", "100")
    assert (code, errors) == (0, b"") and output.startswith(b"P6\n120 80\n255\n")
    pixels = output[14:]
    assert len(pixels) == 120 * 80 * 3 and len(set(pixels)) > 50
    assert pixels[3 * (40 * 120 + 80) :][:3] == b"\0\0\0"  # the middle lies in the set
    assert both("mandelbrot", "120", "80", "100", "data/out.ppm") == (0, b"", b"")
    assert both("mandelbrot", "1", "1", "1")[0] == 0
    for arguments in (["0"], ["x"], ["10", "-5"], ["10", "10", "0"], ["99999"]):
        assert both("mandelbrot", *arguments)[0] == 2
    assert both("mandelbrot", "9", "9", "9", "nodir/out.ppm")[0] == 1
    assert both("mandelbrot", "9", "9", "9", "../out.ppm")[0] == 1


LINES = b"abc\nABC\n\na.c\naac\nabbbc\nac\n[x]\nend$\n^start\ntail"


@pytest.mark.parametrize(
    ("arguments", "matches"),
    [
        (["abc"], b"abc\n"),
        (["-i", "abc"], b"abc\nABC\n"),
        (["a.c"], b"abc\na.c\naac\n"),
        (["a\\.c"], b"a.c\n"),
        (["ab*c"], b"abc\naac\nabbbc\nac\n"),
        (["ab+c"], b"abc\nabbbc\n"),
        (["^ab?c"], b"abc\nac\n"),
        (["^a.*c$"], b"abc\na.c\naac\nabbbc\nac\n"),
        (["^$"], b"\n"),
        (["-n", "^[^a]"], b"2:ABC\n8:[x]\n9:end$\n10:^start\n11:tail\n"),
        (["[]x[]*$"], b"abc\nABC\n\na.c\naac\nabbbc\nac\n[x]\nend$\n^start\ntail\n"),
        (["[[]x[]]"], b"[x]\n"),
        (["\\$$"], b"end$\n"),
        (["\\^"], b"^start\n"),
        (["[A-C][A-C]"], b"ABC\n"),
        (["-v", "a"], b"ABC\n\n[x]\nend$\n"),
        (["-c", ""], b"11\n"),
        (["-l", "tail$"], b"-\n"),
        (["-cv", "."], b"1\n"),
        (["--", "-"], b""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@LEVELS
def test_textsearch_patterns(both: Both, arguments: list[str], matches: bytes, level: str) -> None:
    assert both("textsearch", *arguments, stdin=LINES, level=level) == (0 if matches else 1, matches, b"")


@LEVELS
def test_textsearch_directories(both: Both, level: str) -> None:
    both = functools.partial(both, level=level)
    code, output, errors = both("textsearch", "-rn", "[Ww]asm", "data/tree")
    assert (code, errors) == (0, b"")
    assert [line.split(b":")[:2] for line in output.splitlines()] == [
        [b"data/tree/README", b"2"],
        [b"data/tree/notes/ideas.md", b"2"],
        [b"data/tree/notes/old/forgotten.txt", b"2"],
    ]
    assert both("textsearch", "-rc", "trap", "data/tree/")[0] == 0
    assert both("textsearch", "-ril", "WASM", "data", "/data/tree/README")[0] == 0
    assert both("textsearch", "trap", "data/tree") == (2, b"", b"textsearch: data/tree: Is a directory\n")
    assert both("textsearch", "-r", "x", "../")[0] == 2
    assert both("textsearch", "zzz", "data/article.txt") == (1, b"", b"")
    code, output, errors = both("textsearch", "a", "nope", "data/tree/README")
    assert code == 2 and output.startswith(b"data/tree/README:") and b"nope" in errors
    for pattern in ("[a", "[z-a]", "x\\"):
        assert both("textsearch", pattern)[0] == 2
    assert both("textsearch")[0] == 2 and both("textsearch", "-q", "x")[0] == 2


@LEVELS
def test_textsearch_looks_at_every_byte_and_long_lines(both: Both, level: str) -> None:
    both = functools.partial(both, level=level)
    line = b"x" * 100_000
    assert both("textsearch", "^x*y$", stdin=line + b"y\n" + line + b"\n") == (0, line + b"y\n", b"")
    assert both("textsearch", "-c", "\x7f", stdin=BINARY)[0] == 0


@LEVELS
def test_wordfreq(both: Both, examples: Path, level: str) -> None:
    both = functools.partial(both, level=level)
    assert both("wordfreq", stdin=b"b a B c a-b, c!") == (
        0,
        b"      3  b\n      2  a\n      2  c\n7 words, 3 different\n",
        b"",
    )
    assert both("wordfreq", stdin=b"") == (0, b"0 words, 0 different\n", b"")
    code, output, errors = both("wordfreq", "-n", "1000", "data/article.txt")
    assert (code, errors) == (0, b"") and "façade".encode() in output and b"trap" in output
    counts = dict(reversed(line.split()) for line in output.splitlines()[:-1])
    assert sum(map(int, counts.values())) == int(output.splitlines()[-1].split()[0])
    text = (examples / "data" / "article.txt").read_bytes().lower().replace(b"32-bit", b" bit")
    assert int(counts[b"memory"]) == text.count(b"memory")
    assert both("wordfreq", "-m", "9", "-n", "3", "data/article.txt", "data/tree/README")[0] == 0
    code, output, errors = both("wordfreq", "nope", "data/article.txt")
    assert code == 1 and errors == b"wordfreq: cannot read nope\n" and output
    assert both("wordfreq", "-n")[0] == 2 and both("wordfreq", "-n", "x")[0] == 2
    assert (
        both("wordfreq", "-n", "100000", stdin=BINARY * 5 + b" ".join(b"w%d x%d" % (i, i) for i in range(5000)))[0] == 0
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_precompiled_example_behaves_as_the_module(
    programs: Programs, run_program: Run, examples: Path, name: str
) -> None:
    arguments = {
        "sha256": [],
        "json_pretty": ["data/library.json"],
        "mandelbrot": ["30", "20"],
        "textsearch": ["-rn", "a", "."],
    }
    (api, module, engine), _ = programs.get(name, "none" if name in LARGE else "speed")
    loaded = api.Module.deserialize(engine, module.serialize())
    call = [name, *arguments.get(name, ["data/article.txt"])]
    outcomes = [
        run_program(api, m, engine, call, stdin=b"input", directories=((str(examples), "/", False),))
        for m in (module, loaded)
    ]
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == 0 and outcomes[0][1]


def check_demo(root: Path, names: tuple[str, ...], output: str) -> None:
    assert all((f"examples/{name}.wasm" in output) == (name in names) for name in PROGRAMS)
    assert hashlib.sha256((root / "examples" / "data" / "article.txt").read_bytes()).hexdigest() in output


# Compiling takes most of the time: in this process, the functions are compiled (`tests.compiled_once`).
def test_the_demo_runs(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(name for name in PROGRAMS if name not in LARGE)  # those are for the slow form of the next test
    monkeypatch.setattr(sys, "argv", ["demo.py", *names])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "examples" / "demo.py"), run_name="__main__")
    output, errors = capsys.readouterr()
    assert (end.value.code, errors) == (0, "")
    check_demo(root, names, output)


@pytest.mark.parametrize("names", [("sha256",), pytest.param((), marks=pytest.mark.slow)], ids=["one", "all"])
def test_the_demo_runs_as_a_program(root: Path, names: tuple[str, ...]) -> None:
    command = [sys.executable, root / "examples" / "demo.py", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check_demo(root, names or PROGRAMS, done.stdout)


# For programs with the C library zig compiles that first: half a minute in each new environment.
@pytest.mark.parametrize("with_library", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rebuilding_gives_the_same_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_library: bool
) -> None:
    """Also from another directory and without the compiler's cache."""
    pytest.importorskip("ziglang")
    for part in ("examples", "bench/kernels", "tests/wasi", "tests/wasi/programs", "tests/threads"):
        (tmp_path / part).mkdir(parents=True)
        for source in (root / part).iterdir():
            if source.suffix in (".c", ".cpp", ".h") or source.name == "rebuild.py":
                shutil.copy(source, tmp_path / part)
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "cache"))
    cases = sorted(source.stem for source in (root / "tests/wasi/programs").glob("*.c"))
    names = ["programs", *cases] if not with_library else ["fib", "mandelbrot", "sha256", "probe", "programs", *cases]
    for name in names:
        subprocess.run([sys.executable, tmp_path / "examples" / "rebuild.py", name], check=True, capture_output=True)
    built = list(tmp_path.rglob("*.wasm"))
    assert sorted(path.stem for path in built) == sorted(names)
    for path in built:
        assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes(), path.name
