"""A grammar of shapes: each construct many times, in sequence and nested, from a kilobyte to a megabyte of module.

A shape is a function from a count to a binary module. What compiling it costs has to grow with its bytes
(`tests/fuzz/run_shapes.py` measures that, tests/unit/test_shapes.py counts what can be counted).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from tests import wasm_bytes as wb
from tests.wasm_bytes import custom, module, name, section, signed, unsigned, vector

I32, I64, F32, F64, V128, FUNCREF = 0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70
VOID = b"\x40"
MOST_PARAMS = 1000
MOST_LOCALS = 49_000

Shape = Callable[[int], bytes]
Locals = Iterable[tuple[int, int]]


def functype(params: Iterable[int], results: Iterable[int]) -> bytes:
    """A function type."""
    return b"\x60" + vector(*(bytes([t]) for t in params)) + vector(*(bytes([t]) for t in results))


def body(code: bytes, locals: Locals = ()) -> bytes:
    """An entry of the code section: locals as (count, type), instructions without their `end`."""
    inner = vector(*(unsigned(count) + bytes([kind]) for count, kind in locals)) + code + b"\x0b"
    return unsigned(len(inner)) + inner


def get(index: int) -> bytes:
    """local.get"""
    return b"\x20" + unsigned(index)


def put(index: int) -> bytes:
    """local.set"""
    return b"\x21" + unsigned(index)


def i32(value: int) -> bytes:
    """i32.const"""
    return b"\x41" + signed(value)


UNARY = functype([I32], [I32])


def program(
    bodies: Iterable[bytes],
    *,
    types: Iterable[bytes] = (UNARY,),
    function_types: Iterable[int] | None = None,
    before: bytes = b"",
    between: bytes = section(wb.MEMORY, vector(b"\0\x10")),
    elements: bytes = b"",
    after: bytes = b"",
    export: int = 0,
) -> bytes:
    """A module; the function `export` is exported as "f". `before`: imports; `between`: tables, memories, globals."""
    bodies = list(bodies)
    indices = [0] * len(bodies) if function_types is None else list(function_types)
    return module(
        section(wb.TYPE, vector(*types)),
        before,
        section(wb.FUNCTION, vector(*map(unsigned, indices))),
        between,
        section(wb.EXPORT, vector(name("f") + b"\0" + unsigned(export))),
        elements,
        section(wb.CODE, vector(*bodies)),
        after,
    )


def one(code: bytes, locals: Locals = ((1, I32),), **rest: object) -> bytes:
    """A module of one function of an i32, which returns one."""
    return program([body(code, locals)], **rest)  # type: ignore[arg-type]


SHAPES: dict[str, Shape] = {}


def shape(make: Shape) -> Shape:
    """Registers a shape by its function's name."""
    SHAPES[make.__name__.strip("_")] = make
    return make


# ---- control, in sequence ----


@shape
def blocks(n: int) -> bytes:
    """Empty blocks."""
    return one(b"\x02\x40\x0b" * n + get(0))


@shape
def ifs(n: int) -> bytes:
    """`if (p) x = i;`"""
    return one(b"".join(get(0) + b"\x04\x40" + i32(i) + put(1) + b"\x0b" for i in range(n)) + get(1))


@shape
def if_elses(n: int) -> bytes:
    """`x = p ? x + i : x ^ i`, by blocks with results."""
    return one(
        b"".join(
            get(0) + b"\x04\x7f" + get(1) + i32(i) + b"\x6a\x05" + get(1) + i32(i) + b"\x73\x0b" + put(1)
            for i in range(n)
        )
        + get(1)
    )


@shape
def chain(n: int) -> bytes:
    """`if (p == i) skip; x ^= i;`"""
    step = "\x02\x40"
    return one(
        b"".join(
            step.encode() + get(0) + i32(i) + b"\x46\x0d\x00" + get(1) + i32(i) + b"\x73" + put(1) + b"\x0b"
            for i in range(n)
        )
        + get(1)
    )


@shape
def loops(n: int) -> bytes:
    """Counting loops, one after the other."""
    loop = b"\x03\x40" + get(1) + i32(1) + b"\x6a\x22\x01" + i32(100) + b"\x48\x0d\x00\x0b" + i32(0) + put(1)
    return one(loop * n + get(1))


