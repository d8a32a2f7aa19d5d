"""ITK's compress-stringify (Zstandard): a reactor; compresses a file to base64."""

from __future__ import annotations

import base64
import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import ITK_COMPRESS

INPUT = b"".join(b"%d: a line that is much like the others\n" % (i * i % 977) for i in range(20000))


def check(result: Result) -> None:
    assert result.exit_code == 0, (result.stdout, result.stderr)
    packed = result.files["packed.txt"]
    frame = base64.b64decode(packed.partition(b",")[2])
    assert frame.startswith(b"\x28\xb5\x2f\xfd") and len(frame) < len(INPUT) // 10


PROGRAM = Program(
    "zstd",
    "Zstandard",
    ITK_COMPRESS,
    "itkwasm_compress_stringify_wasi/wasm_modules/compress-stringify.wasi.wasm",
    ("--stringify", "--compression-level", "9", "/input.txt", "/packed.txt"),
    check,
    {"input.txt": INPUT},
    export="itk_wasm_delayed_start",
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
