"""``wasmjit explore``: a page that shows a module's functions as wasm text, LLVM IR and assembly, side by side."""

from __future__ import annotations

import html
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import Engine, FunctionTier, WasmError, inspection
from .build import COMPILE_ROWS, write_output
from .explore_page import PAGE
from .objdump import find_function
from .options import (
    binary_of,
    compile_module,
    config_from,
    is_precompiled,
    keep_cache_small,
    read_file,
)
from .rows import Row
from .settings_file import use_config_file

ROWS = (
    Row("-o", "--output", kind=str, metavar="OUTFILE", help="default: FILE with .explore.html for its ending, here"),
    Row(
        "-f",
        "--function",
        kind=str,
        metavar="FUNCTION",
        repeated=True,
        help="only this one, by name or index; may be given again",
    ),
    Row("--generated-ir", help="show the IR before LLVM's passes, not after them"),
    *(row for row in COMPILE_ROWS if row.name != "output"),
)


def command(name: str) -> Any:
    """The click command."""
    from . import click_commands

    return click_commands.make(
        name,
        explore,
        ROWS,
        "Writes an HTML page that shows each function as wasm text, LLVM IR and assembly. Pointing at a line marks what"
        " belongs to it in the other columns: by wasm offset, which instructions carry as debug locations.\n\n"
        "FILE is a module: binary or text. The page needs nothing but a browser.",
        arguments=[click_commands.file_argument()],
    )


def explore(arguments: SimpleNamespace) -> int:
    """Writes the page."""
    use_config_file(arguments)
    contents = read_file(arguments.file)
    if is_precompiled(contents):
        raise WasmError(f"{arguments.file} is precompiled: wasm and IR are not kept in it")
    config = config_from(arguments)
    for name in ("target", "cpu"):
        if getattr(arguments, name) is not None:
            setattr(config, name, getattr(arguments, name))
    wasm = binary_of(arguments.file, contents)
    module = compile_module(Engine(config), arguments.file, wasm)
    artifact = bytes(module.serialize())
    keep_cache_small(arguments, config)
    places = inspection.functions(artifact)
    wanted = [find_function(places, word, arguments.file).index for word in arguments.function] or None
    form = "ir" if arguments.generated_ir else "optimised"
    views = inspection.side_by_side(wasm, artifact, config, wanted, form)
    title = f"{Path(arguments.file).name} for {inspection.compile_target(config).triple}"
    write_output(arguments, ".explore.html", page(title, views, module.tier_report()).encode())
    return 0


def page(title: str, views: list[inspection.FunctionViews], report: list[FunctionTier]) -> str:
    """The page, which refers to nothing outside of itself."""
    tiers = {function.index: function for function in report}
    functions = [
        {
            "index": view.place.index,
            "name": view.place.name,
            "tier": tiers[view.place.index].tier,
            "milliseconds": round(1000 * (tiers[view.place.index].compile_seconds or 0), 1),
            "size": view.place.code_size,
            **{
                column: [[line.text, line.offset or 0, int(line.exact)] for line in getattr(view, column)]
                for column in ("wasm", "ir", "assembly")
            },
        }
        for view in views
    ]
    # In a script element everything is text but its end.
    data = json.dumps(functions, separators=(",", ":")).replace("<", "\\u003c")
    return PAGE.replace("@TITLE@", html.escape(title)).replace("@DATA@", data)
