"""64-bit addresses and indices, custom page sizes, wide arithmetic, bounds checks: in every compile mode."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from wasmjit import (
    Config,
    Engine,
    Global,
    GlobalType,
    Instance,
    Limits,
    LinkError,
    Memory,
    MemoryType,
    Module,
    Store,
    Table,
    TableType,
    Trap,
    TrapCode,
    UnsupportedError,
    ValType,
    WasmError,
)

PAGE = 65536
GIB = 1 << 30
MODES = [(level, signals) for level in ("none", "speed") for signals in (True, False)]


@pytest.fixture(params=MODES, ids=lambda mode: f"{mode[0]}-{'guard' if mode[1] else 'explicit'}")
def config(request: pytest.FixtureRequest) -> Config:
    level, signals = request.param
    return Config(opt_level=level, signals_based_traps=signals, wasm_wide_arithmetic=True, wasm_custom_page_sizes=True)


def instantiate(config: Config, text: str, *imports: Any, store: Store | None = None) -> tuple[Store, Any]:
    """The store and the exports of a module in text form."""
    store = store or Store(Engine(config))
    return store, Instance(store, Module(store.engine, text), list(imports)).exports(store)


def traps(code: TrapCode, function: Any, *arguments: Any) -> Trap:
    with pytest.raises(Trap) as caught:
        function(*arguments)
    assert caught.value.trap_code is code
    return caught.value


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


# ---- where memories end ----

OFFSETS = (0, 1, 8, PAGE - 8, PAGE, 2 * GIB - 8, 2 * GIB - 7, 2 * GIB, 4 * GIB - 1)
WIDE_OFFSETS = (4 * GIB, 1 << 40, 1 << 47, 1 << 63, (1 << 64) - PAGE, (1 << 64) - 8, (1 << 64) - 1)


@pytest.mark.part(2)
@pytest.mark.parametrize("memory", ["1 2", "i64 1 2", "5 (pagesize 1)", "i64 5 (pagesize 1)", "0", "i64 0"])
def test_every_access_ends_where_the_memory_does(config: Config, memory: str) -> None:
    bits = 64 if "i64" in memory else 32
    offsets = OFFSETS + (WIDE_OFFSETS if bits == 64 else ())
    functions = []
    for number, offset in enumerate(offsets):
        for width, access in ((1, "i64.load8_u"), (2, "i64.load16_u"), (4, "i64.load32_u"), (8, "i64.load")):
            functions.append(
                f'(func (export "{number},{width}") (param i{bits}) (result i64) '
                f"({access} offset={offset} (local.get 0)))"
            )
        functions.append(
            f'(func (export "{number},store") (param i{bits}) (i64.store offset={offset} (local.get 0) (i64.const -1)))'
        )
    store, exports = instantiate(config, f'(module (memory (export "m") {memory}) {" ".join(functions)})')
    size = exports["m"].data_len(store)
    top = 1 << bits
    for (number, offset), width in itertools.product(enumerate(offsets), (1, 2, 4, 8, "store")):
        function = exports[f"{number},{width}"]
        num_bytes = 8 if width == "store" else width
        last = size - num_bytes - offset  # the last address that is in bounds, if it is not negative
        for address in {0, 1, last - 1, last, last + 1, size, size + 1, size + PAGE, top - offset, top - 1, top - 8}:
            if not 0 <= address < top:
                continue
            if address + offset + num_bytes <= size:
                function(store, signed(address, bits))
            else:
                traps(TrapCode.MEMORY_OUT_OF_BOUNDS, function, store, signed(address, bits))


def test_constant_addresses(config: Config) -> None:
    store, exports = instantiate(
        config,
        f"""(module (memory i64 1 2) (data (i64.const {PAGE - 4}) "\\01\\02\\03\\04")
        (func (export "in") (result i32) (i32.load (i64.const {PAGE - 4})))
        (func (export "behind") (result i32) (i32.load (i64.const {PAGE - 3})))
        (func (export "wraps") (result i32) (i32.load offset=0xffffffffffffffff (i64.const 1)))
        (func (export "negative") (result i32) (i32.load (i64.const -4)))
        (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0))))""",
    )
    assert exports["in"](store) == 0x04030201
    for name in ("behind", "wraps", "negative"):
        traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports[name], store)
    assert exports["grow"](store, 1) == 1
    assert exports["behind"](store) == 0x040302
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["negative"], store)


def test_beyond_four_gib(config: Config) -> None:
    """More memory than 32 bits reach: addresses are not cut off anywhere."""
    store, exports = instantiate(
        config,
        """(module (memory (export "m") i64 65538)
        (func (export "store") (param i64 i32) (i32.store (local.get 0) (local.get 1)))
        (func (export "load") (param i64) (result i32) (i32.load (local.get 0)))
        (func (export "fill") (param i64 i32 i64) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy") (param i64 i64 i64) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
        (func (export "size") (result i64) (memory.size)))""",
    )
    memory = exports["m"]
    high = 4 * GIB + 8
    exports["store"](store, high, 77)
    assert exports["load"](store, high) == 77 and exports["load"](store, 8) == 0
    exports["copy"](store, 16, high, 4)
    assert exports["load"](store, 16) == 77
    exports["fill"](store, high + 4, 1, 4)
    assert exports["load"](store, high + 4) == 0x01010101
    assert exports["size"](store) == 65538 and memory.size(store) == 65538
    assert memory.read(store, high, high + 4) == b"M\0\0\0"
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["fill"], store, high, 0, 1 << 63)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["copy"], store, -1, 0, 2)


@pytest.mark.parametrize("may_move", [True, False])
@pytest.mark.parametrize(
    "item",
    [
        "(memory i64 0x1000000000000)",
        "(memory i64 0x40000000000)",
        "(memory i64 0xffffffffffffffff (pagesize 1))",
        "(table i64 0xffffffffffffffff funcref)",
        "(table i64 20000000 20000000 funcref)",
    ],
)
def test_what_cannot_be_had_is_an_error(config: Config, item: str, may_move: bool) -> None:
    config.memory_may_move = may_move
    with pytest.raises(WasmError, match=r"cannot allocate|exceeds|too large"):
        instantiate(config, f"(module {item})")


def test_growth_keeps_contents(config: Config) -> None:
    """Without a maximum the memory moves as it grows; code and host see the new place."""
    store, exports = instantiate(
        config,
        """(module (memory (export "m") i64 0)
        (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0)))
        (func (export "put_grow_get") (param i64 i64) (result i64)
          (i64.store (local.get 0) (i64.const 9))
          (drop (memory.grow (i64.const 300)))
          (i64.store (local.get 1) (i64.load (local.get 0)))
          (i64.load (local.get 1))))""",
    )
    memory = exports["m"]
    for pages in range(400):
        assert exports["grow"](store, 1) == pages
        memory.write(store, pages.to_bytes(8, "little"), pages * PAGE)
    assert exports["put_grow_get"](store, 399 * PAGE + 16, 650 * PAGE) == 9
    assert [int.from_bytes(memory.read(store, p * PAGE, p * PAGE + 8), "little") for p in range(400)] == list(
        range(400)
    )
    for delta in (-1, 1 << 62, (1 << 48) - 700, (1 << 48) + 1):
        assert exports["grow"](store, delta) == -1
    with pytest.raises(WasmError, match="failed to grow"):
        memory.grow(store, 1 << 48)
    assert memory.size(store) == 700


# ---- checks that cover several accesses ----

MERGED = """(module $m (memory 1)
  (func $loads (export "loads") (param i32) (result i32)
    (i32.add (i32.load offset=4 (local.get 0))
      (i32.add (i32.load (local.get 0))
        (i32.add (i32.load offset=8 (local.get 0)) (i32.load offset=40 (local.get 0))))))
  (func (export "stores") (param i32)
    (i32.store (local.get 0) (i32.const 1))
    (drop (i32.load offset=4 (local.get 0)))
    (i32.store offset=8 (local.get 0) (i32.const 2)))
  (func (export "divide") (param i32 i32) (result i32)
    (i32.add (i32.load (local.get 0))
      (i32.add (i32.div_u (i32.const 1) (local.get 1)) (i32.load offset=1000 (local.get 0)))))
  (func (export "ways") (param i32 i32) (result i32)
    (if (local.get 1) (then (drop (i32.load offset=16 (local.get 0)))))
    (i32.load offset=8 (local.get 0)))
  (func (export "loop") (param i32) (result i32) (local i32)
    (loop
      (local.set 1 (i32.add (local.get 1) (i32.add (i32.load (local.get 0)) (i32.load offset=4 (local.get 0)))))
      (br_if 0 (i32.ne (local.tee 0 (i32.add (local.get 0) (i32.const 4))) (i32.const 70000))))
    (local.get 1))
  (func (export "get") (param i32) (result i32) (i32.load (local.get 0))))"""


@pytest.mark.parametrize("level", ["none", "speed"])
def test_traps_are_those_of_the_access_that_is_outside(level: str) -> None:
    """One check does for several loads, and the backtrace still names the first that is out of bounds."""
    config = Config(opt_level=level, signals_based_traps=False)
    store, exports = instantiate(config, MERGED)

    def offset(address: int) -> int:
        frame = traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["loads"], store, address).frames[0]
        assert frame.module_offset is not None
        return frame.module_offset

    by_distance = [offset(PAGE - distance) for distance in (43, 11, 7)]
    # The loads come in the order of their offsets: 4, 0, 8, 40.
    assert by_distance[2] < by_distance[1] < by_distance[0]
    assert exports["loads"](store, PAGE - 44) == 0
    assert offset(-1) == by_distance[2]


def test_what_is_stored_before_a_trap_stays(config: Config) -> None:
    config.exact_traps = True
    store, exports = instantiate(config, MERGED)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["stores"], store, PAGE - 8)
    assert exports["get"](store, PAGE - 8) == 1


def test_other_traps_come_first(config: Config) -> None:
    store, exports = instantiate(config, MERGED)
    traps(TrapCode.INTEGER_DIVISION_BY_ZERO, exports["divide"], store, PAGE - 4, 0)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["divide"], store, PAGE - 4, 1)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["divide"], store, PAGE, 0)


def test_a_check_on_one_way_does_not_count_on_another(config: Config) -> None:
    store, exports = instantiate(config, MERGED)
    assert exports["ways"](store, PAGE - 12, 0) == 0
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["ways"], store, PAGE - 12, 1)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["ways"], store, PAGE - 11, 0)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["loop"], store, 0)


# ---- imports, tables, segments ----


@pytest.mark.parametrize(
    ("exported", "imported", "fits"),
    [
        ("i64 1 2", "i64 1", True),
        ("i64 1", "1", False),
        ("1", "i64 1", False),
        ("1 (pagesize 1)", "1", False),
        ("1 2", "1 (pagesize 1)", False),
        ("70000 (pagesize 1)", "65536 (pagesize 1)", True),
        ("i64 1 (pagesize 65536)", "i64 1", True),
    ],
)
def test_memory_import_matching(config: Config, exported: str, imported: str, fits: bool) -> None:
    store, exports = instantiate(config, f'(module (memory (export "m") {exported}))')
    text = f'(module (import "a" "b" (memory {imported})))'
    if fits:
        instantiate(config, text, exports["m"], store=store)
    else:
        with pytest.raises(LinkError, match=r"incompatible import type for `a::b`: expected memory .*found memory"):
            instantiate(config, text, exports["m"], store=store)


def test_memories_and_tables_from_the_host(config: Config) -> None:
    store = Store(Engine(config))
    memory = Memory(store, MemoryType(Limits(1, 1 << 40), is_64=True))
    bytes_ = Memory(store, MemoryType(Limits(10, 20), page_size_log2=0))
    table = Table(store, TableType(ValType.externref(), Limits(3, 1000), is_64=True), "initial")
    assert table.type(store).is_64 and memory.type(store).is_64 and bytes_.page_size(store) == 1
    _, exports = instantiate(
        config,
        """(module (import "" "" (memory i64 1)) (import "" "" (memory $bytes 10 20 (pagesize 1)))
        (import "" "" (table i64 3 externref))
        (func (export "copy") (param i64 i32 i32) (memory.copy 0 $bytes (local.get 0) (local.get 1) (local.get 2)))
        (func (export "back") (param i32 i64 i32) (memory.copy $bytes 0 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "grow") (param i32) (result i32) (memory.grow $bytes (local.get 0)))
        (func (export "get") (param i64) (result externref) (table.get (local.get 0))))""",
        memory,
        bytes_,
        table,
        store=store,
    )
    bytes_.write(store, b"0123456789")
    exports["copy"](store, PAGE - 10, 0, 10)
    assert memory.read(store, -10) == b"0123456789"
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["copy"], store, PAGE - 10, 1, 10)
    assert exports["grow"](store, 5) == 10 and bytes_.data_len(store) == 15
    exports["back"](store, 10, PAGE - 5, 5)
    assert bytes_.read(store) == b"012345678956789"
    assert exports["grow"](store, 6) == -1
    assert exports["get"](store, 2) == "initial"
    for index in (3, 1 << 32, -1):
        traps(TrapCode.TABLE_OUT_OF_BOUNDS, exports["get"], store, index)


def test_segments_of_64_bit_memories(config: Config) -> None:
    store = Store(Engine(config))
    start_of_data = Global(store, GlobalType(ValType.i64(), False), 1000)
    _, exports = instantiate(
        config,
        """(module (import "" "" (global i64)) (memory (export "m") i64 1)
        (data (offset (i64.add (global.get 0) (i64.mul (i64.const 2) (i64.const 50)))) "text"))""",
        start_of_data,
        store=store,
    )
    assert exports["m"].read(store, 1100, 1104) == b"text"
    for start in (PAGE - 3, -1, 1 << 32):
        with pytest.raises(Trap) as caught:
            instantiate(config, f'(module (memory i64 1) (data (i64.const {start}) "text"))')
        assert caught.value.trap_code is TrapCode.MEMORY_OUT_OF_BOUNDS


def test_call_through_a_wide_table(config: Config) -> None:
    store, exports = instantiate(
        config,
        """(module (table i64 2 2 funcref) (elem (i64.const 1) $f) (func $f (result i32) (i32.const 5))
        (func (export "call") (param i64) (result i32) (call_indirect (result i32) (local.get 0))))""",
    )
    assert exports["call"](store, 1) == 5
    traps(TrapCode.INDIRECT_CALL_TO_NULL, exports["call"], store, 0)
    for index in (2, (1 << 32) + 1, -1):
        traps(TrapCode.TABLE_OUT_OF_BOUNDS, exports["call"], store, index)


def test_fuel_for_counts_of_64_bits(config: Config) -> None:
    config.consume_fuel = True
    store, exports = instantiate(
        config,
        """(module (memory i64 1 2) (func (export "f")
          (drop (memory.grow (i64.const -1))) (drop (memory.grow (i64.const 0x7fffffffffffffff)))
          (drop (memory.grow (i64.const -1))) (loop)))""",
    )
    store.set_fuel(10_000)
    traps(TrapCode.OUT_OF_FUEL, exports["f"], store)


# ---- wide arithmetic ----

HALVES = (0, 1, -1, 2, (1 << 63) - 1, -(1 << 63), 0x0123456789ABCDEF, 1 << 32)


def wide(operation: str, operands: tuple[int, ...]) -> list[int]:
    """What the instruction gives, by Python's integers."""
    mask = (1 << 64) - 1
    if operation.startswith("mul"):
        a, b = operands if operation.endswith("s") else (value & mask for value in operands)
        result = a * b
    else:
        a, b = ((low & mask) | (high & mask) << 64 for low, high in (operands[:2], operands[2:]))
        result = a + b if operation == "add128" else a - b
    return [signed(result, 64), signed(result >> 64, 64)]


