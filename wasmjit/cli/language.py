"""``-W name[=y|n]``: what the language may contain, and the limits of what runs; wasmtime's option group."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .. import Config

TRUE, FALSE = ("y", "yes", "true"), ("n", "no", "false")
ALL_PROPOSALS = "all-proposals"
_PREFIX = "wasm_"
# Options that the group has beside the proposals; wasmtime has them there too.
_FURTHER = ("max_wasm_stack", "nan_canonicalization", "epoch_interruption", "shared_memory", "gc_support")


def _names() -> dict[str, str]:
    """Name in ``-W`` -> Config option; the proposals first."""
    proposals = [name for name in Config.options() if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX).replace("_", "-"): name for name in (*proposals, *_FURTHER)}


def _value(name: str, text: str | None, default: Any) -> Any:
    """The value of a setting: no text means yes."""
    if isinstance(default, bool):
        if text is None or text in TRUE:
            return True
        if text in FALSE:
            return False
        raise argparse.ArgumentTypeError(f"{name}={text}: expected y or n")
    try:
        return int(text or "", 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name}: expected a number, as in {name}={default}") from None


def settings(text: str) -> list[tuple[str, Any]]:
    """The Config options and values of one ``-W`` argument: ``simd=n,tail-call``. Raises ArgumentTypeError."""
    names = _names()
    options = Config.options()
    found: list[tuple[str, Any]] = []
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        name = name.replace("_", "-")
        if name == ALL_PROPOSALS:
            enable = _value(name, value if equals else None, True)
            found += [(option, enable) for option in proposals()]
        elif name in names:
            option = names[name]
            found.append((option, _value(name, value if equals else None, options[option].default)))
        else:
            raise argparse.ArgumentTypeError(f"unknown option {name!r} (`-W help` lists them)")
    return found


def proposals() -> list[str]:
    """The Config options that stand for a proposal each."""
    fields = Config().features.__dataclass_fields__
    return [f"{_PREFIX}{name}" for name in fields]


def help_text() -> str:
    """What ``-W help`` prints."""
    lines = ["Options of -W, several with commas between them; NAME alone means NAME=y:", ""]
    options = Config.options()
    rows = [(ALL_PROPOSALS, "y|n", "all proposals at once", "")]
    for name, option_name in _names().items():
        option = options[option_name]
        is_bool = isinstance(option.default, bool)
        default = ("y" if option.default else "n") if is_bool else str(option.default)
        text = (option.__doc__ or "").rstrip(".")
        rows.append((name, "y|n" if is_bool else "N", text, f" (default: {default})"))
    lines += [f"  {f'{name}={value}':<34} {text}{default}" for name, value, text, default in rows]
    return "\n".join(lines)


class _LanguageAction(argparse.Action):
    """Collects the settings of every ``-W``; ``-W help`` prints them all and ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if values == "help":
            print(help_text())
            parser.exit()
        try:
            found = settings(str(values))
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        namespace.language = [*(namespace.language or ()), *found]


def add_language_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``-W`` to a command."""
    parser.add_argument(
        "-W",
        "--wasm",
        dest="language",
        action=_LanguageAction,
        default=(),
        metavar="NAME[=VALUE]",
        help="turn a proposal on or off: `-W simd=n`, `-W memory64,custom-page-sizes`; `-W help` lists all",
    )


def apply_language_options(config: Config, arguments: argparse.Namespace) -> None:
    """Sets what the ``-W`` options say, the last one winning."""
    for name, value in arguments.language:
        setattr(config, name, value)
