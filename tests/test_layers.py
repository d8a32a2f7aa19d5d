"""The tree keeps the shape that docs and README say it has: who imports whom, and what lives where."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rows import for_each

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wasmjit"

# Each part of the package, and the parts it may import. A part is a top-level file or folder of the package;
# "public" is `wasmjit/__init__.py`. A part may always import itself.
LEAVES = {"errors", "version", "records", "thresholds", "stopwatch", "weak_values"}
WASM = LEAVES | {"config", "wasm"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "processes": {"errors", "weak_values"},
    "reading": {"errors"},
    "records": set(),
    "stopwatch": set(),
    "thresholds": set(),
    "weak_values": set(),
    "config": {"errors", "reading", "records"},
    "abi": {"errors", "records", "wasm", "config"},
    "target": {"errors", "records"},
    "elf": {"errors", "records"},
    "dwarf": {"errors", "elf"},
    "link": {"errors", "records", "elf", "dwarf"},
    "metadata": {"errors", "records", "wasm"},
    "wasm": {"errors", "config", "records", "weak_values"},
    "compile": WASM | {"abi", "target", "processes"},
    "stencils": WASM | {"abi", "elf", "compile"},
    "artifact": WASM | {"abi", "target", "elf", "dwarf", "link", "metadata"},
    "profiling": WASM | {"elf", "target"},
    "cache": {"errors", "version", "target", "artifact"},
    "inspection": WASM | {"artifact", "compile", "target"},
    "driver": WASM | {"abi", "target", "link", "artifact", "cache", "compile", "processes"},
    "tiers": WASM | {"abi", "artifact", "cache", "compile", "driver", "processes"},
    "runtime": WASM | {"abi", "target", "elf", "artifact", "profiling", "processes", "reading", "driver", "tiers"},
    "wasi": {"errors", "config", "runtime", "wasm"},
    "component": WASM | {"runtime"},
    "public": WASM | {"runtime", "wasi", "component"},
    "cli": {"public", "errors", "inspection", "cache", "reading", "stopwatch"},
    "__main__": {"cli"},
}
# Files that may be longer, each for a reason.
LONG_FILES: dict[str, int] = {}
# Libraries that only these files may import.
LIBRARY_HOMES = {
    "llvmlite": {
        "compile/llvm.py",
        "runtime/code.py",
        "stencils/cut.py",
        "stencils/routines.py",
        "stencils/sources.py",
    },
    "_native": {"runtime/native.py"},
    "cffi": set(),
    # Starts must not wait for these.
    "click": {"cli/commands.py", "cli/click_commands.py", "cli/cache.py", "cli/completion.py", "cli/objdump.py"},
    "rich": {"cli/console.py"},
}


# Imports by string that a part may have beyond those above, and why.
BY_NAME = {
    ("runtime/linker.py", "wasi"): "Linker.define_wasi is a method of the wasmtime package: WASI is looked up then"
}
# Circles among the files of one folder, each broken by leaving out one import: why that one is there.
CIRCLES = {
    ("runtime/store.py", "runtime/caller.py"): "types only: wherever a Store is taken, a Caller is",
    ("runtime/values.py", "runtime/func.py"): "types only: a Val may hold a Func, and calls take Vals",
}
MOST_FUNCTION_LINES = 80


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The part a file of the package belongs to."""
    relative = path.relative_to(PACKAGE)
    name = relative.parts[0]
    return name if len(relative.parts) > 1 else "public" if name == "__init__.py" else name.removesuffix(".py")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@functools.cache
