"""All commands as click sees them; each command's file is imported when it is needed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import printable
from . import COMMANDS, COMPLETE_VARIABLE, EXIT_BROKEN_PIPE, EXIT_ERROR, EXIT_INTERRUPTED
from .click_commands import Context
from .console import report, use_colour

EXIT_USAGE = 2
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
    "cache": "cache",
    "bench": "bench",
    "completion": "completion",
}


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
