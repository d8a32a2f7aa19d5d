"""Loops over `k[i & 3]` and its kin: LLVM takes the index for one that does not wrap (compile/narrow.py)."""

from __future__ import annotations

import itertools

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap
from wasmjit.compile import llvm, narrow

TIERS = ("optimized", "checked", "baseline", "auto")
# The index that an i32 $i becomes, and the same in Python.
INDICES = {
    "and 3": ("(i32.and (local.get $i) (i32.const 3))", lambda i: i & 3),
    "rem 8": ("(i32.rem_u (local.get $i) (i32.const 8))", lambda i: i % 8),
    "signed rem 8": ("(i32.rem_s (local.get $i) (i32.const 8))", lambda i: i % 8),
    "plus 5": ("(i32.and (i32.add (local.get $i) (i32.const 5)) (i32.const 63))", lambda i: (i + 5) & 63),
    "times 3": ("(i32.and (i32.mul (local.get $i) (i32.const 3)) (i32.const 7))", lambda i: i * 3 & 7),
    "shifts": ("(i32.shr_u (i32.shl (local.get $i) (i32.const 29)) (i32.const 29))", lambda i: i & 7),
    "upper bits": ("(i32.and (local.get $i) (i32.const 12))", lambda i: i & 12),
    "byte": ("(i32.and (local.get $i) (i32.const 255))", lambda i: i & 255),
    "wide": ("(i32.wrap_i64 (i64.and (i64.extend_i32_u (local.get $i)) (i64.const 7)))", lambda i: i & 7),
    "local": (
        "(local.get $j) (local.set $j (i32.and (i32.add (local.get $j) (i32.const 1)) (i32.const 7)))",
        lambda i: i & 7,
    ),
    # What LLVM makes a mask of, or finds to be one.
    "the constant first": ("(i32.and (i32.const 3) (local.get $i))", lambda i: i & 3),
    "constant in a local": ("(i32.and (local.get $i) (local.get $three))", lambda i: i & 3),
    "divisor in a local": (
        "(i32.rem_u (local.get $i) (i32.add (local.get $three) (i32.const 1)))",
        lambda i: i % 4,
    ),
    "shifts by a local": (
        "(i32.shr_u (i32.shl (local.get $i) (local.get $thirty)) (local.get $thirty))",
        lambda i: i & 3,
    ),
    "shifts through a local": (
        "(local.set $a (i32.shl (local.get $i) (i32.const 30))) (i32.shr_u (local.get $a) (i32.const 30))",
        lambda i: i & 3,
    ),
    "product and shift": (
        "(i32.shr_u (i32.mul (local.get $i) (i32.const 0x40000000)) (i32.const 30))",
        lambda i: i & 3,
    ),
    "rotated": ("(i32.and (i32.rotl (local.get $i) (i32.const 0)) (i32.const 3))", lambda i: i & 3),
    "rotated by two": ("(i32.and (i32.rotl (local.get $i) (i32.const 2)) (i32.const 12))", lambda i: i << 2 & 12),
    "ones removed": ("(i32.xor (i32.or (local.get $i) (i32.const -4)) (i32.const -4))", lambda i: i & 3),
    "ones subtracted": ("(i32.add (i32.or (local.get $i) (i32.const -4)) (i32.const 4))", lambda i: i & 3),
    "difference": ("(i32.sub (local.get $i) (i32.and (local.get $i) (i32.const -4)))", lambda i: i & 3),
    "exclusive or": ("(i32.xor (local.get $i) (i32.and (local.get $i) (i32.const -4)))", lambda i: i & 3),
    "shifts subtracted": (
        "(i32.sub (local.get $i) (i32.shl (i32.shr_u (local.get $i) (i32.const 2)) (i32.const 2)))",
        lambda i: i & 3,
    ),
    "quotient subtracted": (
        "(i32.sub (local.get $i) (i32.mul (i32.div_u (local.get $i) (i32.const 4)) (i32.const 4)))",
        lambda i: i & 3,
    ),
    "lowest bit as a condition": (
        "(i32.lt_s (i32.shl (local.get $i) (i32.const 31)) (i32.const 0))",
        lambda i: i & 1,
    ),
    "step that is a product": (
        "(i32.and (local.get $j) (i32.const 3))"
        " (local.set $j (i32.add (local.get $j) (i32.mul (local.get $three) (local.get $three))))",
        lambda i: 9 * i & 3,
    ),
    "shifts of a half": (
        "(i32.and (i32.extend8_s (i32.shl (local.get $i) (i32.const 5))) (i32.const 127))",
        lambda i: (i << 5) & 127,
    ),
    "byte in memory": (
        "(i32.store8 (i32.const 16) (local.get $i)) (i32.load8_u (i32.const 16))",
        lambda i: i & 255,
    ),
    "half in memory": (
        "(i32.store (i32.const 16) (local.get $i)) (i32.and (i32.load16_u (i32.const 16)) (i32.const 15))",
        lambda i: i & 15,
    ),
}
WIDTHS = {"i32": (("8_u", 1), ("16_u", 2), ("", 4)), "i64": (("8_u", 1), ("16_u", 2), ("32_u", 4), ("", 8))}
TABLE, RESULT, COUNT = 1024, 8192, 300


