"""The commands as click sees them: options from rows, help in sections, completion; each command's file when needed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import __version__
from ..errors import printable
from . import COMMANDS, COMPLETE_VARIABLE, EXIT_BROKEN_PIPE, EXIT_ERROR, EXIT_INTERRUPTED, status_of
from .console import report, use_colour
from .rows import HelpWanted, Row

EXIT_USAGE = 2
WIDTH = 100  # of help, on terminals that are as wide
DESCRIPTION = "Runs WebAssembly as native code, compiled through LLVM."
EPILOG = (
    "`wasmjit FILE ...` is short for `wasmjit run FILE ...`. `wasmjit COMMAND --help` lists a command's options."
    " WASMJIT_TRACEBACK=1 shows where an error came from; NO_COLOR=1 turns colours off."
)
# The file of this package that has the command of that name.
_HOMES = {
    "run": "run",
    "compile": "build",
    "validate": "build",
    "settings": "build",
    "objdump": "objdump",
    "explore": "explore",
    "wast": "scripts",
    "cache": "store",
    "bench": "bench",
    "completion": "completion",
}


class _Formatter(click.HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, "usage: " if prefix is None else prefix)


class Context(click.Context):
    """A context whose usage lines begin with a small letter, as they always did."""

    formatter_class = _Formatter


class _Kind(click.ParamType[Any]):
    """A row's kind as click's type of a value."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.name = row.metavar or "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        assert self.row.kind is not None
        try:
            return self.row.kind(value)
        except HelpWanted as wanted:
            click.echo(wanted)
            assert ctx is not None
            ctx.exit()
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        choices = self.row.choices
        if callable(choices):
            return [CompletionItem(word) for word in choices(incomplete)]
        if choices:
            return [CompletionItem(word) for word in choices if word.startswith(incomplete)]
        kind = {"DIR": "dir", "HOST[::GUEST[::ro]]": "dir"}.get(self.name)
        return [CompletionItem(incomplete, type=kind or ("file" if "FILE" in self.name else "plain"))]


class _Option(click.Option):
    section = "Options"


def _click_option(row: Row) -> _Option:
    if row.kind is None:
        option = _Option([row.name, *row.flags], is_flag=True, help=row.help)
    else:
        # Values stay as typed until `convert`, so that a repeated option's default is no value.
        option = _Option(
            [row.name, *row.flags],
            type=_Kind(row),
            metavar=row.metavar,
            multiple=row.repeated,
            help=row.help,
        )
    option.section = row.section
    return option


class Command(click.Command):
    """A command whose function takes one namespace, with an attribute per row and argument."""

    context_class = Context

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)


def make(
    name: str,
    act: Callable[[SimpleNamespace], int],
    rows: Sequence[Row],
    description: str,
    *,
    arguments: Sequence[click.Argument] = (),
    passes_words: bool = False,
    epilog: str | None = None,
) -> Command:
    """A command. `passes_words`: it takes FILE, and all that follows is for the program."""

    def call(**values: Any) -> int:
        namespace = SimpleNamespace(
            **{name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        )
        return status_of(act, namespace)

    positional = list(arguments)
    if passes_words:
        words = click.Argument(["arguments"], nargs=-1, type=_Words(), metavar="[ARGUMENT]...")
        positional += [file_argument(), words]
    return Command(
        name,
        callback=call,
        params=[*positional, *map(_click_option, rows)],
        help=description,
        short_help=COMMANDS.get(name),
        epilog=epilog,
        context_settings={
            "allow_interspersed_args": not passes_words,
            "help_option_names": ["-h", "--help"],
            "max_content_width": WIDTH,
        },
    )


class _Words(click.types.UnprocessedParamType):
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


def file_argument(name: str = "file", **options: Any) -> click.Argument:
    """FILE: completed as files are; whether there is one is seen when it is opened."""
    return click.Argument([name], type=click.Path(), metavar=options.pop("metavar", "FILE"), **options)


class _Commands(click.Group):
    """All commands; each is imported when it is asked for."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        home = importlib.import_module(f"{__package__}.{_HOMES[cmd_name]}")
        command: click.Command = home.command(cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def program() -> click.Group:
    """The whole command line."""
    return _Commands(
        "wasmjit",
        help=DESCRIPTION,
        epilog=EPILOG,
        no_args_is_help=True,
        subcommand_metavar="COMMAND ...",
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                help="Show the version and exit.",
                callback=_show_version,
            )
        ],
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"wasmjit {__version__}")
        ctx.exit()


def main(words: Sequence[str]) -> int:
    """Carries out a command line; wrong usage is explained on stderr."""
    try:
        status = program().main(list(words), prog_name="wasmjit", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.UsageError as error:
        _show_usage_error(error)
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except SystemExit:  # click's answer to a broken pipe
        return EXIT_BROKEN_PIPE
    except OSError as error:  # help that cannot be written
        report(str(error))
        return EXIT_ERROR


def _show_usage_error(error: click.exceptions.UsageError) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else error.message, err=True)
        return
    if error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nTry `{error.ctx.command_path} --help`.\n", err=True)
    label = click.style("wasmjit: error:", fg="red", bold=True) if use_colour(sys.stderr) else "wasmjit: error:"
    click.echo(f"{label} {printable(error.format_message())}", err=True, color=use_colour(sys.stderr))


def complete(words: Sequence[str]) -> int:
    """Answers the shell's question for completions, which is in the environment. 1 if it is no known one."""
    from click.shell_completion import shell_complete

    return shell_complete(program(), {}, "wasmjit", COMPLETE_VARIABLE, os.environ.get(COMPLETE_VARIABLE, ""))
