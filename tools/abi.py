"""Writes the headers of runtime_c that are made from Python; --check only compares, and fails if one is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from wasmjit import abi, thresholds
from wasmjit.wasi import native
from wasmjit.wasm import first_tier, validator_rows

DIRECTORY = Path(__file__).resolve().parent.parent / "runtime_c"
HEADERS = {
    "wj_abi.h": abi.render_header,
    "wj_opcodes.h": first_tier.render_header,
    "wj_rows.h": validator_rows.render_header,
    "wj_thresholds.h": thresholds.render_header,
    "wj_wasi.h": native.render_header,
}


def main() -> int:
    """0, or 1 if --check finds a header out of date."""
    status = 0
    for name, render in HEADERS.items():
        header, text = DIRECTORY / name, render()
        if sys.argv[1:] != ["--check"]:
            header.write_text(text)
        elif not header.is_file() or header.read_text() != text:
            print(f"{header} is out of date: run `make abi`", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
