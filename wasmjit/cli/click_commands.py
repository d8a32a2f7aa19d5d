"""A command as click sees it: options from rows, help in sections, completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import click
from click.shell_completion import CompletionItem

from . import COMMANDS, status_of
from .rows import HelpWanted, Row

WIDTH = 100  # of help, on terminals that are as wide


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
