"""Random loops over linear memory, for `tests.fuzz.loops`, which says what they are made of.

The same seed gives the same functions and arguments. Nothing here keeps a loop from running long or for ever; whoever
runs them counts fuel. No NaN's bits reach memory or a result, which would be free to differ: what is computed of floats
passes `_Maker.canonical` (tame functions: see `Style`).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .loops_tree import (
    GLOBALS,
    PAGE_BYTES,
    PARAMS,
    Function,
    MemoryShape,
    Node,
    const,
    get,
    op,
    put,
    type_of,
    walk,
)

MASKS = (3, 7, 15, 31, 63, 127, 255, 1, 3, 7, 15, 63, 5, 6, 12, 0x1F0, -2, -4, 0xFFFF, 0x7FFFFFFF, 0)
MODULI = (8, 16, 64, 3, 10, 7, 256, 4, 1, 100, 1 << 31)
COUNTS = (64, 100, 16, 32, 17, 255, 256, 300, 1, 2, 3, 7, 8, 1000, 33, 65, 129)
STARTS = (1, 5, -1, -16, 255, 65530, 0x7FFFFFF0, -(1 << 31), -3, 16)
CONSTANTS = (1, -1, 2, 3, 7, 8, 31, 100, 127, 128, 255, -128, 1000, 0x5555, 0xFFFF, 1 << 31, 0x01010101, 0x7FFFFFFF)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1.5, -0.0, 3.0, 100.0, 1e10, -1e-3)
BITWISE = "add add add sub sub mul and or xor xor shl shr_u shr_s rotl rotr".split()
COMPARISONS = {"i": "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u".split(), "f": "eq ne lt gt le ge".split()}
LOADS = {
    1: ("i32.load8_u", "i32.load8_s", "i64.load8_u", "i64.load8_s"),
    2: ("i32.load16_u", "i32.load16_s", "i64.load16_u", "i64.load16_s"),
    4: ("i32.load", "i32.load", "i64.load32_u", "i64.load32_s", "f32.load"),
    8: ("i64.load", "i64.load", "f64.load"),
}
STORES = {
    1: ("i32.store8", "i32.store8", "i64.store8"),
    2: ("i32.store16", "i32.store16", "i64.store16"),
    4: ("i32.store", "i32.store", "i64.store32", "f32.store"),
    8: ("i64.store", "i64.store", "f64.store"),
}


class Style(NamedTuple):
    """What a function is of. `tame`: f32 or f64, the one type of all its accesses, to memory of small numbers in which
    no operation of it makes a NaN, so that its floating-point operations stand alone, as in compiled programs. `plain`:
    one loop, short statements, few branches, as optimisers like it."""

    depth: int
    tame: str = ""
    plain: bool = False


class Array(NamedTuple):
    """Where accesses begin: a base of the index's type or none, a constant offset; and the elements' size in bytes."""

    base: Node | None
    offset: int
    width: int


class Loop(NamedTuple):
    """A loop that statements are being made for: what they may index by and leave for."""

    counter: str
    exit: str
    next: str


class _Maker:
    def __init__(self, source: random.Random, memory: MemoryShape, style: Style) -> None:
        self.random = source
        self.memory = memory
        self.style = style
        self.locals: dict[str, str] = {}
        self.types = dict(PARAMS)
        self.loops: list[Loop] = []
        self.indices: list[str] = []  # locals that change from iteration to iteration
        self.pointers: list[tuple[str, int]] = []  # with the width of what they walk over
        self.accumulators: list[str] = []
        self.labels = 0
        widths = (1, 1, 2, 4, 4, 8)
        own = {"f32": (4,), "f64": (8,)}.get(style.tame, widths)
        self.places = source.sample((256, 1024, 2048, 4096, 8192, 16384, 30000), 7)
        counts = (2, 2, 3) if style.plain else (1, 2, 2, 3)
        self.arrays = [self.array(source.choice(own)) for _ in range(source.choice(counts))]

    # ---- parts of everything ----

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def local(self, valtype: str, prefix: str = "t") -> str:
        name = f"{prefix}{len(self.locals)}"
        self.locals[name] = self.types[name] = valtype
        return name

    def label(self, prefix: str) -> str:
        self.labels += 1
        return f"{prefix}{self.labels}"

    def array(self, width: int) -> Array:
        end = self.memory.pages * PAGE_BYTES
        choice = self.random.random()
        if self.style.plain and self.chance(0.6):  # static arrays
            return Array(None, self.places.pop(), width)
        if choice < 0.65:
            return Array(get(self.random.choice("ab")), self.random.choice((0, 0, 0, width, 64, 1024)), width)
        if choice < 0.7:
            return Array(op("i32.add", get("a"), get("b")), 0, width)
        offset = self.random.choice((0, 256, 1024, 4096, 4096, 32768, end - 512, end - 64 * width, end - width))
        return Array(None, offset // 8 * 8 if self.style.tame else offset, width)

    def converted(self, node: Node, valtype: str) -> Node:
        """An integer as another integer type."""
        have = self.type(node)
        if have == valtype:
            return node
        if valtype == "i32":
            return op("i32.wrap_i64", node)
        return op("i64.extend_i32_s" if self.chance(0.3) else "i64.extend_i32_u", node)

    def type(self, node: Node) -> str:
        return type_of(node, self.types)

    def number(self, valtype: str) -> Node:
        if valtype[0] == "f":
            return Node(f"{valtype}.const", (self.random.choice(FLOATS),))
        return const(valtype, self.random.choice(CONSTANTS))

    def canonical(self, value: Node) -> Node:
        """A float that is no NaN."""
        valtype = self.type(value)
        held = self.local(valtype)
        condition = op(f"{valtype}.eq", get(held), get(held))
        return Node("select", (), (Node("local.tee", (held,), (value,)), Node(f"{valtype}.const", (0.0,)), condition))

    # ---- indices and addresses ----

    def index(self) -> Node:
        """An element's number, of either integer type."""
        if not self.indices:
            return const("i32", self.random.choice((0, 1, 5)))
        name = self.indices[-1] if self.chance(0.7) else self.random.choice(self.indices)
        i = get(name)
        valtype = self.types[name]
        choose = self.random.choice

        def two(instruction: str, left: Node, right: Node | int) -> Node:
            return op(f"{valtype}.{instruction}", left, const(valtype, right) if isinstance(right, int) else right)

        choice = self.random.random()
        if choice < (0.4 if self.style.plain else 0.3):
            return i
        if choice < (0.44 if self.style.plain else 0.5):
            return self.affine(i, two)
        if choice < 0.75:
            mask = choose(MASKS[:5] if self.style.plain and self.chance(0.6) else MASKS)
            inner = choose((i, i, i, two("add", i, choose((1, 5, -1, 63))), two("mul", i, 3), two("shr_u", i, 1)))
            inner = choose((inner, inner, inner, two("sub", const(valtype, 7), i), two("xor", i, 5), two("shl", i, 1)))
            masked = two("and", inner, mask)
            return choose((masked, masked, masked, two("add", masked, choose((1, 8, -1))), two("or", masked, 4)))
        if choice < 0.85:
            modulus: Node | int = choose(MODULI) if self.chance(0.85) else self.converted(get("m"), valtype)
            inner = choose((i, i, i, two("add", i, choose((1, 5))), two("mul", i, 3)))
            return two(choose(("rem_u", "rem_u", "rem_s", "div_u")), inner, modulus)
        if choice < 0.93:
            if valtype == "i64" and self.chance(0.3):
                return op("i64.extend32_s", two("add", i, choose((0, 1, -1))))
            inner = choose((i, two("add", i, choose((1, 3, -1, 120))), two("shl", i, 1)))
            return choose(
                (op(f"{valtype}.extend8_s", inner), op(f"{valtype}.extend16_s", inner), two("and", inner, 255))
            )
        table = choose(self.arrays)  # indirect
        loaded = self.load(choose((1, 1, 2, 4)), "i32", table) if not self.style.tame else two("and", i, 7)
        if self.type(loaded) != "i32":
            return loaded
        return op("i32.and", loaded, const("i32", choose((3, 15, 63, 255, 1023)))) if self.chance(0.8) else loaded

    def affine(self, i: Node, two: Callable[[str, Node, Node | int], Node]) -> Node:
        valtype = self.type(i)
        choose = self.random.choice
        other = self.converted(get(choose(self.indices)), valtype)
        return choose(
            (
                two("add", i, choose((1, 2, 3, 4, -1, 16, -4, 64))),
                two("add", i, choose((1, 2, -1))),
                two("sub", const(valtype, choose((63, 64, 255, 0, 1000))), i),
                two("sub", self.converted(get("n"), valtype), i),
                two("add", two("mul", i, choose((2, 3, 4, 5, 8))), choose((0, 1, 3))),
                two("add", two("shl", i, choose((1, 2))), choose((0, 1))),
                two("mul", i, self.converted(get("m"), valtype)),
                two("add", i, self.converted(get("m"), valtype)),
                two("add", i, other),
                two("add", two("shl", other, choose((3, 4, 5))), i),
                two("add", two("mul", other, self.converted(get("n"), valtype)), i),
                two("shr_u", i, choose((1, 2, 3))),
            )
        )

    def address(self, array: Array, is_stored: bool = False) -> tuple[Node, int]:
        """An address in it, and a constant offset."""
        address_type = "i64" if self.memory.is_64 else "i32"
        walkers = [name for name, width in self.pointers if width == array.width]
        if walkers and self.chance(0.6):
            step = array.width * self.random.choice((0, 0, 0, 1, 2, 3))
            return self.converted(get(self.random.choice(walkers)), address_type), step
        if is_stored and self.style.plain and self.indices and self.chance(0.7):
            index = get(self.indices[0])
        else:
            index = self.index()
        valtype = self.type(index)
        if array.width > 1:
            shift = array.width.bit_length() - 1
            index = (
                op(f"{valtype}.shl", index, const(valtype, shift))
                if self.chance(0.85)
                else op(f"{valtype}.mul", index, const(valtype, array.width))
            )
        if array.base is None:
            return self.converted(index, address_type), array.offset
        if self.chance(0.5) and valtype != address_type:
            index = self.converted(index, address_type)
            valtype = address_type
        base = self.converted(array.base, valtype)
        pair = (base, index) if self.chance(0.5) else (index, base)
        return self.converted(op(f"{valtype}.add", *pair), address_type), array.offset

    def access(self, instruction: str, width: int, place: tuple[Node, int], *values: Node) -> Node:
        natural = width.bit_length() - 1
        align = natural if self.chance(0.7) else self.random.randint(0, natural)
        return Node(instruction, (place[1], align), (place[0], *values))

    def load(self, width: int, valtype: str, array: Array | None = None) -> Node:
        """A load of a type, if that has one of the width."""
        array = array or self.random.choice(self.arrays[self.style.plain and self.chance(0.85) :])
        if array.width != width and (self.style.tame or self.chance(0.9)):
            width = array.width
        fitting = [name for name in LOADS[width] if name.startswith(valtype)]
        if not fitting:
            width = 4 if valtype in ("i32", "f32") else 8
            fitting = [name for name in LOADS[width] if name.startswith(valtype)]
        return self.access(self.random.choice(fitting), width, self.address(array))

    # ---- values ----

    def value(self, valtype: str, depth: int) -> Node:
        """An expression of a type."""
        if depth <= 0 or self.chance(0.25) or (self.style.plain and self.chance(0.4)):
            return self.leaf(valtype)
        return self.float_value(valtype, depth) if valtype[0] == "f" else self.integer_value(valtype, depth)

    def leaf(self, valtype: str) -> Node:
        choice = self.random.random()
        if choice < 0.7 and (not self.style.tame or valtype == self.style.tame):
            return self.load(self.random.choice((1, 1, 2, 4, 8)), valtype)
        if choice < 0.8:
            return self.number(valtype)
        if valtype[0] == "f":
            if self.style.tame:
                return self.number(valtype)
            return get("x") if valtype == "f64" else op("f32.demote_f64", get("x"))
        if choice < 0.94 and self.indices:
            return self.converted(get(self.random.choice(self.indices)), valtype)
        return self.converted(get(self.random.choice("mnsb")), valtype)

    def integer_value(self, valtype: str, depth: int) -> Node:
        choose = self.random.choice
        choice = self.random.random()
        left = self.value(valtype, depth - 1)
        if choice < 0.6:
            instruction = choose(BITWISE)
            right = self.number(valtype) if self.chance(0.35) else self.value(valtype, depth - 1)
            if instruction[:2] in ("sh", "ro") and self.chance(0.7):
                right = const(valtype, choose((1, 3, 4, 8, 16, 24, 31, 32)))
            return op(f"{valtype}.{instruction}", left, right)
        if choice < 0.7:
            kind = "and" if self.style.tame else choose(("select", "min", "select", "flag"))
            if kind == "min":
                return self.extreme(valtype, left, self.value(valtype, depth - 1))
            if kind == "flag":
                return self.converted(self.condition(), valtype)
            return Node("select", (), (left, self.value(valtype, depth - 1), self.condition()))
        if choice < 0.8:
            other = "i64" if valtype == "i32" else "i32"
            return self.converted(self.value(other, depth - 1), valtype)
        if choice < 0.85:
            return op(f"{valtype}.{choose(('clz', 'ctz', 'popcnt'))}", left)
        if choice < 0.92:
            return op(f"{valtype}.{choose(('extend8_s', 'extend16_s'))}", left)
        if choice < 0.95:
            divisor = const(valtype, choose((3, 7, 10, 16, 255, 1000)))
            return op(f"{valtype}.{choose(('div_u', 'rem_u', 'div_s', 'rem_s'))}", left, divisor)
        if self.style.tame:
            return left
        floating = choose(("f32", "f64"))
        return op(f"{valtype}.trunc_sat_{floating}_{choose('su')}", self.value(floating, depth - 1))

    def extreme(self, valtype: str, left: Node, right: Node) -> Node:
        """The lesser or greater of two."""
        one, two = self.local(valtype), self.local(valtype)
        compare = self.random.choice(("lt_s", "lt_u", "gt_s", "gt_u") if valtype[0] == "i" else ("lt", "gt"))
        return Node(
            "select",
            (),
            (
                Node("local.tee", (one,), (left,)),
                Node("local.tee", (two,), (right,)),
                op(f"{valtype}.{compare}", get(one), get(two)),
            ),
        )

    def float_value(self, valtype: str, depth: int) -> Node:
        choose = self.random.choice
        left = self.value(valtype, depth - 1)
        choice = self.random.random()
        if choice < 0.6:
            # copysign would show the sign of a NaN
            names = "add add sub mul min max copysign" if self.style.tame else "add add sub mul mul min max div"
            return op(f"{valtype}.{choose(names.split())}", left, self.value(valtype, depth - 1))
        if choice < 0.7:
            names = "neg abs floor ceil nearest" if self.style.tame else "neg abs sqrt floor ceil trunc nearest"
            return op(f"{valtype}.{choose(names.split())}", left)
        if choice < 0.8:
            return self.extreme(valtype, left, self.value(valtype, depth - 1))
        if choice < 0.87:
            return Node("select", (), (left, self.value(valtype, depth - 1), self.condition()))
        if self.style.tame:
            return left
        if choice < 0.93:
            if valtype == "f32":
                return op("f32.demote_f64", self.value("f64", depth - 1))
            return op("f64.promote_f32", self.value("f32", depth - 1))
        integer = choose(("i32", "i64"))
        return op(f"{valtype}.convert_{integer}_{choose('su')}", self.value(integer, depth - 1))

    def condition(self) -> Node:
        """An i32 that is zero or not."""
        if self.style.tame:
            valtype = self.style.tame
        else:
            valtype = self.random.choice(("i32", "i32", "i32", "i64", "f32", "f64"))
        if valtype == "i32" and self.chance(0.15):
            return op("i32.and", self.value("i32", 1), const("i32", self.random.choice((1, 4, 128))))
        compare = self.random.choice(COMPARISONS[valtype[0]])
        right = self.number(valtype) if self.chance(0.6) else self.value(valtype, 1)
        return op(f"{valtype}.{compare}", self.value(valtype, 1), right)

    # ---- statements ----

    def storable(self, valtype: str, depth: int) -> Node:
        """A value whose bits are determined."""
        value = self.value(valtype, depth)
        if valtype[0] == "f" and not self.style.tame and ".load" not in value.op and ".const" not in value.op:
            return self.canonical(value)
        return value

    def store(self) -> list[Node]:
        array = self.arrays[0] if self.style.plain and self.chance(0.85) else self.random.choice(self.arrays)
        width = array.width
        if not self.style.tame and self.chance(0.06):
            width = self.random.choice((1, 2, 4, 8))
        instruction = self.random.choice(STORES[width])
        if self.style.tame:
            instruction = f"{self.style.tame}.store"
        valtype = instruction[:3]
        place = self.address(array, is_stored=True)
        depth = self.random.choice((0, 1, 1, 2, 3))
        if self.chance(0.25):  # b[i] op= ...
            names = [n for n in LOADS[width] if n.startswith(valtype)]
            old = self.access(self.random.choice(names), width, place)
            instruction_name = self.random.choice(BITWISE[:11]) if valtype[0] == "i" else "add"
            value = op(f"{valtype}.{instruction_name}", old, self.value(valtype, depth))
            if valtype[0] == "f" and not self.style.tame:
                value = self.canonical(value)
            if self.chance(0.3):
                value = Node("select", (), (value, old, self.condition()))
        else:
            value = self.storable(valtype, depth)
        return [self.access(instruction, width, place, value)]

    def accumulate(self) -> list[Node]:
        name = self.random.choice(self.accumulators)
        valtype = self.types[name]
        value = self.value(valtype, self.random.choice((0, 1, 1, 2)))
        old = get(name)
        if self.chance(0.2):
            new = self.extreme(valtype, old, value)
        elif valtype[0] == "f":
            new = op(f"{valtype}.{self.random.choice(('add', 'add', 'sub', 'mul', 'min', 'max'))}", old, value)
        else:
            names = "add add add add sub xor or and mul rotl".split()
            new = op(f"{valtype}.{self.random.choice(names)}", old, value)
        if self.chance(0.2):
            new = Node("select", (), (new, old, self.condition()))
        return [put(name, new)]

    def branch(self, level: int) -> list[Node]:
        """An if, with or without an else."""
        then = Node("then", (), tuple(self.statements(level, 1)))
        rest = (Node("else", (), tuple(self.statements(level, 1))),) if self.chance(0.4) else ()
        return [Node("if", (self.label("if"),), (self.condition(), then, *rest))]

    def carried(self) -> list[Node]:
        """A value of the iteration before is used, then replaced."""
        valtype = self.style.tame or self.random.choice(("i32", "i64", "f32"))
        held = self.local(valtype, "p")
        store = self.store()[0]
        new = self.load(self.random.choice((1, 2, 4)), valtype)
        if self.type(store.operands[1]) == valtype:
            value = op(f"{valtype}.add", store.operands[1], get(held))
            if valtype[0] == "f" and not self.style.tame:
                value = self.canonical(value)
            store = store._replace(operands=(store.operands[0], value))
        return [store, put(held, new)] if self.chance(0.5) else [put(held, new), store]

    def cursor(self) -> list[Node]:
        """A second index that is counted by itself, usually around in a circle. It may be used before and after."""
        name = self.local(self.random.choice(("i32", "i32", "i64")), "j")
        valtype = self.types[name]
        self.indices.append(name)
        step = op(f"{valtype}.add", get(name), const(valtype, self.random.choice((1, 1, 1, 2, 3, -1, 5))))
        choice = self.random.random()
        if choice < 0.45:
            step = op(f"{valtype}.and", step, const(valtype, self.random.choice(MASKS)))
        elif choice < 0.65:
            limit = const(valtype, self.random.choice((8, 10, 3, 64)))
            held = self.local(valtype)
            test = op(f"{valtype}.{self.random.choice(('ne', 'lt_u', 'lt_s'))}", get(held), limit)
            step = Node("select", (), (Node("local.tee", (held,), (step,)), const(valtype, 0), test))
        elif choice < 0.75:
            step = op(f"{valtype}.rem_u", step, const(valtype, self.random.choice((8, 3, 10, 64))))
        elif choice < 0.85:
            step = op(f"{valtype}.{self.random.choice(('extend8_s', 'extend16_s'))}", step)
        if self.chance(0.15):
            return [Node("if", (self.label("if"),), (self.condition(), Node("then", (), (put(name, step),))))]
        return [put(name, step)]

    def rare(self) -> list[Node]:
        """What keeps optimisers from much."""
        address_type = "i64" if self.memory.is_64 else "i32"
        choice = self.random.random()
        if choice < 0.4 or self.style.tame:
            name = self.random.choice(list(GLOBALS))
            valtype = GLOBALS[name]
            if self.style.tame:
                value = self.converted(get(self.indices[-1]), valtype)
            else:
                value = self.value(valtype, 1)
            old = Node("global.get", (name,))
            return [Node("global.set", (name,), (op(f"{valtype}.add", old, value),))]
        target, offset = self.address(self.random.choice(self.arrays))
        target = op(f"{address_type}.add", target, const(address_type, offset))
        length = const(address_type, self.random.choice((0, 1, 8, 16, 100)))
        if choice < 0.7:
            return [Node("memory.fill", (), (target, self.value("i32", 1), length))]
        origin, offset = self.address(self.random.choice(self.arrays))
        return [
            Node("memory.copy", (), (target, op(f"{address_type}.add", origin, const(address_type, offset)), length))
        ]

    def statement(self, level: int) -> list[Node]:
        choice = self.random.random() * (0.92 if self.style.plain else 1.0)
        if self.style.plain and 0.75 < choice < 0.83 and self.chance(0.7):
            return self.store()
        if choice < 0.5:
            return self.store()
        if choice < 0.75 and self.accumulators:
            return self.accumulate()
        if choice < 0.83:
            return self.branch(level)
        if choice < 0.88:
            return self.cursor()
        if choice < 0.92:
            return self.carried()
        if choice < 0.96:
            target = self.random.choice((self.loops[-1].exit, self.loops[-1].next, self.random.choice(self.loops).exit))
            return [Node("br_if", (target,), (self.condition(),))]
        return self.rare() if choice < 0.98 else self.store()

    def statements(self, level: int, count: int) -> list[Node]:
        return [node for _ in range(count) for node in self.statement(level)]

    # ---- loops ----

    def count(self, level: int) -> Node:
        """How many iterations are meant, an i32."""
        choice = self.random.random()
        if level and choice < 0.6:
            return const("i32", self.random.choice((1, 2, 3, 4, 8, 15, 16, 20, 32, 40)))
        if level and choice < 0.75:
            return self.converted(get(self.loops[-1].counter), "i32")
        if choice < 0.75:
            return get("n")
        if choice < 0.9:
            return const("i32", self.random.choice(COUNTS))
        return op("i32.and", get("n"), const("i32", self.random.choice((-4, -8, 63, 255, -2))))

    def loop(self, level: int) -> list[Node]:
        """A loop in one of the forms that compilers leave."""
        choose = self.random.choice
        valtype = "i64" if self.chance(0.5 if self.memory.is_64 else 0.1) else "i32"
        counter = self.local(valtype, "i")
        step = choose((1, 1, 1, 1, 1, 1, 1, 2, 3, 4, 8, -1, -1, -1, -2, 7))
        if self.style.plain and self.chance(0.6):
            step = 1
        count = self.converted(self.count(level), valtype)
        start = const(valtype, 0)
        if self.chance(0.1 if self.style.plain else 0.3):
            start = const(valtype, choose(STARTS)) if self.chance(0.7) else self.converted(get(choose("mb")), valtype)
        length = count if step == 1 else op(f"{valtype}.mul", count, const(valtype, step))
        bound = length if start == const(valtype, 0) else op(f"{valtype}.add", start, length)
        if step < 0 and self.chance(0.6):  # down to 0
            start, bound = bound, start
            start = op(f"{valtype}.sub", const(valtype, 0), start) if start == length else start
            if self.chance(0.5):
                start = op(f"{valtype}.add", start, const(valtype, step))
        loop = Loop(counter, self.label("exit"), self.label("next"))
        before: list[Node] = [put(counter, start)]
        walkers, latch = self.walkers(step)
        before += walkers
        self.loops.append(loop)
        known = len(self.indices), len(self.pointers)
        self.indices.append(counter)
        body = self.statements(level, choose((1, 1, 1, 2) if self.style.plain else (1, 1, 2, 2, 3)))
        if level + 1 < self.style.depth:
            body[self.random.randint(0, len(body)) :] = self.loop(level + 1)
        del self.indices[known[0] :]
        self.loops.pop()
        unrolled = choose((2, 4, 4, 8)) if self.chance(0.1) and level + 1 == self.style.depth else 1
        whole = self.closed(loop, body, latch, step, bound, count, before, unrolled)
        del self.pointers[known[1] - len(latch) :]
        if self.chance(0.3):
            self.indices.append(counter)  # its last value is used after the loop
        return whole

    def walkers(self, step: int) -> tuple[list[Node], list[Node]]:
        """Pointers that go along: what sets them before the loop, and what moves them at its end."""
        before: list[Node] = []
        latch: list[Node] = []
        while self.chance(0.1 if self.style.plain else 0.2):
            array = self.random.choice(self.arrays)
            name = self.local("i32", "q")
            base = array.base or const("i32", array.offset)
            before.append(put(name, base))
            stride = array.width * self.random.choice((step, step, 1, -1, 2))
            latch.append(put(name, op("i32.add", get(name), const("i32", stride))))
            self.pointers.append((name, array.width))
        return before, latch

    def closed(
        self,
        loop: Loop,
        body: list[Node],
        latch: list[Node],
        step: int,
        bound: Node,
        count: Node,
        before: list[Node],
        unrolled: int,
    ) -> list[Node]:
        """The loop around its body, with what comes before it."""
        choose = self.random.choice
        valtype = self.types[loop.counter]
        i = get(loop.counter)
        end = bound
        if ".const" not in bound.op:
            held = self.local(valtype, "e")
            before = [*before, put(held, bound)]
            end = get(held)
        narrow = self.chance(0.03 if self.style.plain else 0.1) and unrolled == 1
        next_value = op(f"{valtype}.add", i, const(valtype, step * unrolled))
        if narrow:
            how = choose(("extend8_s", "extend16_s", 255, 0xFFFF, 0xFFFF))
            wrapped: Callable[[Node], Node] = lambda node: (  # noqa: E731
                op(f"{valtype}.{how}", node)
                if isinstance(how, str)
                else op(f"{valtype}.and", node, const(valtype, how))
            )
            next_value = wrapped(next_value)
            end = wrapped(end)
        body = self.copies(loop, body, unrolled)
        if any(n.op == "br_if" and n.immediates == (loop.next,) for n in _all(body)):
            body = [Node("block", (loop.next,), tuple(body))]
        top = self.label("loop")
        more = ("ne", "ne", "ne", "lt_u", "lt_s") if step > 0 else ("ne", "ne", "gt_s", "gt_u", "ge_s")
        compare = "ne" if narrow else choose(more)
        form = choose(("rotated", "rotated", "guarded", "guarded", "guarded", "while", "down"))
        statements: list[Node]
        if form == "while":
            leave = Node("br_if", (loop.exit,), (op("i32.eqz", op(f"{valtype}.{compare}", i, end)),))
            again = [*latch, put(loop.counter, next_value), Node("br", (top,))]
            statements = [Node("loop", (top,), (leave, *body, *again))]
        elif form == "down":
            left = self.local(valtype, "c")
            # Constants have been folded by whoever unrolled; others are rounded.
            total = count if unrolled == 1 else op(f"{valtype}.div_u", count, const(valtype, unrolled))
            before = [*before, put(left, total)]
            test = Node("local.tee", (left,), (op(f"{valtype}.sub", get(left), const(valtype, 1)),))
            test = test if valtype == "i32" else op("i64.ne", test, const("i64", 0))
            end_of_body = [*latch, put(loop.counter, next_value), Node("br_if", (top,), (test,))]
            guard = [Node("br_if", (loop.exit,), (op(f"{valtype}.eqz", get(left)),))] if self.chance(0.7) else []
            statements = [*guard, Node("loop", (top,), (*body, *end_of_body))]
        else:
            if self.chance(0.5):
                update = [*latch]
                test = op(f"{valtype}.{compare}", Node("local.tee", (loop.counter,), (next_value,)), end)
            else:
                update = [*latch, put(loop.counter, next_value)]
                test = op(f"{valtype}.{compare}", i, end)
            guard = []
            if form == "guarded":
                no = (
                    op(f"{valtype}.eqz", count)
                    if self.chance(0.5)
                    else op("i32.eqz", op(f"{valtype}.{compare}", i, end))
                )
                guard = [Node("br_if", (loop.exit,), (no,))]
            statements = [*guard, Node("loop", (top,), (*body, *update, Node("br_if", (top,), (test,))))]
        return [*before, Node("block", (loop.exit,), tuple(statements))]

    def copies(self, loop: Loop, body: list[Node], unrolled: int) -> list[Node]:
        """The body so many times, with the counter's following values."""
        valtype = self.types[loop.counter]
        whole = list(body)
        for copy in range(1, unrolled):
            instruction = "or" if self.chance(0.3) else "add"
            moved = op(f"{valtype}.{instruction}", get(loop.counter), const(valtype, copy))
            whole += [_replaced(node, get(loop.counter), moved) for node in body]
        return whole

    def function(self) -> Function:
        """The whole."""
        body: list[Node] = []
        for _ in range(self.random.choice((0, 0, 1) if self.style.plain else (0, 1, 1, 2))):
            valtype = self.style.tame or self.random.choice(("i32", "i32", "i64", "i64", "f32", "f64"))
            name = self.local(valtype, "r")
            self.accumulators.append(name)
            if self.chance(0.6):
                body.append(put(name, self.number(valtype)))
        body += self.loop(0)
        if self.chance(0.12):
            body += self.loop(0)
        counted = {n.immediates[0] for n in _all(body) if n.op == "global.set"}
        body = [Node("global.set", (g,), (const(GLOBALS[g], 0),)) for g in sorted(counted)] + body
        result = get("s")
        for g in sorted(counted):
            result = op("i64.add", result, self.converted(Node("global.get", (g,)), "i64"))
        for name in [*self.accumulators, *self.random.sample(self.indices, min(len(self.indices), 2))]:
            value: Node = get(name)
            valtype = self.types[name]
            if valtype[0] == "f":
                value = self.canonical(value)
                value = op("i64.reinterpret_f64", value if valtype == "f64" else op("f64.promote_f32", value))
            elif valtype == "i32":
                value = op("i64.extend_i32_u", value)
            result = op("i64.xor", op("i64.mul", result, const("i64", 0x9E3779B97F4A7C15)), value)
        return Function(dict(self.locals), tuple(body), result)