def functions(name: str) -> tuple[str, dict[str, bytes]]:
    """Loops `b[i] = k[index]` and `b[index] += k[i]`, and what the memory behind `RESULT` is afterwards.

    Places are sums with a parameter: only if it has to check that these do not wrap does LLVM forget it for the index.
    """
    index, function = INDICES[name]
    if "(i32.store" in index or "(local.set" in index:
        index = f"(block (result i32) {index})"
    texts, expected = [], {}
    table = bytes(range(1, 256)) * 16
    for type, widths in WIDTHS.items():
        for (suffix, size), kind in itertools.product(widths, ("load", "store")):
            load, store = f"{type}.load{suffix}", f"{type}.store{suffix.removesuffix('_u')}"
            address, place = (scaled(text, size) for text in (index, "(local.get $i)"))
            place = f"(i32.add (local.get $at) {place})"
            if kind == "load":
                body = f"({store} {place} ({load} offset={TABLE} {address}))"
                parts = [table[function(i) * size :][:size] for i in range(COUNT)]
            else:
                body = f"(local.set $a {address}) ({store} offset={RESULT} (local.get $a) "
                body += f"({type}.add ({load} offset={RESULT} (local.get $a)) ({load} {place})))"
                sums = [0] * COUNT
                for i in range(COUNT):
                    value = int.from_bytes(table[i * size :][:size], "little")
                    sums[function(i)] = (sums[function(i)] + value) & ((1 << 8 * size) - 1)
                parts = [value.to_bytes(size, "little") for value in sums]
            expected[f"{kind} {load}"] = b"".join(parts)
            texts.append(
                f'(func (export "{kind} {load}") (param $n i32) (param $at i32)'
                "(local $i i32) (local $j i32) (local $a i32) (local $three i32) (local $thirty i32)"
                "(local.set $three (i32.const 3)) (local.set $thirty (i32.const 30))"
                f"(loop $l {body}"
                "(br_if $l (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))"
            )
    data = "".join(f"\\{byte:02x}" for byte in table)
    return f'(module (memory (export "memory") 1) (data (i32.const {TABLE}) "{data}") {" ".join(texts)})', expected


def scaled(index: str, size: int) -> str:
    """The offset of an element."""
    return f"(i32.shl {index} (i32.const {size.bit_length() - 1}))" if size > 1 else index


def engine_of(tier: str) -> Engine:
    """Of code of a tier; `checked` is optimised, with checks."""
    return Engine(Config(tier="optimized", signals_based_traps=False) if tier == "checked" else Config(tier=tier))


@pytest.mark.part(6)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", INDICES)
def test_masked_indices(name: str, tier: str) -> None:
    text, expected = functions(name)
    store = Store(engine_of(tier))
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    memory = exports["memory"]
    for export, wanted in expected.items():
        memory.write(store, bytes(COUNT * 8 + 64), RESULT)
        exports[export](store, COUNT, RESULT if export.startswith("load") else TABLE)
        found = bytes(memory.read(store, RESULT, RESULT + COUNT * 8 + 64))
        assert found == wanted + bytes(len(found) - len(wanted)), export


@pytest.mark.parametrize("tier", TIERS)
def test_the_case_of_the_report(tier: str) -> None:
    text = """(module (memory 1) (data (i32.const 1024) "ABCDEFGHIJKLMNOP")
      (func (export "f") (param $n i32) (result i32) (local $i i32)
        (loop $l
          (i32.store8 (i32.add (local.get $i) (i32.const 2048))
            (i32.load8_u offset=1024 (i32.and (local.get $i) (i32.const 3))))
          (br_if $l (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
        (i32.load (i32.const 2052))))"""
    store = Store(engine_of(tier))
    f = Instance(store, Module(store.engine, text), []).exports(store)["f"]
    assert f(store, 64).to_bytes(4, "little") == b"ABCD"


def test_the_probe_finds_the_fault_of_this_llvm() -> None:
    """If this fails, LLVM was mended: nothing is hidden from later ones, and `narrow` can go one day."""
    assert llvm.has_narrow_fault()


