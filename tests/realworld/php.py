"""PHP 8.2 (CGI): strings, regular expressions, generators, JSON, and a file."""

from __future__ import annotations

import hashlib
import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import RUNNO

SCRIPT = r"""<?php
function primes(int $limit): Generator {
    $composite = array_fill(0, $limit + 1, false);
    for ($i = 2; $i <= $limit; $i++) {
        if ($composite[$i]) continue;
        yield $i;
        for ($k = $i * $i; $k <= $limit; $k += $i) $composite[$k] = true;
    }
}
$all = iterator_to_array(primes(20000), false);
echo count($all), ' ', array_sum($all), "\n";
echo json_encode(['name' => 'ünï', 'list' => array_slice($all, 0, 5), 'ok' => true]), "\n";
echo preg_replace_callback('/\b(\w)(\w*)/', fn($m) => strtoupper($m[1]) . $m[2], 'a sandbox that holds'), "\n";
echo hash('sha256', file_get_contents('/input.txt')), ' ', crc32('wasmjit'), "\n";
file_put_contents('/output.txt', strrev(file_get_contents('/input.txt')));
usort($all, fn($a, $b) => strcmp(strrev((string)$a), strrev((string)$b)));
echo implode(',', array_slice($all, 0, 6)), "\n";
"""
INPUT = "".join(f"line {i}\n" for i in range(2000))


def check(result: Result) -> None:
    assert result.exit_code == 0, (result.stdout, result.stderr)
    text = result.stdout.decode()
    assert "2262 21171191\n" in text and '"\\u00fcn\\u00ef"' in text and "A Sandbox That Holds" in text
    assert hashlib.sha256(INPUT.encode()).hexdigest() in text
    assert result.files["output.txt"] == INPUT.encode()[::-1]


PROGRAM = Program(
    "php",
    "PHP 8.2",
    RUNNO,
    "package/dist/langs/php-cgi-8.2.0.wasm",
    ("/script.php",),
    check,
    {"script.php": SCRIPT, "input.txt": INPUT},
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