def _all(nodes: Sequence[Node]) -> list[Node]:
    return [below for node in nodes for below in walk(node)]


def _replaced(node: Node, old: Node, new: Node) -> Node:
    if node == old:
        return new
    return node._replace(operands=tuple(_replaced(operand, old, new) for operand in node.operands))


def make_function(source: random.Random, memory: MemoryShape) -> tuple[Function, Style]:
    """A function."""
    tame = source.choice(("", "", "", "f32", "f64"))
    plain = source.random() < 0.5
    style = Style(1 if plain else source.choice((1, 1, 1, 2, 2, 2, 3)), tame, plain)
    return _Maker(source, memory, style).function(), style


Arguments = tuple[int, int, int, int, int, float]


def make_arguments(source: random.Random, memory: MemoryShape, style: Style) -> Arguments:
    """Values for PARAMS: up to a third have a base near either end of memory."""
    end = memory.pages * PAGE_BYTES
    n = source.choice((*COUNTS, 0, 1, 4, 5, 9, 15, 31, 63, 127, 128, 200, 511, 4096, source.randrange(400)))
    if source.random() < 0.03:
        n = source.choice((-1, -2, 1 << 31, (1 << 31) - 1, -(1 << 31) + 1, 70000, -256, 20000))
    m = source.choice((0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, source.randrange(256), -1))
    unit = 8 if style.tame or source.random() < 0.6 else 1
    places: list[Callable[[], int]] = [
        lambda: source.randrange(0, end, unit),
        lambda: source.randrange(0, 4096, unit),
        lambda: 1024 * source.randrange(1, 60),
        lambda: 1024 * source.randrange(1, 60) + unit * source.randrange(8),
    ]
    if source.random() < (0.1 if style.plain else 0.3):
        width = source.choice((1, 2, 4, 8))
        places = [
            lambda: end - abs(n % 4096) * width + unit * source.randrange(-4, 5),
            lambda: end - unit * source.randrange(0, 40),
            lambda: -unit * source.randrange(0, 40),
            lambda: end - abs(n % 4096) * width,
            lambda: 1024 * source.randrange(1, 60),
        ]
    a = source.choice(places)()
    b = source.choice(places)()
    if source.random() < 0.4:
        b = a + unit * source.choice((0, 1, 2, 3, 4, 7, 8, 15, 16, 32, 64, -1, -2, -4, -8, -16, -64))
    signed = ((1 << 31) - 1, 1 << 32, 1 << 31)
    s = source.choice((0, 1, -1, source.getrandbits(63)))
    x = source.choice((*FLOATS, float("inf"), 1e300))
    return (*(((v + signed[2]) % signed[1]) - signed[2] for v in (n, m, a, b)), s, x)  # type: ignore[return-value]


def make_image(source: random.Random, memory: MemoryShape, tame: str) -> bytes:
    """What memory is before a call: noise with runs of small bytes, or small numbers of a type."""
    size = memory.pages * PAGE_BYTES
    if not tame:
        noise = bytearray(source.randbytes(size))
        for start in range(0, size, 8192):
            noise[start : start + 2048] = bytes(byte & 63 for byte in noise[start : start + 2048])
        return bytes(noise)
    count = size // (4 if tame == "f32" else 8)
    few = [source.choice((1, -1)) * source.choice((0.25, 0.5, 0.75, 1.0, 1.125, 0.0, 1.3, 0.9)) for _ in range(997)]
    values = [few[i % 997] for i in range(count)]
    return struct.pack(f"<{count}{'f' if tame == 'f32' else 'd'}", *values)
