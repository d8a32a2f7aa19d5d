"""``wasmjit completion``: the script that makes a shell complete commands, options and files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from . import COMPLETE_VARIABLE

SHELLS = {
    "bash": 'eval "$(wasmjit completion bash)"   in ~/.bashrc (bash 4.4 or later)',
    "zsh": 'eval "$(wasmjit completion zsh)"    in ~/.zshrc, after compinit',
    "fish": "wasmjit completion fish | source    in ~/.config/fish/config.fish",
}


def command(name: str) -> Any:
    """The click command."""
    import click

    from . import click_commands

    lines = "\n\n".join(SHELLS.values())
    return click_commands.make(
        name,
        completion,
        (),
        f"Prints the script that makes a shell complete commands, options and files.\n\n{lines}",
        arguments=[click.Argument(["shell"], type=click.Choice(list(SHELLS)))],
    )


def completion(arguments: SimpleNamespace) -> int:
    """Prints the script."""
    import click
    from click.shell_completion import get_completion_class

    shell = get_completion_class(arguments.shell)
    assert shell is not None
    made = shell(click.get_current_context().find_root().command, {}, "wasmjit", COMPLETE_VARIABLE)
    print(made.source_template % made.source_vars())
    return 0
