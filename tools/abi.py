"""Writes runtime_c/wj_abi.h from wasmjit/abi.py; with --check only compares, and fails if it is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from wasmjit import abi

HEADER = Path(__file__).resolve().parent.parent / "runtime_c" / "wj_abi.h"


def main() -> int:
    """0, or 1 if --check finds the header out of date."""
    text = abi.render_header()
    if sys.argv[1:] == ["--check"]:
        if HEADER.is_file() and HEADER.read_text() == text:
            return 0
        print(f"{HEADER} is out of date: run `make abi`", file=sys.stderr)
        return 1
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