@pytest.mark.parametrize("operation", ["add128", "sub128", "mul_wide_s", "mul_wide_u"])
def test_wide_arithmetic(config: Config, operation: str) -> None:
    count = 2 if operation.startswith("mul") else 4
    source = random.Random(operation)
    cases = [tuple(source.choice(HALVES) for _ in range(count)) for _ in range(60)]
    cases += [tuple(signed(source.getrandbits(64), 64) for _ in range(count)) for _ in range(40)]
    operands = " ".join(f"(local.get {n})" for n in range(count))
    constants = [
        f'(func (export "{n}") (result i64 i64) (i64.{operation} {" ".join(f"(i64.const {v})" for v in case)}))'
        for n, case in enumerate(cases)
    ]
    same = " ".join("(local.get 0)" for _ in range(count))
    store, exports = instantiate(
        config,
        f"""(module (func (export "f") (param {"i64 " * count}) (result i64 i64) (i64.{operation} {operands}))
        (func (export "same") (param i64) (result i64 i64) (i64.{operation} {same}))
        {" ".join(constants)})""",
    )
    for number, case in enumerate(cases):
        assert exports["f"](store, *case) == wide(operation, case)
        assert exports[str(number)](store) == wide(operation, case)
        assert exports["same"](store, case[0]) == wide(operation, (case[0],) * count)