def modules_imported(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple(_modules_imported(path))


def _modules_imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything a file imports, also inside functions; not for type checkers only."""
    package = ["wasmjit", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            for argument in node.args[:1]:
                for name in _names_of(argument, ".".join(package), path):
                    yield node.lineno, name


def _names_of(argument: ast.expr, package: str, path: Path) -> list[str]:
    """What ``import_module(argument)`` may import: of a name that is made up, anything that a string of the file is."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    text = ast.unparse(argument)
    if "__package__" not in text:
        return []
    strings = [node.value for node in ast.walk(parsed(path)) if isinstance(node, ast.Constant)]
    return sorted({f"{package}.{value}" for value in strings if isinstance(value, str) and value.isidentifier()})


def part_imported(name: str) -> str | None:
    """The part that a dotted name lies in, None outside the package."""
    words = name.split(".")
    if words[0] != "wasmjit":
        return None
    if len(words) > 1 and ((PACKAGE / words[1]).is_dir() or (PACKAGE / f"{words[1]}.py").is_file()):
        return words[1]
    return "public"


@for_each(python_files(), lambda path: path.relative_to(PACKAGE))
def test_imports_follow_the_layers(path: Path) -> None:
    part = part_of(path)
    assert part in ALLOWED, f"say in ALLOWED what {part} may import, and in docs/rationale.md why it exists"
    wrong = [
        f"{path}:{line}: {part} may not import {other} ({name})"
        for line, name in modules_imported(path)
        if (other := part_imported(name)) is not None
        and other != part
        and other not in ALLOWED[part]
        and (str(path.relative_to(PACKAGE)), other) not in BY_NAME
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", LIBRARY_HOMES)
def test_libraries_have_one_home(library: str) -> None:
    homes = {
        str(path.relative_to(PACKAGE))
        for path in python_files()
        for _, name in modules_imported(path)
        if library in name.split(".")
    }
    assert homes <= LIBRARY_HOMES[library]


def test_the_layers_have_no_cycle() -> None:
    done: set[str] = set()
    while remaining := set(ALLOWED) - done:
        free = {part for part in remaining if ALLOWED[part] & set(ALLOWED) <= done | {part}}
        assert free, f"cycle among {sorted(remaining)}"
        done |= free


def file_imported(name: str) -> str | None:
    """The file of the package that a dotted name lies in."""
    words = name.split(".")[1:]
    for count in (len(words), len(words) - 1):
        path = PACKAGE.joinpath(*words[:count]).with_suffix(".py") if count > 0 else None
        if path is not None and path.is_file():
            return str(path.relative_to(PACKAGE))
    return None


FOLDERS = sorted({path.parent.name for path in python_files()} - {PACKAGE.name})


def _imports_inside(folder: str) -> dict[str, set[str]]:
    """Of each file of a folder, those of the same folder that it imports: anywhere, for type checkers too."""
    files = [path for path in python_files() if path.parent.name == folder and path.name != "__init__.py"]
    names = {str(path.relative_to(PACKAGE)) for path in files}
    return {
        (own := str(path.relative_to(PACKAGE))): {
            other
            for _, name in modules_imported(path)
            if name.startswith("wasmjit.") and (other := file_imported(name)) in names and other != own
        }
        for path in files
    }


def _circle(imports: dict[str, set[str]]) -> set[str]:
    """Files that import each other, and what only they import; empty if there is no circle."""
    remaining = dict(imports)
    while free := [name for name, others in remaining.items() if not others & set(remaining)]:
        for name in free:
            del remaining[name]
    return set(remaining)


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_of_a_folder_have_no_circle(folder: str) -> None:
    """Who wants to know what a file does looks at those that it imports, and these do not lead back to it."""
    imports = _imports_inside(folder)
    for (one, other), reason in CIRCLES.items():
        if one.startswith(f"{folder}/"):
            assert other in imports[one] and reason, f"{one} does not import {other} any more: take it out of CIRCLES"
            imports[one].discard(other)
    assert not _circle(imports)


def test_few_circles_have_a_reason() -> None:
    assert len(CIRCLES) <= 2


def test_circles_and_imports_by_string_are_seen() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}
    commands = {name for _, name in modules_imported(PACKAGE / "cli" / "commands.py")}
    assert {"wasmjit.cli.run", "wasmjit.cli.objdump"} <= commands
    assert "wasmjit.wasi.definitions" in {name for _, name in modules_imported(PACKAGE / "runtime" / "linker.py")}


@for_each(python_files(), lambda path: path.relative_to(PACKAGE))
def test_functions_fit_a_screen(path: Path) -> None:
    too_long = [
        f"{path}:{node.lineno}: {node.name} has {length} lines"
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_FUNCTION_LINES
    ]
    assert not too_long, "\n".join(too_long)


_FOLDERS = "cli|compile|driver|runtime|tiers|wasi|wasm"
_POINTER = re.compile(rf"(?<![\w/])(?:wasmjit/)?((?:{_FOLDERS})/\w+\.py)|\b(runtime_c/\w+\.[ch])\b")


def test_pointers_lead_to_files() -> None:
    """Comments, docstrings and pages that name a file name one that there is."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    sources = [*python_files(), *(ROOT / "runtime_c").glob("*.[ch]"), *pages]
    stale = [
        f"{path}: {match[0]}"
        for path in sources
        for match in _POINTER.finditer(path.read_text())
        if not (ROOT / "wasmjit" / match[1] if match[1] else ROOT / match[2]).is_file()
    ]
    assert not stale, "\n".join(stale)


def stage_table() -> list[list[str]]:
    """The rows of README's stage table, as cells."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"\| *\d+ *\|", line)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_readme_names_files_that_exist() -> None:
    table = stage_table()
    assert len(table) >= 9, "README has lost its stage table"
    homes = [(row[1], home) for row in table for home in re.findall(r"`([^`]+)`", row[2])]
    assert len({stage for stage, _ in homes}) == len(table), "a stage has no home"
    missing = [f"{stage}: {home}" for stage, home in homes if not (ROOT / home).exists()]
    assert not missing, f"README's stage table is out of date: {missing}"


def test_readme_names_every_part_of_the_package() -> None:
    """A new file or folder beside the stages is mentioned where newcomers look first."""
    text = (ROOT / "README.md").read_text()
    parts = {part_of(path) for path in python_files()} - {"public", "__main__"}
    assert not {part for part in parts if not re.search(rf"\b{part}\b", text)}


@for_each(python_files(), lambda path: path.relative_to(PACKAGE))
def test_files_stay_readable(path: Path) -> None:
    """A file becomes a folder past about 800 lines."""
    limit = LONG_FILES.get(str(path.relative_to(PACKAGE)), 900)
    assert len(path.read_text().splitlines()) <= limit