def test_a_known_llvm_is_not_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took a fifth of the processor time from the start of a worker to its first code."""
    tried: list[bool] = []
    monkeypatch.setattr(llvm, "has_narrow_fault", lambda: bool(tried.append(True)))
    assert llvm.takes_narrow_inductions_for_wide()
    assert not tried
    monkeypatch.setattr(llvm.llvm, "llvm_version_info", (99, 0, 0))
    assert not llvm.takes_narrow_inductions_for_wide()
    assert tried


HEAD = "define void @f(ptr %vmctx) {\nentry:\n  %l0 = alloca i32\n  %l1 = alloca i32\n  br label %start\nstart:\nb1:\n"
TAIL = "  br i1 %c, label %b1, label %n2\nn2:\n  ret void\n}\n"
STEP = "  %v1 = load i32, ptr %l0\n  %v2 = add i32 %v1, 1\n  store i32 %v2, ptr %l0\n"
ADDRESS = "  %a = zext i32 {0} to i64\n  %p = getelementptr i8, ptr %base0, i64 %a\n"


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        (f"{STEP}  %v3 = and i32 %v1, 7\n{ADDRESS.format('%v3')}", True),
        (f"{STEP}  %v3 = urem i32 %v1, 8\n{ADDRESS.format('%v3')}", True),
        (f"{STEP}  %v3 = urem i32 %v1, 10\n{ADDRESS.format('%v3')}", False),
        (f"{STEP}  %v3 = and i32 %v1, 7\n  store i32 %v3, ptr %l1\n", True),
        (f"{STEP}  %v3 = and i32 7, %v1\n{ADDRESS.format('%v3')}", True),
        # Narrower only where it is subtracted.
        (f"{STEP}  %v3 = and i32 %v1, -8\n{ADDRESS.format('%v3')}", False),
        (f"{STEP}  %v3 = and i32 %v1, -8\n  %v4 = sub i32 %v1, %v3\n{ADDRESS.format('%v4')}", True),
        # A number that is stored, or shifted by, is no induction to LLVM.
        (f"{STEP}{ADDRESS.format('%v2')}  %v3 = and i32 %v1, 7\n  store i32 %v3, ptr %p\n", False),
        (f"{STEP}  %v3 = and i32 %v1, 7\n  %v4 = shl i32 1, %v3\n{ADDRESS.format('%v4')}", False),
        # Nor is an element of an array.
        (
            f"{STEP}{ADDRESS.format('%v2')}  %x = load i32, ptr %p\n  %v3 = and i32 %x, 7\n  store i32 %v3, ptr %l1\n",
            False,
        ),
        # Not stepped.
        ("  %v1 = load i32, ptr %l0\n  %v3 = and i32 %v1, 7\n" + ADDRESS.format("%v3"), False),
        # A local that is stepped, but was given something else before its mask.
        (
            f"{STEP}{ADDRESS.format('%v2')}  %x = load i32, ptr %p\n  store i32 %x, ptr %l1\n"
            "  %x2 = load i32, ptr %l1\n  %v3 = and i32 %x2, 7\n  %b = zext i32 %v3 to i64\n"
            "  %q = getelementptr i8, ptr %base0, i64 %b\n"
            "  store i32 %v2, ptr %l1\n  %v4 = load i32, ptr %l1\n  %v5 = add i32 %v4, 1\n  store i32 %v5, ptr %l1\n",
            False,
        ),
        # Through another local.
        (
            f"{STEP}  %v5 = mul i32 %v2, 3\n  store i32 %v5, ptr %l1\n  %v6 = load i32, ptr %l1\n"
            f"  %v3 = and i32 %v6, 7\n{ADDRESS.format('%v3')}",
            True,
        ),
    ],
)
def test_what_is_hidden(body: str, hidden: bool) -> None:
    text = f"{HEAD}{body}{TAIL}"
    assert ("asm" in narrow.hide(text)) == hidden


@pytest.mark.parametrize("step", [7, 3, 12])
def test_a_trip_count_of_128_bits(step: int) -> None:
    """LLVM divided 128 bits for such a loop: a call of __udivti3, which was refused as an undefined symbol."""
    text = f"""(module (memory i64 1 1) (func (export "f") (local i64)
      (loop $l
        (i64.store (i64.add (i64.const 1) (local.get 0)) (i64.const 0))
        (local.set 0 (i64.add (local.get 0) (i64.const {step})))
        (br $l))))"""
    store = Store(Engine(Config(tier="optimized")))
    f = Instance(store, Module(store.engine, text), []).exports(store)["f"]
    with pytest.raises(Trap, match="out of bounds memory access"):
        f(store)