@pytest.mark.parametrize(
    "body",
    [
        "(i64.mul_wide_u (i64.load (local.get 0)) (i64.const 0)) drop drop",
        "(i64.mul_wide_s (i64.const 0) (i64.load (local.get 0))) drop drop",
        "(i64.add128 (i64.load (local.get 0)) (i64.const 0) (i64.const 0) (i64.const 0)) drop drop",
        "(i64.add128 (i64.const 0) (i64.load (local.get 0)) (i64.const 0) (i64.const 0)) drop drop",
        "(local.set 1 (i64.load (local.get 0)))"
        "(i64.sub128 (local.get 1) (local.get 1) (local.get 1) (local.get 1)) drop drop",
    ],
)
def test_the_traps_of_operands_stay(config: Config, body: str) -> None:
    store, exports = instantiate(config, f'(module (memory 1) (func (export "f") (param i32) (local i64) {body}))')
    exports["f"](store, 0)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["f"], store, PAGE)


# ---- features ----

FEATURES = {
    "memory64": "(module (memory i64 1))",
    "custom_page_sizes": "(module (memory 1 (pagesize 1)))",
    "wide_arithmetic": "(module (func (i64.mul_wide_u (i64.const 1) (i64.const 1)) drop drop))",
    "extended_const": "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
    "multi_memory": "(module (memory 1) (memory 1))",
    "bulk_memory": "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
    "reference_types": "(module (table 1 funcref) (func (drop (table.size))))",
}


