"""What mkdocs does beyond the pages: the API reference from docstrings, and the list of differences.

Every name of `wasmjit.__all__` gets a section: its signature, its docstring, its members. Examples in docstrings are
set as code; pytest runs them.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomllib
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import wasmjit  # noqa: E402
from wasmjit.config import Option  # noqa: E402

# Pages of the reference and what stands on them; names not listed here land on the last one.
PAGES: dict[str, tuple[str, list[str]]] = {
    "engine": ("Engine and Config", ["Config", "Engine"]),
    "store": ("Store", ["Store"]),
    "module": ("Module", ["Module", "FunctionTier", "ModuleExport", "ModuleFunction", "ResourcesRequired", "wat2wasm"]),
    "linker": ("Linker and Instance", ["Linker", "InstancePre", "Instance", "InstanceExports", "ThreadPool"]),
    "func": ("Func and Caller", ["Func", "Caller"]),
    "externs": ("Memory, Table, Global", ["Memory", "SharedMemory", "Table", "Global", "Tag"]),
    "values": (
        "Values and types",
        "Val ValType FuncType GlobalType MemoryType TableType TagType Limits ImportType ExportType"
        " HeapType StructType ArrayType FieldType".split(),
    ),
    "wasi": (
        "WASI",
        "run Result WasiConfig ExitTrap DirPerms FilePerms MemoryFS FsspecFS VirtualClock".split(),
    ),
    "errors": (
        "Errors and traps",
        "WasmError MalformedError ValidationError UnsupportedError LinkError UnknownImportError ClosedError"
        " CompileError ArtifactError Trap TrapCode Frame".split(),
    ),
    "other": ("Everything else", []),
}
NOT_SHOWN = {"__version__"}
# Names that have no docstring of their own.
ALIASES = {
    **{
        name: f"For the annotations of what `Func.wrap` and `Linker.func_wrap` take: the value type {name}."
        for name in ("i32", "i64", "f32", "f64", "externref", "funcref")
    },
    "Storelike": "What functions take as their store, for annotations: a `Store`, or the `Caller` of a host function.",
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of the reference."""
    listed = {name for _, names in PAGES.values() for name in names} | NOT_SHOWN
    for page, (title, names) in PAGES.items():
        shown = [name for name in names if hasattr(wasmjit, name)]
        if page == "other":
            shown = [name for name in wasmjit.__all__ if name not in listed]
        text = "\n".join([f"# {title}\n", *(_section(name) for name in shown)])
        files.append(File.generated(config, f"reference/{page}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the differences where a page asks for them."""
    return re.sub(r"^\{\{ differences (\w+) \}\}$", lambda found: _differences(found[1]), markdown, flags=re.MULTILINE)


def _differences(kind: str) -> str:
    rows = tomllib.loads((ROOT / "docs" / "differences.toml").read_text())[kind]
    return "\n".join(["| | |", "|---|---|", *(f"| `{name}` | {_cell(reason)} |" for name, reason in rows.items())])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _section(name: str) -> str:
    item = getattr(wasmjit, name)
    lines = [f"## {name}\n"]
    if inspect.isclass(item):
        if name != item.__name__:
            return "\n".join([*lines, f"Another name for `{item.__name__}`.\n"])
        bases = [base.__name__ for base in item.__bases__ if base.__name__ in (*wasmjit.__all__, "Exception", "Enum")]
        if bases:
            lines.append(f"Based on {', '.join(f'`{base}`' for base in bases)}.\n")
        lines.append(_text(item.__doc__))
        if "__init__" in vars(item) and item.__init__.__doc__:
            lines += [f"```python\n{name}{_signature(item.__init__)}\n```\n", _text(item.__init__.__doc__)]
        lines += list(_members(item))
    elif name in ALIASES:
        lines.append(f"{ALIASES[name]}\n")
    elif inspect.isfunction(item):
        lines += [f"```python\n{name}{_signature(item)}\n```\n", _text(item.__doc__)]
    else:
        lines.append(f"`{item!r}`\n")
    return "\n".join(lines)


def _members(cls: type) -> Iterator[str]:
    """The members but for those of a base that has a section of its own; the options of a Config as a table."""
    shown = {getattr(wasmjit, name, None) for _, names in PAGES.values() for name in names}
    elsewhere = {inherited for base in cls.__mro__[1:] if base in shown for inherited in base.__mro__}
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("wasmjit") and base not in elsewhere:
            found.update(vars(base))
    options = {name: member for name, member in found.items() if isinstance(member, Option)}
    if options:
        yield "| option | default | |\n|---|---|---|"
        yield "\n".join(
            f"| `{name}` | `{option.default!r}` | {_cell(option.__doc__)} |" for name, option in options.items()
        )
        yield ""
    for name, member in found.items():
        if (name.startswith("_") and name not in ("__call__", "__getitem__")) or name in options:
            continue
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if isinstance(member, property):
            yield f"### {cls.__name__}.{name}\n\n{_text(member.__doc__)}"
        elif inspect.isfunction(function) or _is_described(function):
            title = cls.__name__ if name in ("__call__", "__getitem__") else f"{cls.__name__}.{name}"
            kind = "async " if inspect.iscoroutinefunction(function) else ""
            signature = f"{kind}{cls.__name__.lower() if name == '__call__' else name}{_signature(function)}"
            if name == "__call__":
                title += " (the call)"
            elif name == "__getitem__":
                title += " (indexing)"
                signature = f"{cls.__name__.lower()}[key]"
            yield f"### {title}\n\n```python\n{signature}\n```\n\n{_text(function.__doc__)}"


def _is_described(function: Any) -> bool:
    """Whether it is a method in C that says what its parameters are."""
    return isinstance(function, types.MethodDescriptorType) and function.__text_signature__ is not None


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    text = str(signature.replace(parameters=parameters))
    return text.replace("'", "").removesuffix(" -> None")


def _text(doc: str | None) -> str:
    """A docstring as Markdown: examples become code blocks, ``x`` becomes `x`."""
    lines: list[str] = []
    example = False
    for line in inspect.cleandoc(doc or "").splitlines():
        if line.startswith(">>> ") and not example:
            lines.append("```pycon")
            example = True
        elif not line and example:
            lines.append("```")
            example = False
        lines.append(re.sub(r"\s+# doctest: .*", "", line) if example else line.replace("``", "`"))
    if example:
        lines.append("```")
    return "\n".join(lines) + "\n"