@shape
def loops_memory(n: int) -> bytes:
    """Loops that fill memory, one after the other: what vectorises."""
    loop = (
        i32(0) + put(1) + b"\x03\x40" + get(1) + get(0) + b"\x36\x02\x00"
        + get(1) + i32(4) + b"\x6a\x22\x01" + i32(1000) + b"\x48\x0d\x00\x0b"
    )  # fmt: skip
    return one(loop * n + get(1))


@shape
def returns(n: int) -> bytes:
    """`if (p == i) return i;`"""
    return one(b"".join(get(0) + i32(i) + b"\x46\x04\x40" + i32(i) + b"\x0f\x0b" for i in range(n)) + get(0))


@shape
def tables_in_sequence(n: int) -> bytes:
    """Small br_tables, one after the other."""
    step = b"\x02\x40\x02\x40" + get(0) + b"\x0e\x02\x00\x01\x00\x0b" + get(0) + i32(3) + b"\x6a" + put(0) + b"\x0b"
    return one(step * n + get(0))


# ---- control, nested ----


@shape
def nested_blocks(n: int) -> bytes:
    """Blocks in blocks, with a br_if to each."""
    ends = b"".join(get(1) + i32(i) + b"\x6a" + put(1) + b"\x0b" for i in range(n))
    return one(
        b"\x02\x40" * n + b"".join(get(0) + i32(i) + b"\x46\x0d" + unsigned(i) for i in range(n)) + ends + get(1)
    )


@shape
def nested_ifs(n: int) -> bytes:
    """Ifs in ifs."""
    return one((get(0) + b"\x04\x40") * n + (get(1) + i32(1) + b"\x6a" + put(1) + b"\x0b") * n + get(1))


@shape
def nested_if_elses(n: int) -> bytes:
    """Ifs in the else of ifs: a chain of `else if`."""
    ifs_ = b"".join(get(0) + i32(i) + b"\x46\x04\x7f" + get(0) + i32(i) + b"\x6c\x05" for i in range(n))
    return one(ifs_ + get(0) + b"\x0b" * n)


@shape
def nested_loops(n: int) -> bytes:
    """Loops in loops."""
    return one(b"\x03\x40" * n + (get(0) + i32(1) + b"\x6b\x22\x00\x0d\x00\x0b") * n + get(0))


@shape
def nested_loops_locals(n: int) -> bytes:
    """Loops in loops, each with a counter of its own."""
    n = min(n, MOST_LOCALS)
    ends = b"".join(get(i) + i32(1) + b"\x6a\x22" + unsigned(i) + get(0) + b"\x48\x0d\x00\x0b" for i in range(n, 0, -1))
    return one(b"".join(i32(0) + put(i) + b"\x03\x40" for i in range(1, n + 1)) + ends + get(1), [(n, I32)])


@shape
def switch(n: int) -> bytes:
    """Nested blocks and a br_table; all cases fall through."""
    table = get(0) + b"\x0e" + unsigned(n - 1) + b"".join(map(unsigned, range(n)))
    return one(
        b"\x02\x40" * n + table
        + b"".join(b"\x0b" + get(1) + i32(i) + b"\x6a" + put(1) for i in range(n)) + get(1)
    )  # fmt: skip


@shape
def switch_break(n: int) -> bytes:
    """Nested blocks and a br_table; each case leaves."""
    table = get(0) + b"\x0e" + unsigned(n - 1) + b"".join(map(unsigned, range(n)))
    cases = b"".join(b"\x0b" + get(1) + i32(i) + b"\x73" + put(1) + b"\x0c" + unsigned(n - 1 - i) for i in range(n))
    return one(b"\x02\x40" * (n + 1) + table + cases + b"\x0b" + get(1))


@shape
def interpreter(n: int) -> bytes:
    """The same in a loop, with locals that the cases change."""
    table = get(0) + b"\x0e" + unsigned(n) + b"".join(map(unsigned, range(n + 1)))
    cases = b"".join(
        b"\x0b" + get(1 + i % 100) + get(1 + i * 7 % 100) + b"\x6a" + put(1 + i * 3 % 100)
        + get(1 + i % 100) + put(0) + b"\x0c" + unsigned(n - i)
        for i in range(n)
    )  # fmt: skip
    return one(b"\x03\x40" + b"\x02\x40" * (n + 1) + table + cases + b"\x0b\x0b" + get(1), [(100, I32)])


