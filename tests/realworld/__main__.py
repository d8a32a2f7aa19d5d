"""Runs all programs, or those named, and prints the table of their times."""

from __future__ import annotations

import sys

from tests.realworld import (
    assembler,
    boolector,
    compiler,
    cpython,
    icepll,
    php,
    quickjs,
    resvg,
    ruby,
    sqlite,
    zstd,
)
from tests.realworld.harness import main

# The small ones first.
MODULES = (icepll, assembler, boolector, quickjs, zstd, sqlite, resvg, php, cpython, ruby, compiler)
PROGRAMS = [module.PROGRAM for module in MODULES]

if __name__ == "__main__":
    sys.exit(main(PROGRAMS))
