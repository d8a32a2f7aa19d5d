"""Loops whose accesses are compared with the memory's size: LLVM vectorises them, up to the access that traps."""

from __future__ import annotations

import re
from typing import Any

import pytest

from wasmjit import Config, Engine, Instance, Module, Store, Trap, wat2wasm
from wasmjit.compile import pipeline
from wasmjit.wasm.decode import decode

PAGE_BYTES = 65536
CHECKED = {"signals_based_traps": False}
# With 32-bit addresses, and with addresses of 64 bits, which are compared where there are guard pages, too.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "32 bits": ("i32", CHECKED),
    "64 bits": ("i64", CHECKED),
    "64 bits with guard pages": ("i64", {}),
}
# Bodies of loops over $i, $n times; $a and $b are addresses, A their type. Each may trap at more than one access.
LOOPS = {
    "fill": "(i32.store8 (A.add (local.get $a) (local.get $i)) (i32.const 7))",
    "scale": """(f64.store (A.add (local.get $a) (A.shl (local.get $i) (A.const 3)))
        (f64.mul (f64.const 3) (f64.load (A.add (local.get $a) (A.shl (local.get $i) (A.const 3))))))""",
    "add to": """(i32.store offset=8 (A.add (local.get $a) (A.shl (local.get $i) (A.const 2)))
        (i32.add (i32.load offset=4 (A.add (local.get $b) (A.shl (local.get $i) (A.const 2))))
          (i32.load offset=8 (A.add (local.get $a) (A.shl (local.get $i) (A.const 2))))))""",
    "sum": """(local.set $sum (i32.add (local.get $sum)
        (i32.load16_u (A.add (local.get $a) (A.shl (local.get $i) (A.const 1))))))""",
    "every third": """(i32.store16 (A.add (local.get $a) (A.mul (local.get $i) (A.const 6)))
        (i32.load16_u (A.add (local.get $b) (A.mul (local.get $i) (A.const 2)))))""",
    "stepped addresses": """(i32.store (local.get $a) (i32.add (i32.load (local.get $b)) (i32.const 1)))
        (local.set $a (A.add (local.get $a) (A.const 4))) (local.set $b (A.add (local.get $b) (A.const 4)))""",
    "downwards": """(i32.store (A.sub (local.get $a) (A.shl (local.get $i) (A.const 2)))
        (i32.load (A.sub (local.get $b) (A.shl (local.get $i) (A.const 2)))))""",
    "two memories": """(i32.store $other (A.add (local.get $a) (A.shl (local.get $i) (A.const 2)))
        (i32.load (A.add (local.get $b) (A.shl (local.get $i) (A.const 2)))))""",
    "a place and a row": """(i32.store offset=4 (local.get $b) (i32.add (i32.load offset=4 (local.get $b))
        (i32.load (A.add (local.get $a) (A.shl (local.get $i) (A.const 2))))))""",
    "growing": """(if (i32.eq (i32.and (local.get $count) (i32.const 63)) (i32.const 17))
        (then (drop (memory.grow (A.const 1)))))
        (i32.store (A.add (local.get $a) (A.shl (local.get $i) (A.const 2))) (local.get $count))""",
}


def module_of(index: str) -> str:
    functions = "".join(
        f"""(func (export "{name}") (param $a {index}) (param $b {index}) (param $n i32) (result i32)
          (local $i {index}) (local $count i32) (local $sum i32)
          (loop $l {body.replace("A.", f"{index}.")}
            (local.set $i ({index}.add (local.get $i) ({index}.const 1)))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $l (i32.ne (local.get $count) (local.get $n))))
          (local.get $sum))"""
        for name, body in LOOPS.items()
    )
    kind = "i64" if index == "i64" else ""
    return (
        f'(module (memory (export "m") {kind} 1 3) (memory $other (export "o") {kind} 1 1)'
        f' (data (i32.const 0) "{"abcdefghijklmnop" * 32}") {functions})'
    ).replace("(data (i32.const 0)", f"(data ({index}.const 0)")


def calls_of(index: str) -> list[tuple[int, int, int]]:
    """Addresses around the end of memory, and around the end of the numbers."""
    end = PAGE_BYTES
    calls = [(256, 1024, 200), (8192, 64, 1)]
    for reach in (1, 4, 61, 64, 255, 600):
        calls += [(end - reach, 64, 70), (64, end - reach, 70), (end - reach, end - reach - 5, 300)]
    calls += [(-reach, 64, 90) for reach in (1, 64, 100)]
    calls += [(300, -200, 100), (200, 300, 100), (end - 700, end - 100, 70), (end - 4, 400, 300)]
    mask = (1 << (64 if index == "i64" else 32)) - 1
    return [(a & mask, b & mask, count) for a, b, count in calls]


def outcomes(index: str, tier: str, options: dict[str, Any]) -> list[Any]:
    """What each call gives, or which access traps, and what is in memory then."""
    engine = Engine(Config(tier=tier, **options))
    module = Module(engine, module_of(index))
    found: list[Any] = []
    for name in LOOPS:
        for arguments in calls_of(index):
            store = Store(engine)
            exports = Instance(store, module, []).exports(store)
            end: Any
            try:
                end = exports[name](store, *arguments)
            except Trap as trap:
                end = (trap.trap_code, trap.frames[0].module_offset)
            memories = [exports[memory].read(store) for memory in "mo"]
            found.append((name, arguments, end, [hash(bytes(content)) for content in memories]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_happened_before_a_check_fails_is_there_and_nothing_else(kind: str, interpreted: None) -> None:
    index, options = KINDS[kind]
    expected = outcomes(index, "auto", options)
    is_exact = not kind.endswith("guard pages")  # there it is the access that traps, beyond a check
    for theirs, ours in zip(expected, outcomes(index, "optimized", options), strict=True):
        if is_exact or isinstance(theirs[2], int):
            assert ours == theirs
        else:
            assert ours[2][0] == theirs[2][0]
    assert sum(not isinstance(end, int) for _, _, end, _ in expected) > 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["fill", "scale", "add to", "sum", "stepped addresses", "two memories"])
def test_loops_with_checks_vectorise(name: str, kind: str) -> None:
    """Without a bound of the memory's size LLVM does not know how often a loop goes on until a check fails."""
    index, options = KINDS[kind]
    config = Config(target="x86_64-unknown-linux-gnu", cpu="x86-64-v3", **options)
    text = pipeline.render(decode(bytes(wat2wasm(module_of(index)))), config, "optimised")
    function = text.split("define ")[1 + list(LOOPS).index(name)]
    assert re.search(r"(?:load|store) (?:volatile )?<\d+ x (?:i\d+|double)>|store <", function)


def test_llvm_is_told_no_more_of_the_size_than_what_holds() -> None:
    """It leaves out the check of what lies in the smallest memory of the type; here nothing would fault without one."""
    text = """(module (memory (export "m") 100 (pagesize 1)) (func (export "f") (param i32)
        (i32.store8 offset=90 (i32.and (local.get 0) (i32.const 15)) (i32.const 7))))"""
    store = Store(Engine(Config(tier="optimized", wasm_custom_page_sizes=True, **CHECKED)))
    exports = Instance(store, Module(store.engine, text), []).exports(store)
    exports["f"](store, 9)
    with pytest.raises(Trap):
        exports["f"](store, 10)


def test_a_memory_that_no_machine_has_room_for_compiles() -> None:
    text = f"""(module (memory i64 {1 << 48}) (func (export "f") (param i64) (result i64)
        (i64.add (i64.load (local.get 0)) (memory.size))))"""
    Module(Engine(Config(tier="optimized", verify_ir=True)), text)