@shape
def table_operands(n: int) -> bytes:
    """A br_table of many entries to two blocks with 100 results."""
    return one(
        b"\x02\x01\x02\x01" + i32(3) * 100 + get(0) + b"\x0e" + unsigned(n) + b"\x00\x01" * (n // 2) + b"\x00" * (n % 2)
        + b"\x00\x0b\x0b" + b"\x1a" * 99,
        types=[UNARY, functype([], [I32] * 100)],
    )  # fmt: skip


@shape
def table_targets(n: int) -> bytes:
    """Many br_tables, of entries to blocks with results."""
    step = (
        b"\x02\x01\x02\x01" + i32(3) * 10 + get(0) + b"\x0e\x08\x00\x01\x00\x01\x00\x01\x00\x01\x00\x0b\x0b"
        + b"\x1a" * 10
    )  # fmt: skip
    return one(step * n + get(0), types=[UNARY, functype([], [I32] * 10)])


@shape
def branch_operands(n: int) -> bytes:
    """Branches out of a block with 1000 results."""
    return one(
        b"\x02\x01" + i32(3) * 1000 + (get(0) + b"\x0d\x00") * n + b"\x0b" + b"\x1a" * 999,
        types=[UNARY, functype([], [I32] * 1000)],
    )


@shape
def operands_and_blocks(n: int) -> bytes:
    """Operands on the stack, then blocks."""
    return one(i32(1) * n + b"\x02\x40\x0b" * n + b"\x1a" * (n - 1))


@shape
def operands_and_sets(n: int) -> bytes:
    """Operands on the stack that are values of a local, which is set then."""
    return one(get(0) * n + (get(0) + put(1)) * n + b"\x1a" * (n - 1))


@shape
def operands_and_loops(n: int) -> bytes:
    """Loaded operands on the stack, then loops."""
    return one((get(0) + b"\x28\x02\x00") * n + b"\x03\x40\x0b" * n + b"\x6a" * (n - 1))


@shape
def operands_and_branches(n: int) -> bytes:
    """Loaded operands on the stack, then branches that leave them."""
    return one(
        b"\x02\x40" + (get(0) + b"\x28\x02\x00") * n + (get(0) + b"\x0d\x00") * n + b"\x1a" * n + b"\x0b" + get(0)
    )


# ---- locals ----


@shape
def sets_then_ifs(n: int) -> bytes:
    """Locals that are set, then ifs."""
    num_locals = min(n, MOST_LOCALS)
    sets = b"".join(i32(5) + put(1 + i) for i in range(num_locals))
    return one(sets + (get(0) + b"\x04\x40\x0b") * n + get(0), [(num_locals, I32)])


@shape
def sets_in_ifs(n: int) -> bytes:
    """Each if sets a local of its own, all are read in the end."""
    num_locals = min(n, MOST_LOCALS)
    sets = b"".join(get(0) + b"\x04\x40" + i32(i) + put(1 + i % num_locals) + b"\x0b" for i in range(n))
    reads = b"".join(get(1 + i) + b"\x6a" for i in range(num_locals))
    return one(sets + get(0) + reads, [(num_locals, I32)])


@shape
def loaded_sets_and_branches(n: int) -> bytes:
    """Locals set to what was loaded; branches leave in between."""
    num_locals = min(n, MOST_LOCALS)
    step = (
        get(0) + b"\x28\x02\x00" + put(1 + i % num_locals) + get(0) + b"\x0d\x00"
        for i in range(n)
    )  # fmt: skip
    return one(b"\x02\x40" + b"".join(step) + b"\x0b" + get(1), [(num_locals, I32)])


@shape
def loops_and_locals(n: int) -> bytes:
    """Loops in sequence with many locals alive through them."""
    num_locals = min(n, MOST_LOCALS)
    sets = b"".join(get(0) + i32(i) + b"\x6a" + put(1 + i) for i in range(num_locals))
    loops_ = (b"\x03\x40" + get(0) + i32(1) + b"\x6b\x22\x00\x0d\x00\x0b") * n
    reads = b"".join(get(1 + i) + b"\x6a" for i in range(num_locals))
    return one(sets + loops_ + get(0) + reads, [(num_locals, I32)])


@shape
def rotating_locals(n: int) -> bytes:
    """A loop whose locals change places."""
    num_locals = min(n, 1000)
    moves = b"".join(get(1 + (i + 1) % num_locals) + put(1 + i % num_locals) for i in range(n))
    return one(
        b"".join(get(0) + i32(i) + b"\x6a" + put(1 + i) for i in range(num_locals))
        + b"\x03\x40" + moves + get(0) + i32(1) + b"\x6b\x22\x00\x0d\x00\x0b" + get(1),
        [(num_locals, I32)],
    )  # fmt: skip


# ---- straight lines ----


@shape
def init(n: int) -> bytes:
    """Stores of constants, one behind the other."""
    return one(b"".join(i32(0) + i32(i * 7) + b"\x36\x02" + unsigned(4 * i % 900_000) for i in range(n)) + get(0))


@shape
def stores(n: int) -> bytes:
    """Stores to 5,000 places, again and again."""
    return one(b"".join(i32(4 * (i % 5000)) + get(0) + b"\x36\x02\x00" for i in range(n)) + get(0))


@shape
def stores_unknown(n: int) -> bytes:
    """Stores to addresses that depend on the parameter."""
    return one(b"".join(get(0) + i32(i) + b"\x6c" + get(0) + b"\x36\x02\x00" for i in range(n)) + get(0))


@shape
def bytes_stores(n: int) -> bytes:
    """Stores of bytes, one behind the other, of a parameter's bits."""
    return one(
        b"".join(i32(0) + get(0) + i32(i % 32) + b"\x76\x3a\x00" + unsigned(i % 900_000) for i in range(n)) + get(0)
    )


@shape
def copies(n: int) -> bytes:
    """A structure copied by loads and stores."""
    return one(
        b"".join(
            get(0)
            + get(0)
            + b"\x28\x02"
            + unsigned(4 * i % 100_000)
            + b"\x36\x02"
            + unsigned(100_000 + 4 * i % 100_000)
            for i in range(n)
        )
        + get(0)
    )


@shape
def loads(n: int) -> bytes:
    """A sum of loads."""
    return one(get(0) + b"".join(get(0) + b"\x28\x02" + unsigned(4 * i % 900_000) + b"\x6a" for i in range(n)))


@shape
def loads_and_stores(n: int) -> bytes:
    """`m[i] += x`, at addresses that may be equal."""
    return one(
        b"".join(
            get(0)
            + get(0)
            + b"\x28\x02"
            + unsigned(4 * i % 900_000)
            + get(0)
            + b"\x6a\x36\x02"
            + unsigned(4 * i % 900_000)
            for i in range(n)
        )
        + get(0)
    )


@shape
def loads_dropped(n: int) -> bytes:
    """Loads whose values nobody wants."""
    return one(b"".join(get(0) + b"\x28\x02" + unsigned(4 * i % 900_000) + b"\x1a" for i in range(n)) + get(0))


@shape
def rotations(n: int) -> bytes:
    """`x = rotr(x * c, 13) ^ p`"""
    step = b"\x42\xef\x9b\xaf\xcd\xf8\xac\xd1\x91\x12\x7e\x42\x0d\x8a\x20\x00\xad\x85"
    return one(get(0) + b"\xad" + step * n + b"\xa7")


@shape
def additions(n: int) -> bytes:
    """`x = x * 3 + p`"""
    return one(get(0) + (i32(3) + b"\x6c" + get(0) + b"\x6a") * n)


@shape
def xors_shifts(n: int) -> bytes:
    """`x ^= x << 5; x ^= x >> 3; x += p`, through a local."""
    step = (
        get(1) + get(1) + i32(5) + b"\x74\x73" + put(1)
        + get(1) + get(1) + i32(3) + b"\x76\x73" + get(0) + b"\x6a" + put(1)
    )  # fmt: skip
    return one(step * n + get(1))


@shape
def divisions(n: int) -> bytes:
    """Divisions, each with its traps."""
    return one((get(0) + get(1) + b"\x6d" + put(1)) * n + get(1))


@shape
def conversions(n: int) -> bytes:
    """Conversions that trap, and back."""
    return one((get(1) + b"\xb7" + b"\xaa" + put(1)) * n + get(1))


@shape
def floats(n: int) -> bytes:
    """A polynomial by Horner's scheme."""
    step = get(1) + b"\xa2\x44" + struct.pack("<d", 1.5) + b"\xa0"
    return one(b"\x44" + struct.pack("<d", 2.5) + step * n + b"\xfc\x02", [(1, F64)])


@shape
def float_constants(n: int) -> bytes:
    """A sum of constants, all different: LLVM keeps them in one list, which it looks through for each."""
    steps = b"".join(b"\x44" + struct.pack("<d", 1.5 + i) + b"\xa0" for i in range(n))
    return one(b"\x44" + struct.pack("<d", 0.5) + steps + b"\xfc\x02", [(1, F64)])


@shape
def tree(n: int) -> bytes:
    """One expression: all operands first, then all operators."""
    return one(b"".join(get(0) + i32(i) + b"\x73" for i in range(n)) + b"\x6a" * (n - 1))


@shape
def selects(n: int) -> bytes:
    """`x = (p < i) ? x : i`"""
    return one(get(0) + b"".join(i32(i) + get(0) + i32(i) + b"\x48\x1b" for i in range(n)))


@shape
def compares(n: int) -> bytes:
    """`x += (p < i) & (p != i + 1)`"""
    return one(get(0) + b"".join(get(0) + i32(i) + b"\x48" + get(0) + i32(i + 1) + b"\x47\x71\x6a" for i in range(n)))


@shape
def constants(n: int) -> bytes:
    """Wide constants, all different."""
    return one(
        get(0)
        + b"\xad"
        + b"".join(b"\x42" + signed((i + 1) * 0x9E3779B97F4A7C15 % (1 << 62)) + b"\x85" for i in range(n))
        + b"\xa7"
    )


@shape
def vector_constants(n: int) -> bytes:
    """Vector constants, all different."""
    step = (b"\xfd\x0c" + struct.pack("<QQ", i, i * 77) + b"\xfd\xae\x01" for i in range(n))
    return one(get(0) + b"\xfd\x11" + b"".join(step) + b"\xfd\x1b\x00")


@shape
def vector_shuffles(n: int) -> bytes:
    """Shuffles and swizzles in a chain."""
    lanes = bytes((i * 7) % 32 for i in range(16))
    step = get(1) + b"\xfd\x0d" + lanes + get(1) + b"\xfd\x0e"
    return one(get(0) + b"\xfd\x11" + step * n + b"\xfd\x1b\x00", [(1, V128)])


@shape
def vector_stores(n: int) -> bytes:
    """Vector stores, one behind the other."""
    return one(
        b"".join(
            i32(0) + b"\xfd\x0c" + struct.pack("<QQ", i, i) + b"\xfd\x0b\x04" + unsigned(16 * i % 900_000)
            for i in range(n)
        )
        + get(0)
    )


@shape
def extra_unreachable(n: int) -> bytes:
    """Code that is never reached."""
    return one(b"\x00" + (get(0) + i32(1) + b"\x6a\x1a") * n)


@shape
def unreachables(n: int) -> bytes:
    """Ifs that trap."""
    return one((get(0) + b"\x04\x40\x00\x0b") * n + get(0))


@shape
def nops(n: int) -> bytes:
    """Nothing."""
    return one(b"\x01" * n + get(0))


@shape
def memory_sizes(n: int) -> bytes:
    """memory.size and memory.grow."""
    return one(get(0) + b"\x3f\x00\x6a\x40\x00" * n)


@shape
def fills(n: int) -> bytes:
    """memory.fill, small."""
    return one((get(0) + i32(0) + i32(8) + b"\xfc\x0b\x00") * n + get(0))


# ---- calls ----


@shape
def calls(n: int) -> bytes:
    """Calls of one function, each with the result of the one before."""
    return program([body(get(0) + b"\x10\x01" * n), body(get(0))])


@shape
def calls_indirect(n: int) -> bytes:
    """The same, through a table."""
    return program(
        [body(get(0) + (get(0) + b"\x11\x00\x00") * n), body(get(0))],
        between=section(wb.TABLE, vector(b"\x70\0\x10")) + section(wb.MEMORY, vector(b"\0\x10")),
    )


@shape
def calls_types(n: int) -> bytes:
    """Indirect calls of as many types."""
    types = [UNARY] + [functype([I32] * (i % 30), [I64] * (i // 30 % 30) + [I32]) for i in range(min(n, 900))]
    steps = (
        i32(1) * ((i % len(types[1:])) % 30) + get(0) + b"\x11" + unsigned(1 + i % len(types[1:])) + b"\x00"
        + b"\x1a" * (1 + (i % len(types[1:])) // 30 % 30)
        for i in range(n)
    )  # fmt: skip
    return program(
        [body(b"".join(steps) + get(0)), body(get(0))],
        types=types,
        between=section(wb.TABLE, vector(b"\x70\0\x10")) + section(wb.MEMORY, vector(b"\0\x10")),
    )


def _wide(n: int, kinds: list[int], num_calls: int) -> bytes:
    types = (kinds * n)[:n]
    gets = b"".join(map(get, range(n)))
    return program([body(gets), body(gets + b"\x10\x00" * num_calls)], types=[functype(types, types)])


@shape
def wide_calls(n: int) -> bytes:
    """Functions of up to 1000 mixed parameters and results that call each other; beyond that, more of them."""
    if n <= MOST_PARAMS:
        return _wide(n, [I32, I64, F32, F64], 1)
    types = [I32, I64, F32, F64] * 250
    gets = b"".join(map(get, range(MOST_PARAMS)))
    return program(
        [body(gets + (b"\x10\x00" if i else b"")) for i in range(n // MOST_PARAMS)], types=[functype(types, types)]
    )


@shape
def wide_calls_i32(n: int) -> bytes:
    """The same of one type, called several times."""
    if n <= MOST_PARAMS:
        return _wide(n, [I32], 8)
    types = [I32] * MOST_PARAMS
    gets = b"".join(map(get, range(MOST_PARAMS)))
    return program([body(gets + b"\x10\x00" * 8) for _ in range(n // MOST_PARAMS)], types=[functype(types, types)])


@shape
def wide_calls_v128(n: int) -> bytes:
    """The same of vectors."""
    if n <= MOST_PARAMS:
        return _wide(n, [V128], 1)
    types = [V128] * MOST_PARAMS
    gets = b"".join(map(get, range(MOST_PARAMS)))
    return program([body(gets + b"\x10\x00") for _ in range(n // MOST_PARAMS)], types=[functype(types, types)])


@shape
def wide_calls_many(n: int) -> bytes:
    """One function that makes many calls with 200 parameters and 200 results."""
    types = [I32] * 200
    gets = b"".join(map(get, range(200)))
    return program([body(gets + b"\x10\x00" * n), body(gets)], types=[functype(types, types)])


@shape
def tail_calls(n: int) -> bytes:
    """Ifs that tail-call."""
    return program([body((get(0) + b"\x04\x40" + get(0) + b"\x12\x01\x0b") * n + get(0)), body(get(0))])


@shape
def tail_calls_indirect(n: int) -> bytes:
    """Ifs that tail-call a function of a table."""
    code = (get(0) + b"\x04\x40" + get(0) + get(0) + b"\x13\x00\x00\x0b") * n + get(0)
    return program([body(code), body(get(0))], between=section(wb.TABLE, vector(b"\x70\0\x01")))


@shape
def functions(n: int) -> bytes:
    """Small functions."""
    return program([body(get(0) + i32(i) + b"\x6a") for i in range(n)])


@shape
def functions_calling(n: int) -> bytes:
    """Small functions, each calling the next."""
    return program([body(get(0) + b"\x10" + unsigned(i + 1)) for i in range(n)] + [body(get(0))])


@shape
def functions_one_calls_all(n: int) -> bytes:
    """Small functions and one that calls them all."""
    return program([body(get(0) + b"".join(b"\x10" + unsigned(i) for i in range(1, n)))] + [body(get(0))] * n)


@shape
def functions_locals(n: int) -> bytes:
    """Small functions that declare 50,000 locals each."""
    return program([body(get(0) + put(40_000) + get(40_000), [(45_000, I32)])] * n)


# ---- sections ----


@shape
def types(n: int) -> bytes:
    """Function types, all different."""
    kinds = (I32, I64, F32, F64)
    many = [functype([kinds[i >> 2 * k & 3] for k in range(10)], [I32]) for i in range(n)]
    return program([body(get(0))], types=[UNARY, *many])


@shape
def imports(n: int) -> bytes:
    """Imported functions."""
    return program(
        [body(get(0))],
        before=section(wb.IMPORT, vector(*(name("m") + name(f"i{i}") + b"\0\0" for i in range(n)))),
        export=n,
    )


@shape
def exports(n: int) -> bytes:
    """Exports of one function."""
    return module(
        section(wb.TYPE, vector(UNARY)),
        section(wb.FUNCTION, vector(b"\0")),
        section(wb.EXPORT, vector(*(name(f"e{i}") + b"\0\0" for i in range(n)))),
        section(wb.CODE, vector(body(get(0)))),
    )


@shape
def globals_(n: int) -> bytes:
    """Globals, each used in one function."""
    code = b"".join(b"\x23" + unsigned(i) + i32(1) + b"\x6a\x24" + unsigned(i) for i in range(n))
    return one(code + get(0), between=section(wb.GLOBAL, vector(*[b"\x7f\x01" + i32(i) + b"\x0b" for i in range(n)])))


@shape
def global_updates(n: int) -> bytes:
    """One global, updated again and again, with loads of memory in between."""
    code = (b"\x23\x00" + get(0) + b"\x28\x02\x00\x6a\x24\x00") * n
    return one(
        code + get(0),
        between=section(wb.MEMORY, vector(b"\0\x10")) + section(wb.GLOBAL, vector(b"\x7f\x01" + i32(0) + b"\x0b")),
    )


@shape
def tables(n: int) -> bytes:
    """Tables."""
    n = min(n, 100_000)
    return one(get(0), between=section(wb.TABLE, vector(*[b"\x70\0\x01"] * n)))


@shape
def element_segments(n: int) -> bytes:
    """Element segments of one function each."""
    segments = [b"\0" + i32(i % 16) + b"\x0b" + vector(b"\0") for i in range(n)]
    return one(
        get(0), between=section(wb.TABLE, vector(b"\x70\0\x10")), elements=section(wb.ELEMENT, vector(*segments))
    )


@shape
def element_entries(n: int) -> bytes:
    """One segment of many functions."""
    segment = b"\0" + i32(0) + b"\x0b" + vector(*map(unsigned, range(n)))
    return program(
        [body(get(0))] * n,
        between=section(wb.TABLE, vector(b"\x70\0" + unsigned(n))),
        elements=section(wb.ELEMENT, vector(segment)),
    )


@shape
def ref_funcs(n: int) -> bytes:
    """ref.func of as many functions, in one function."""
    code = b"".join(b"\xd2" + unsigned(i) + b"\x1a" for i in range(n))
    segment = b"\x03\0" + vector(*map(unsigned, range(n)))  # declares them
    return program([body(code + get(0))] + [body(get(0))] * n, elements=section(wb.ELEMENT, vector(segment)))


@shape
def data_segments(n: int) -> bytes:
    """Data segments of one byte."""
    return one(
        get(0), after=section(wb.DATA, vector(*(b"\0" + i32(i % 60_000) + b"\x0b" + vector(b"x") for i in range(n))))
    )


@shape
def data_bytes(n: int) -> bytes:
    """One data segment."""
    return one(get(0), after=section(wb.DATA, vector(b"\0" + i32(0) + b"\x0b" + unsigned(n) + b"x" * n)))


@shape
def names(n: int) -> bytes:
    """A name section with a name for each local of a function."""
    n = min(n, MOST_LOCALS)
    local_names = vector(b"\0" + vector(*(unsigned(i) + name(f"v{i}") for i in range(n))))
    return one(get(0), [(n, I32)], after=custom("name", section(2, local_names)))


@shape
def long_names(n: int) -> bytes:
    """One name."""
    return module(
        section(wb.TYPE, vector(UNARY)),
        section(wb.FUNCTION, vector(b"\0")),
        section(wb.EXPORT, vector(name("x" * min(n, 100_000)) + b"\0\0")),
        section(wb.CODE, vector(body(get(0)))),
        custom("name", section(1, vector(b"\0" + name("n" * n)))),
    )


@shape
def custom_sections(n: int) -> bytes:
    """Custom sections."""
    return one(get(0), after=b"".join(custom(f"c{i}", b"x") for i in range(n)))


def count_for(make: Shape, size_bytes: int) -> int:
    """How often to repeat a shape's construct for a module of about so many bytes."""
    a, b = len(make(64)), len(make(128))
    slope = max((b - a) / 64, 0.01)
    return max(2, int(64 + (size_bytes - a) / slope))
