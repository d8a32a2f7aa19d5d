"""Takes each check between a number of wasm's and an address of the host's away, and wants a test to fail.

    python tools/mutate_checks.py [ID ...] [--jobs N] [--anew] [--list] [--aarch64]
    python tools/mutate_checks.py --docs [--check]

The checks are the rows of check_mutations.toml beside this file: `search` is text that occurs once in `file`,
`replace` what it becomes without the check, `tests` those of which at least one must fail then, or crash. Each is
applied to a copy of the tree, with the C runtime built anew where it is concerned. What then cannot even run a small
program in every tier proves nothing, and counts as an error of the row. The tests have to pass on the tree as it is,
first.

Rows with `machine = "aarch64"` are checks that no other machine runs. Elsewhere they are tried under emulation
(``--aarch64``, tools/aarch64.py), as are then those rows named by IDs that have no machine.

What was found is kept in build/mutate/outcomes.jsonl: begun again over the same tree, only the rows are tried that no
test failed for yet. The last line says how many are held.

``--docs`` writes the table of docs/address-checks.md from the same rows, or with ``--check`` compares.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from types import ModuleType

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tools" / "check_mutations.toml"
PAGE = ROOT / "docs" / "address-checks.md"
OBJECTS = ROOT / "build" / "mutate"
OUTCOMES = OBJECTS / "outcomes.jsonl"
COPIED = ("wasmjit", "runtime_c", "tests", "tools", "examples", "docs", "pyproject.toml", "README.md")
EXTENSION = Path("wasmjit") / "runtime" / ("_native" + sysconfig.get_config_var("EXT_SUFFIX"))
TEST_SECONDS, ALL_TESTS_SECONDS = 120, 1800
EMULATED = "aarch64"
EMULATED_IS_SLOWER = 8  # times
HELD = "held (a test fails without it)"  # the outcome that a row has to have
NOT_HELD = "NOT held (its tests pass without it)"
_BEGIN, _END = "<!-- rows: tools/mutate_checks.py --docs -->", "<!-- end -->"
# What must still work: else the row breaks everything, and any test fails.
SMOKE = """
from wasmjit import *
for tier in {tiers}:
    store = Store(Engine(Config(tier=tier, parallel_compilation=False)))
    module = Module(store.engine, '''(module (memory (export "m") 1) (table 2 funcref) (elem (i32.const 0) $f)
        (func $f (param i32) (result i32) (i32.load offset=4 (local.get 0))) (data (i32.const 4) "*")
        (func (export "f") (param i32) (result i32)
          (call_indirect (param i32) (result i32) (local.get 0) (i32.const 0))))''')
    assert Instance(store, module, []).exports(store)["f"](store, 0) == 42
"""


@dataclass(frozen=True)
class Row:
    """A check: what it holds, where it stands, and how to take it away."""

    id: str
    way: str
    where: str
    check: str
    file: str
    search: str
    replace: str
    tests: tuple[str, ...]
    machine: str = ""  # the only one that runs it


def read_rows(path: Path = ROWS) -> list[Row]:
    """All of them, in order."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    return [Row(**{**row, "tests": tuple(row["tests"])}) for row in table["row"]]


# ---- the page ----


