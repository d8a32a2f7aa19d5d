"""The kernels beside this file: how often each repeats its work, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Kernel:
    """One program, ``<name>.c`` and ``<name>.wasm``; it takes `iterations` and prints a line with a checksum.

    `kind` is what its time goes to: float, integer, memory, branches, calls. `vectorisable`: its hot loops are such
    that an optimising C compiler turns them, or much of them, into vector code.
    """

    name: str
    iterations: int  # such that native code takes about 0.1 s
    kind: str
    vectorisable: bool = False

    @property
    def source(self) -> Path:
        """The C program."""
        return DIRECTORY / f"{self.name}.c"

    @property
    def wasm(self) -> Path:
        """The module that `examples/rebuild.py` made of it."""
        return DIRECTORY / f"{self.name}.wasm"


def _table(text: str) -> tuple[Kernel, ...]:
    rows = [line.split() for line in text.strip().splitlines()]
    return tuple(Kernel(row[0], int(row[1]), row[2], row[3:] == ["vectorisable"]) for row in rows)


KERNELS = _table("""
    ackermann     500      calls
    atax          1500     float     vectorisable
    base64        600      integer
    bignum        15       integer
    bintree       400      memory
    blend         2000     integer   vectorisable
    blur          400      integer   vectorisable
    brainfuck     30       branches
    bytecode      40000    branches
    chacha        600      integer
    cholesky      80       float
    crc32         600      integer
    dijkstra      60       branches
    dispatch      1500     calls
    escape        1000     float
    expression    600      calls
    fdtd2d        500      float     vectorisable
    fft           1500     float
    fib           80       calls
    fir           300      integer   vectorisable
    floyd         40       integer   vectorisable
    gemm          80       float     vectorisable
    glob          3        branches
    hashtable     3000000  memory
    heapsort      8        branches
    heat3d        200      float     vectorisable
    huffman       20       branches
    jacobi2d      300      float     vectorisable
    json          150      branches
    knapsack      150      integer   vectorisable
    levenshtein   30       integer
    life          1500     integer   vectorisable
    linkedlist    120      memory
    lu            100      float     vectorisable
    lz            12       branches
    matrix        60       integer
    nbody         1000000  float
    nqueens       50       calls
    quicksort     8        branches
    raytrace      40       float
    saxpy         12000    float     vectorisable
    seidel2d      150      float
    sieve         100      memory
    siphash       600      integer
    spectral      120      float
    statemachine  300      branches
    strhash       100      integer
    sums          2000     integer   vectorisable
    utf8          100      branches
""")
