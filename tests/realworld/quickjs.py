"""QuickJS, a JavaScript interpreter: regular expressions, closures, BigInt, JSON."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import LLM_SANDBOX

SCRIPT = """
const words = 'the quick brown fox jumps over the lazy dog and the quick cat'.split(' ');
const counts = words.reduce((all, word) => all.set(word, (all.get(word) || 0) + 1), new Map());
console.log(JSON.stringify([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))));
const sieve = n => { const no = new Uint8Array(n + 1); let count = 0;
  for (let i = 2; i <= n; i++) if (!no[i]) { count++; for (let k = i * i; k <= n; k += i) no[k] = 1; } return count; };
console.log(sieve(300000));
let big = 1n; for (let i = 1n; i <= 200n; i++) big *= i;
console.log(String(big).length, String(big % 1000000007n));
console.log('2024-02-30'.replace(/(\\d+)-(\\d+)-(\\d+)/, '$3.$2.$1'), [3, 1, 2].toSorted?.() ?? [3, 1, 2].sort());
try { null.x } catch (error) { console.log(error instanceof TypeError) }
class Tree { constructor(d) { if (d) { this.l = new Tree(d - 1); this.r = new Tree(d - 1); } }
  size() { return 1 + (this.l ? this.l.size() + this.r.size() : 0); } }
console.log(new Tree(14).size(), Math.hypot(3, 4), (0.1 + 0.2).toFixed(20));
"""


def check(result: Result) -> None:
    assert (result.exit_code, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith('[["the",3],["quick",2],') and lines[1] == "25997"
    assert lines[2] == "375 722479105" and lines[5].startswith("32767 5 0.3000000000000000444")


PROGRAM = Program(
    "quickjs",
    "JavaScript",
    LLM_SANDBOX,
    "bin/quickjs.wasm",
    ("/script.js",),
    check,
    {"script.js": SCRIPT},
    tier="optimized",
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