def table_text(rows: list[Row]) -> str:
    """The rows as a table."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [
        "| id | from the number to the address | where | what holds it | what fails without it |",
        "|---" * 5 + "|",
    ]
    for row in rows:
        tests = "<br>".join(f"`{test}`" for test in row.tests)
        lines.append(
            f"| `{row.id}` | {cell(row.way)} | `{row.file}`: `{row.where}` | {cell(row.check)} | {cell(tests)} |"
        )
    return "\n".join(lines)


def page_text(rows: list[Row]) -> str:
    """docs/address-checks.md with its table as it has to be."""
    text = PAGE.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n\n{table_text(rows)}\n\n{_END}{after}"


# ---- a copy of the tree ----

_IGNORED = ("__pycache__", "*.so", "*.o")
# cffi tells what it does on standard output, which is one for all threads: hence a process.
_GENERATE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("runtime_c_build", sys.argv[1] + "/build.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.make_ffibuilder(sys.argv[1], []).emit_c_code(sys.argv[2])
"""


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generate(sources: Path, target: Path) -> None:
    """Writes the C of the extension module. Raises CalledProcessError."""
    command = [sys.executable, "-c", _GENERATE, str(sources), str(target)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def tree_digest(root: Path = ROOT) -> str:
    """Stands for all that is copied."""
    digest = hashlib.sha256()
    for name in COPIED:
        for path in sorted([root / name, *(root / name).rglob("*")]):
            if path.is_file() and not any(part.match(one) for part in (path, *path.parents) for one in _IGNORED):
                digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


class Outcomes:
    """What was found for one tree, in a file to which lines are added."""

    def __init__(self, path: Path, tree: str, anew: bool = False) -> None:
        self._path, self._tree = path, tree
        self.held: set[str] = set()  # ids of rows
        self.passed: set[str] = set()  # tests, on the tree as it is
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() and not anew else ():
            found = json.loads(line)
            if found["tree"] == tree:
                self.passed.update(found.get("passed", ()))
                if found.get("outcome") == HELD:
                    self.held.add(found["row"])

    def note(self, **found: object) -> None:
        """Adds ``passed=tests``, or ``row=id, outcome=text``."""
        with self._path.open("a") as file:
            file.write(json.dumps({"tree": self._tree, **found}) + "\n")


class Tree:
    """A copy of the repository in which one row at a time is applied."""

    tiers: tuple[str, ...] = ("auto", "baseline", "optimized")  # in which the small program runs

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.is_built = True
        ignored = shutil.ignore_patterns(*_IGNORED)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, directory / name)
        self.build()

    def build(self) -> None:
        """The C runtime; objects whose sources were compiled before are taken from there. Raises CalledProcessError."""
        sources = self.directory / "runtime_c"
        script = load(sources / "build.py")
        stencils = self.take_made("wj_stencils.h")
        vectors = script.make_code(script.own_machine())
        generated = self.directory / "_native.c"
        generate(sources, generated)
        include = sysconfig.get_path("include")
        flags = [*script.FLAGS, "-w", "-fPIC", f"-I{sources}", f"-I{script.GENERATED}", f"-I{include}"]
        headers = stencils.read_bytes() if stencils.exists() else b""
        headers += b"".join((sources / name).read_bytes() for name in sorted(script.HEADERS))
        OBJECTS.mkdir(parents=True, exist_ok=True)
        objects = []
        compiler = os.environ.get("CC", "gcc")
        for source in (generated, *(sources / name for name in script.SOURCES)):
            what = "\n".join([compiler, *script.FLAGS, source.name]).encode() + headers + source.read_bytes()
            made = OBJECTS / f"{hashlib.sha256(what).hexdigest()}.o"
            objects.append(str(made))
            if not made.exists():
                partial = made.with_suffix(f".{os.getpid()}.{id(self)}")
                subprocess.run([compiler, *flags, "-c", str(source), "-o", str(partial)], check=True)
                partial.replace(made)
        target = self.directory / EXTENSION
        target.unlink(missing_ok=True)
        subprocess.run([compiler, "-shared", *objects, str(vectors), "-lpthread", "-lm", "-o", str(target)], check=True)

    def take_made(self, name: str) -> Path:
        """Copies what was generated: of the same sources, or it is made again."""
        made = self.directory / "build" / name
        if not made.exists() and (ROOT / "build" / name).exists():
            made.parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / "build" / name, made)
        return made

    def interpreter(self, seconds: int) -> list[str]:
        """Starts Python, for so long at the most."""
        return ["timeout", "--kill-after=5", str(seconds), sys.executable]

    def run(self, arguments: list[str], seconds: int = TEST_SECONDS) -> subprocess.CompletedProcess[str]:
        """Python in the copy. A crash or a hang ends with it."""
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["XDG_CACHE_HOME"] = str(self.directory / "cache")
        command = [*self.interpreter(seconds), *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, errors="replace", check=False
        )

    def run_tests(self, tests: list[str], seconds: int = TEST_SECONDS) -> subprocess.CompletedProcess[str]:
        """pytest, up to the first failure."""
        return self.run(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests], seconds)

    def try_row(self, row: Row) -> str:
        """Applies a row, and takes it back: `HELD`, `NOT_HELD`, or what is wrong with it."""
        path = self.directory / row.file
        text = path.read_text()
        if text.count(row.search) != 1:
            return f"error: the text occurs {text.count(row.search)} times"
        path.write_text(text.replace(row.search, row.replace))
        is_native = row.file.startswith(("runtime_c/", "wasmjit/stencils/"))
        try:
            if is_native or not self.is_built:
                self.is_built = False
                self.build()
                self.is_built = not is_native
            smoke = self.run(["-c", SMOKE.replace("{tiers}", repr(self.tiers))])
            if smoke.returncode != 0:
                return f"error: nothing runs any more: {smoke.stderr[-300:]}"
            for test in row.tests:
                done = self.run_tests([test])
                if done.returncode in (2, 4, 5):
                    return f"error: pytest: {done.stdout[-300:]}"
                if done.returncode != 0:
                    return HELD
            return NOT_HELD
        except subprocess.CalledProcessError:
            return "error: does not compile"
        finally:
            path.write_text(text)


