"""``wasmjit explore``: a page that shows a module's functions as wasm text, LLVM IR and assembly, side by side."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import Engine, FunctionTier, WasmError, inspection, stopwatch
from . import timing
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
    Row("--timing", kind=str, metavar="FILE", help="draw what `wasmjit run --timing-file FILE` wrote of this module"),
    Row("--generated-ir", help="show the IR before LLVM's passes, not after them"),
    *(row for row in COMPILE_ROWS if row.name != "output"),
)


_MOST_BARS = 40


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
    run = None if arguments.timing is None else timing.read(arguments.timing, wasm)
    with stopwatch.listen() as watch:
        module = compile_module(Engine(config), arguments.file, wasm)
    artifact = module._artifact.to_bytes()
    keep_cache_small(arguments, config)
    places = inspection.functions(artifact)
    wanted = [find_function(places, word, arguments.file).index for word in arguments.function] or None
    form = "ir" if arguments.generated_ir else "optimised"
    views = inspection.side_by_side(wasm, artifact, config, wanted, form)
    title = f"{Path(arguments.file).name} for {inspection.compile_target(config).triple}"
    title = "; ".join([title, *inspection.shared_memories(artifact)])
    made = page(title, views, module.tier_report(), watch.seconds, run)
    write_output(arguments, ".explore.html", made.encode())
    return 0


def page(
    title: str,
    views: list[inspection.FunctionViews],
    report: list[FunctionTier],
    seconds: Mapping[str, float],
    run: Mapping[str, Any] | None = None,
) -> str:
    """The page, which refers to nothing outside of itself. `seconds` are the phases of compiling, `run` is what a run
    wrote (`timing.RunTiming.result`)."""
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
    charts = [
        {"title": "compiling all of it", "seconds": dict(seconds), "functions": _bars(map(timing.as_row, report))}
    ]
    if run is not None:
        charts.insert(
            0,
            {
                "title": f"a run in tier {run['tier']}",
                "seconds": run["seconds"],
                "functions": _bars(run["functions"]),
            },
        )
    parts = {"@TITLE@": html.escape(title), "@DATA@": _script_text(functions), "@CHARTS@": _script_text(charts)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], PAGE)


def _bars(functions: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The functions that are drawn: those that were used most, and those that took most to make."""
    known = list(functions)
    most_used = sorted(known, key=lambda function: function["calls"] or 0, reverse=True)[:_MOST_BARS]
    dearest = sorted(known, key=lambda function: function["compile_seconds"] or 0.0, reverse=True)[:_MOST_BARS]
    wanted = {function["index"] for function in most_used if function["calls"]}
    wanted |= {function["index"] for function in dearest if function["compile_seconds"]}
    return [function for function in known if function["index"] in wanted]


def _script_text(data: Any) -> str:
    """JSON for a script element, where everything is text but its end."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