@pytest.mark.parametrize("feature", FEATURES)
def test_features_that_are_off_are_named_with_what_turns_them_on(feature: str) -> None:
    on = {f"wasm_{name}": True for name in FEATURES}
    Module(Engine(Config(**on)), FEATURES[feature])
    engine = Engine(Config(**{**on, f"wasm_{feature}": False}))
    option = feature.replace("_", "-")
    with pytest.raises(UnsupportedError, match=rf"feature {feature} is off.*wasm_{feature}; `-W {option}=y`") as caught:
        Module(engine, FEATURES[feature])
    assert caught.value.offset is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(memory i64 0x1000000000001)", r"memory size must be at most 281474976710656 pages \(at offset 0x"),
        ("(memory 65537)", r"at most 65536 pages \(4GiB\)"),
        ("(memory 1 (pagesize 2))", r"invalid custom page size"),
        ("(memory 0x100000000 (pagesize 1))", r"at most 4294967295 pages"),
        ("(table 0x100000000 funcref)", r"table size must be at most 2\^32-1 elements"),
        ("(memory i64 1) (func (drop (i32.load (i32.const 0))))", r"type mismatch: expected i64, found i32.*offset 0x"),
        ("(memory 1) (func (drop (i32.load (i64.const 0))))", r"type mismatch: expected i32, found i64"),
        ("(memory 1) (memory i64 1) (func (drop (i32.load 1 (i32.const 0))))", r"expected i64, found i32"),
        ("(memory i64 1) (func (drop (i32.eqz (memory.size))))", r"expected i32, found i64"),
        ("(table i64 1 funcref) (func (call_indirect (i32.const 0)))", r"expected i64, found i32"),
        ("(memory i64 1) (data (i32.const 0))", r"expected i64, found i32"),
        ("(table i64 1 funcref) (elem (i32.const 0))", r"expected i64, found i32"),
        (
            "(memory 1) (memory i64 1) (func (memory.copy 1 0 (i64.const 0) (i32.const 0) (i64.const 0)))",
            r"expected i32, found i64",
        ),
    ],
)
def test_validation_errors(text: str, message: str) -> None:
    with pytest.raises(WasmError, match=message):
        Module(Engine(Config(wasm_custom_page_sizes=True)), f"(module {text})")


def test_memories_of_both_address_types_in_one_module(config: Config) -> None:
    store, exports = instantiate(
        config,
        """(module (memory $a 1) (memory $b i64 1)
        (func (export "f") (param i32 i64) (result i32)
          (i32.store $a (local.get 0) (i32.const 3))
          (i32.store16 $b offset=4 (local.get 1) (i32.const 4))
          (i32.add (i32.load $a (local.get 0)) (i32.load8_u $b offset=4 (local.get 1)))))""",
    )
    assert exports["f"](store, 0, 0) == 7
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["f"], store, PAGE, 0)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["f"], store, 0, PAGE - 5)
    traps(TrapCode.MEMORY_OUT_OF_BOUNDS, exports["f"], store, 0, -4)