class EmulatedTree(Tree):
    """A copy that runs as AArch64 code. LLVM takes long there."""

    tiers = ("auto",)

    def build(self) -> None:
        self.take_made("wj_stencils_aarch64.h")
        try:
            load(ROOT / "tools" / "aarch64.py").build_extension(self.directory)
        except SystemExit as error:
            raise subprocess.CalledProcessError(1, str(error)) from error

    def interpreter(self, seconds: int) -> list[str]:
        python = ROOT / "build" / "aarch64" / "python" / "bin" / "python"
        return ["timeout", "--kill-after=5", str(EMULATED_IS_SLOWER * seconds), str(python)]


# ---- the command line ----


def choose(rows: list[Row], ids: list[str], emulated: bool) -> list[Row]:
    """Those that were asked for, and that this machine runs, or the emulated one."""
    machine = EMULATED if emulated else platform.machine()
    named = [row for row in rows if not ids or row.id.startswith(tuple(ids))]
    return [row for row in named if row.machine == machine or (not row.machine and (ids or not emulated))]


def mutate(rows: list[Row], jobs: int, outcomes: Outcomes, kind: type[Tree] | None = None) -> int:
    """Tries the rows; prints what became of each, and at the end how many are held. 0 if all are."""
    make_tree = kind or Tree
    left = [row for row in rows if row.id not in outcomes.held]
    if len(left) < len(rows):
        print(f"{len(rows) - len(left)} of {len(rows)} checks were found held by a run before (--anew forgets)")
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="wasmjit-mutate-") as directory:
        trees: Queue[Tree] = Queue()
        for number in range(min(jobs, len(left))):
            trees.put(make_tree(Path(directory) / str(number)))
        tests = sorted({test for row in left for test in row.tests} - outcomes.passed)
        if tests:
            tree = trees.get()
            done = tree.run_tests(tests, ALL_TESTS_SECONDS)
            trees.put(tree)
            if done.returncode != 0:
                print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
                print(f"pytest ended with {done.returncode}: the tests have to pass on the tree as it is")
                return 1
            outcomes.note(passed=tests)

        def work(row: Row) -> str:
            tree = trees.get()
            try:
                return tree.try_row(row)
            except (OSError, subprocess.SubprocessError) as error:
                return f"error: {error}"
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            for number, (row, outcome) in enumerate(zip(left, pool.map(work, left), strict=True), 1):
                print(f"{number}/{len(left)} {row.id}: {outcome}", flush=True)
                outcomes.note(row=row.id, outcome=outcome)
                if outcome != HELD:
                    failed.append(row.id)
    if failed:
        print("not held:", *failed)
    print(f"{len(rows) - len(failed)} of {len(rows)} checks are held by a test")
    return min(len(failed), 1)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="these rows only; a prefix stands for all that begin so")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--anew", action="store_true", help="try rows again that were found held in this very tree")
    parser.add_argument("--list", action="store_true", help="print the rows")
    parser.add_argument("--aarch64", action="store_true", help="under emulation: rows of that machine, and those named")
    parser.add_argument("--docs", action="store_true", help="write the table of the page")
    parser.add_argument("--check", action="store_true", help="with --docs: compare only")
    options = parser.parse_args()
    rows = read_rows()
    if options.docs:
        text = page_text(rows)
        if options.check:
            return int(PAGE.read_text() != text)
        PAGE.write_text(text)
        return 0
    chosen = choose(rows, options.ids, options.aarch64)
    if not chosen:
        parser.error("no row begins so, or none that this machine runs")
    if options.list:
        print("\n".join(textwrap.shorten(f"{row.id}: {row.check}", 150) for row in chosen))
        return 0
    if options.aarch64:
        load(ROOT / "tools" / "aarch64.py").set_up()
        outcomes = Outcomes(OUTCOMES.with_stem("outcomes_aarch64"), tree_digest(), options.anew)
        return mutate(chosen, options.jobs, outcomes, EmulatedTree)
    return mutate(chosen, options.jobs, Outcomes(OUTCOMES, tree_digest(), options.anew))


if __name__ == "__main__":
    sys.exit(main())
