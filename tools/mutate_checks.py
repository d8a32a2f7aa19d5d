"""Takes each check between a number of wasm's and an address of the host's away, and wants a test to fail.

    python tools/mutate_checks.py [ID ...] [--jobs N] [--list]
    python tools/mutate_checks.py --docs [--check]

The checks are the rows of check_mutations.toml beside this file: `search` is text that occurs once in `file`,
`replace` what it becomes without the check, `tests` those of which at least one must fail then, or crash. Each is
applied to a copy of the tree, with the C runtime built anew where it is concerned. What then cannot even run a small
program in every tier proves nothing, and counts as an error of the row. The tests have to pass on the tree as it is,
first.

``--docs`` writes the table of docs/address-checks.md from the same rows, or with ``--check`` compares.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import os
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

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tools" / "check_mutations.toml"
PAGE = ROOT / "docs" / "address-checks.md"
OBJECTS = ROOT / "build" / "mutate"
COPIED = ("wasmjit", "runtime_c", "tests", "tools", "examples", "docs", "pyproject.toml", "README.md")
EXTENSION = Path("wasmjit") / "runtime" / ("_native" + sysconfig.get_config_var("EXT_SUFFIX"))
TEST_SECONDS, ALL_TESTS_SECONDS = 120, 1800
_BEGIN, _END = "<!-- rows: tools/mutate_checks.py --docs -->", "<!-- end -->"
# What must still work: else the row breaks everything, and any test fails.
SMOKE = """
from wasmjit import *
for tier in ("auto", "baseline", "optimized"):
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


class Tree:
    """A copy of the repository in which one row at a time is applied."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.o")
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
        spec = importlib.util.spec_from_file_location("runtime_c_build", sources / "build.py")
        assert spec is not None and spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        generated = self.directory / "_native.c"
        with contextlib.redirect_stdout(io.StringIO()):
            script.make_ffibuilder(str(sources), []).emit_c_code(str(generated))
        include = sysconfig.get_path("include")
        flags = [*script.FLAGS, "-w", "-fPIC", f"-I{sources}", f"-I{include}"]
        headers = b"".join((sources / name).read_bytes() for name in sorted(script.HEADERS))
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
        subprocess.run([compiler, "-shared", *objects, "-lpthread", "-lm", "-o", str(target)], check=True)

    def run(self, arguments: list[str], seconds: int = TEST_SECONDS) -> subprocess.CompletedProcess[str]:
        """Python in the copy. A crash or a hang ends with it."""
        environment = {**os.environ, "PYTHONPATH": str(self.directory), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["XDG_CACHE_HOME"] = str(self.directory / "cache")
        command = ["timeout", "--kill-after=5", str(seconds), sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, errors="replace", check=False
        )

    def run_tests(self, tests: list[str], seconds: int = TEST_SECONDS) -> subprocess.CompletedProcess[str]:
        """pytest, up to the first failure."""
        return self.run(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests], seconds)

    def try_row(self, row: Row) -> str:
        """Applies a row, and takes it back: "fails" (as it has to), "survives", or what is wrong with it."""
        path = self.directory / row.file
        text = path.read_text()
        if text.count(row.search) != 1:
            return f"error: the text occurs {text.count(row.search)} times"
        path.write_text(text.replace(row.search, row.replace))
        is_native = row.file.startswith("runtime_c/")
        try:
            if is_native:
                self.build()
            smoke = self.run(["-c", SMOKE])
            if smoke.returncode != 0:
                return f"error: nothing runs any more: {smoke.stderr[-300:]}"
            for test in row.tests:
                done = self.run_tests([test])
                if done.returncode in (2, 4, 5):
                    return f"error: pytest: {done.stdout[-300:]}"
                if done.returncode != 0:
                    return "fails"
            return "survives"
        except subprocess.CalledProcessError:
            return "error: does not compile"
        finally:
            path.write_text(text)
            if is_native:
                self.build()


# ---- the command line ----


def mutate(rows: list[Row], jobs: int) -> int:
    """Tries the rows; prints what became of each. 0 if all tests fail that have to."""
    with tempfile.TemporaryDirectory(prefix="wasmjit-mutate-") as directory:
        trees: Queue[Tree] = Queue()
        for number in range(jobs):
            trees.put(Tree(Path(directory) / str(number)))
        tree = trees.get()
        done = tree.run_tests(sorted({test for row in rows for test in row.tests}), ALL_TESTS_SECONDS)
        trees.put(tree)
        if done.returncode != 0:
            print(done.stdout[-3000:], done.stderr[-3000:], "the tests have to pass on the tree as it is", sep="\n")
            return 1

        def work(row: Row) -> str:
            tree = trees.get()
            try:
                return tree.try_row(row)
            finally:
                trees.put(tree)

        failed = 0
        with ThreadPoolExecutor(jobs) as pool:
            for row, outcome in zip(rows, pool.map(work, rows), strict=True):
                print(f"{row.id}: {outcome}", flush=True)
                failed += outcome != "fails"
    print(f"{len(rows) - failed} of {len(rows)} checks are held by a test")
    return min(failed, 1)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="these rows only; a prefix stands for all that begin so")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the rows")
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
    chosen = [row for row in rows if not options.ids or row.id.startswith(tuple(options.ids))]
    if not chosen:
        parser.error("no row begins so")
    if options.list:
        print("\n".join(textwrap.shorten(f"{row.id}: {row.check}", 150) for row in chosen))
        return 0
    return mutate(chosen, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
