"""LLVM's text of the interpreter's operations: one function each, for each form of its operands.

An operand is a slot of the activation's frame (``m``), in a register (``i`` of integers, ``f`` of floats, ``v`` one of
those that holds a vector), or is written into the code (``c``). Constants are addresses of symbols to LLVM, so that it
folds nothing: as a literal, ``a < C`` might become ``a <= C - 1``, whose code is another for another C.

Every function takes the registers that code of this tier keeps its values in as parameters, in a convention without
saved ones (`machine`), and ends with a jump to the next piece of code, which gets the same registers, one of them
changed. So LLVM knows nothing of what is around, and leaves in each register what it does not mean to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from .. import abi
from ..compile.emit import TRAP_NUMBERS
from ..compile.lower import IRREGULAR, TEMPLATES
from ..wasm.first_tier import operation_name
from ..wasm.ops import ATOMIC, COMPARISON, CONDITION, LOAD, OPS, SPECIAL, STORE, VECTOR, Op
from ..wasm.types import F32, F64, I32, I64, V128, llvm_type
from .machine import FLOAT_TYPE, current

# The holes that slots of operands, and of the result, leave: in the order of an operation's words.
SLOT_HOLES = ("D", "A", "B", "C")
# Constants: of 32 bits; of 32 that are sign-extended; of 64; of 8.
NARROW, WIDE, FULL, BYTE = "NARROW", "WIDE", "FULL", "BYTE"
# Beside one of those, of 32 bits that are sign-extended: an offset in the instance context.
PLACE = "PLACE"
# How LLVM is given a constant, which instructions define as %i; those of values as %v. On x86-64 it takes every address
# for one of the low 2 GiB, and would put that of FULL into 32 bits; and that of WIDE into 32 that it extends with
# zeros: so it is not told what is loaded. On AArch64 it is not told of any, and loads each by instructions of its own.
HIDDEN_WIDE, NARROW_VALUE, FULL_VALUE = "HIDDEN_WIDE", "NARROW_VALUE", "FULL_VALUE"
_FULL_TEXT = f'  %i = call i64 asm "movabsq $$${{1:c}}, $0", "=r,i"(ptr @{FULL})'
_X86_TEXTS = {
    "": "",
    NARROW: f"  %i = add i32 0, ptrtoint (ptr @{NARROW} to i32)",
    WIDE: f"  %i = add i64 0, ptrtoint (ptr @{WIDE} to i64)",
    HIDDEN_WIDE: f'  %i = call i64 asm "movq $$${{1:c}}, $0", "=r,i"(ptr @{WIDE})',
    FULL: _FULL_TEXT,
    NARROW_VALUE: f'  %v = call i64 asm "movl $$${{1:c}}, ${{0:k}}", "=r,i"(ptr @{NARROW})',
    FULL_VALUE: f"{_FULL_TEXT}\n  %v = add i64 0, %i",
}


def _hidden(name: str, llvm: str, hole: str) -> str:
    return f'  %{name} = call {llvm} asm "", "=r,0"({llvm} ptrtoint (ptr @{hole} to {llvm}))'


_AARCH64_TEXTS = {
    "": "",
    NARROW: _hidden("i", "i32", NARROW),
    WIDE: _hidden("i", "i64", WIDE),
    HIDDEN_WIDE: _hidden("i", "i64", WIDE),
    FULL: _hidden("i", "i64", FULL),
    NARROW_VALUE: _hidden("v", "i64", NARROW),
    FULL_VALUE: _hidden("v", "i64", FULL),
}
_IMMEDIATES = {I32: (NARROW,), I64: (WIDE, HIDDEN_WIDE)}


def define(immediate: str) -> str:
    """The instructions that define %i, or %v, as the constant."""
    return (_X86_TEXTS if current().is_x86 else _AARCH64_TEXTS)[immediate]


class Form(NamedTuple):
    """One form of an operation. `letters`: of the result, if it has one, then of the operands. `equal`: the operands
    that are in the result's register. `is_careful`: the text is such that LLVM uses registers of operands as it has to
    only, where it would else do what is for some of them another instruction (`lea`, whose base cannot be any)."""

    operation: str
    letters: str
    has_result: bool
    equal: tuple[int, ...] = ()
    is_careful: bool = False

    @property
    def number(self) -> int:
        """By which C finds it: a bit for each operand in a register, then those that are in the result's register."""
        bits = sum(1 << i for i, letter in enumerate(self.letters) if letter in "ifv")
        return bits | sum(1 << (len(self.letters) + i) for i in self.equal)


class _Lowering:
    """As much of the compiler's emitters as the lowering of irregular rows uses."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.cold: list[str] = []
        self.counter = 0
        self.current = ""
        self.promoted: set[str] = set()

    def fresh(self) -> str:
        self.counter += 1
        return f"%x{self.counter}"

    def anchor_values(self, *_: object) -> None:
        """Traps are jumps here, which LLVM does not move anything across."""

    def anchor_waiting(self, **_: object) -> None:
        """As above."""

    def fetched_once(self, value: str, _: str) -> str:
        """Operands come in registers."""
        return value

    def trap_if(self, condition: str, trap: str, at: int) -> None:
        self.counter += 1
        label = f"k{self.counter}"
        self.lines.append(
            f"  br i1 {condition}, label %{self.trap_block(trap, at)}, label %{label}, !prof !3\n{label}:"
        )
        self.current = label

    def trap_block(self, trap: str, at: int) -> str:
        self.counter += 1
        label = f"t{self.counter}"
        self.cold.append(f"{label}:\n{leave(f'TRAP_{TRAP_NUMBERS[trap]}')}")
        return label


def leave(target: str, changed: str = "", value: str = "") -> str:
    """The jump to `target`, which finds `value` in the register `changed`. Traps do not look at any."""
    if target.startswith("TRAP_"):
        arguments = ", ".join(
            f"{llvm} {'%frame' if name == 'frame' else 'poison'}" for name, llvm in current().parameters
        )
        return f"  musttail call {current().convention} void @{target}({arguments})\n  ret void"
    machine = current()
    # `function` takes one of them
    lines = "".join(_release(held, changed, value) for held in dict.fromkeys((machine.held, _all_held())))
    values = dict.fromkeys(machine.unused, "poison") | {changed: value}
    arguments = ", ".join(f"{llvm} {values.get(name, '%' + name)}" for name, llvm in machine.parameters)
    return f"{lines}  musttail call {machine.convention} void @{target}({arguments})\n  ret void"


def _all_held() -> tuple[tuple[str, str], ...]:
    return current().held + current().held_high


def _release(held: Sequence[tuple[str, str]], changed: str, value: str) -> str:
    """LLVM finds all of them in use here."""
    values = ", ".join(f"{llvm} {value if name == changed else '%' + name}" for name, llvm in held)
    return f"{_released(held)}({values})\n"


def _released(held: Sequence[tuple[str, str]]) -> str:
    return '  call void asm sideeffect "", "' + ",".join(f"{{{name}}}" for name, _ in held) + '"'


def read(name: str, letter: str, llvm: str, register: str, hole: str) -> list[str]:
    """Defines %name, the operand."""
    if letter == "m":
        return [
            f"  %{name}.p = getelementptr i8, ptr %frame, i64 ptrtoint (ptr @{hole} to i64)",
            f"  %{name} = load {llvm}, ptr %{name}.p, align 8",
        ]
    if letter == "i":
        if llvm == "ptr":
            return [f"  %{name} = inttoptr i64 %{register} to ptr"]
        return [
            f"  %{name} = {'trunc i64' if llvm == 'i32' else 'add i64 0,'} %{register}{' to i32' * (llvm == 'i32')}"
        ]
    if letter == "v":
        return [f"  %{name} = bitcast {FLOAT_TYPE} %{register} to {llvm}"]
    if llvm in ("i64", "double"):
        vector = "<2 x double>" if llvm == "double" else "<2 x i64>"
        return [
            f"  %{name}.v = bitcast {FLOAT_TYPE} %{register} to {vector}",
            f"  %{name} = extractelement {vector} %{name}.v, i32 0",
        ]
    return [f"  %{name} = extractelement {FLOAT_TYPE} %{register}, i32 0"]


def write_result(value: str, form: Form, llvm: str, registers: Sequence[str]) -> list[str]:
    """Writes the result, and goes on."""
    letter, register = form.letters[0], registers[0]
    if letter == "m":
        lines = ["  %d.p = getelementptr i8, ptr %frame, i64 ptrtoint (ptr @D to i64)"]
        if llvm == "i32":  # all of the slot: the processor takes long to load 64 bits of which 32 were just stored
            lines.append(f"  %d.w = zext i32 {value} to i64")
            llvm, value = "i64", "%d.w"
        return [*lines, f"  store {llvm} {value}, ptr %d.p, align 8", leave("NEXT")]
    if letter == "i":
        lines = [f'  call void asm sideeffect "", "r"(i64 %{register})'] if form.is_careful else []
        if llvm == "i64":
            return [*lines, leave("NEXT", register, value)]
        widen = "ptrtoint ptr" if llvm == "ptr" else "zext i32"
        return [f"  %d.w = {widen} {value} to i64", *lines, leave("NEXT", register, "%d.w")]
    lines = (
        [f'  call void asm sideeffect "", "{current().float_constraint}"({FLOAT_TYPE} %{register})']
        if form.is_careful
        else []
    )
    if letter == "v":
        lines.append(f"  %d.v = bitcast {llvm} {value} to {FLOAT_TYPE}")
    elif llvm == "float":
        lines.append(f"  %d.v = insertelement {FLOAT_TYPE} poison, float {value}, i32 0")
    else:
        vector = "<2 x double>" if llvm == "double" else "<2 x i64>"
        lines.append(f"  %d.e = insertelement {vector} poison, {llvm} {value}, i32 0")
        lines.append(f"  %d.v = bitcast {vector} %d.e to {FLOAT_TYPE}")
    return [*lines, leave("NEXT", register, "%d.v")]


def has_floats(operation: Operation, form: Form) -> bool:
    """Whether code of the form may use registers of floats."""
    return any(letter in "fv" for letter in form.letters) or any(map(is_float, operation.result + operation.operands))


def function(name: str, lines: Sequence[str], has_all: bool) -> str:
    """A whole function. `has_all`: LLVM is told of all registers of floats, too."""
    machine = current()
    parameters = ", ".join(f"{llvm} %{name}" for name, llvm in machine.parameters)
    held, other = (_all_held(), machine.held) if has_all else (machine.held, _all_held())
    types = ", ".join(llvm for _, llvm in held)
    constraints = ",".join(f"={{{name}}}" for name, _ in held)
    if machine.held_high:
        start = [f'  %held = call {{ {types} }} asm sideeffect "", "{constraints}"()']
        start += [f"  %{name} = extractvalue {{ {types} }} %held, {number}" for number, (name, _) in enumerate(held)]
    else:  # LLVM allocates registers of integers the same way everywhere
        start = [f'  %{name} = call {llvm} asm sideeffect "", "={{{name}}}"()' for name, llvm in held]
    body = "\n".join([*start, *lines])
    if other != held:
        body = "\n".join(line for line in body.split("\n") if not line.startswith(_released(other)))
    return f"define {machine.convention} void @{name}({parameters}) #0 {{\nentry:\n{body}\n}}\n"


def prelude() -> str:
    """What stands above all functions."""
    machine = current()
    types = ", ".join(llvm for _, llvm in machine.parameters)
    local = "hidden" if machine.is_x86 else "dso_local"
    lines = [f'target triple = "{machine.triple}"']
    lines += [f"@{hole} = external dso_local global i8" for hole in (*SLOT_HOLES, WIDE, PLACE, BYTE)]
    lines += [
        f"@{NARROW} = external {local} global i8, !absolute_symbol !0",
        f"@{FULL} = external {local} global i8, !absolute_symbol !1",
        "!0 = !{i64 0, i64 4294967296}",
        "!1 = !{i64 -9223372036854775808, i64 9223372036854775807}",
        '!3 = !{!"branch_weights", i32 1, i32 2000}',
        '!4 = !{!"branch_weights", i32 2000, i32 1}',
        "attributes #2 = { nounwind willreturn memory(none) }",
    ]
    attributes = ""
    if machine.is_x86:
        # A frame is aligned where a stencil begins; LLVM takes the stack of a function to be 8 bytes off then.
        lines.append('!llvm.module.flags = !{!5}\n!5 = !{i32 1, !"override-stack-alignment", i32 8}')
        attributes = ' "no-realign-stack"'
    lines.append(f"attributes #0 = {{ nounwind{attributes} }}")
    targets = ["NEXT", "TARGET", *(f"TRAP_{number}" for number in TRAP_NUMBERS.values())]
    lines += [f"declare {machine.convention} void @{target}({types})" for target in targets]
    return "\n".join(lines) + "\n"


# ---- the rows of the instruction table ----


def _letter(valtype: int) -> str:
    return "v" if valtype == V128 else "f" if is_float(valtype) else "i"


def _value(op: Op, a: str, b: str, lowering: _Lowering) -> tuple[str, str]:
    """Writes the row's text; the value and its LLVM type."""
    if op.lowering.startswith("@"):
        value = IRREGULAR[op.lowering](cast(Any, lowering), op, a, b, 0)
        return value, llvm_type(op.result)
    name = lowering.fresh()
    lowering.lines.append(TEMPLATES[op.code](name, a, b))
    return name, "i1" if op.kind in (COMPARISON, CONDITION) else llvm_type(op.result)


# The class of the registers of each letter.
_CLASSES = {"m": "", "i": "i", "f": "f", "v": "f"}


def _choices(valtypes: Sequence[int]) -> Iterator[str]:
    """All strings of a letter for each value: in its slot, or in a register."""
    if not valtypes:
        yield ""
        return
    for rest in _choices(valtypes[1:]):
        yield "m" + rest
        yield _letter(valtypes[0]) + rest


def _equalities(letters: str) -> Iterator[tuple[int, ...]]:
    """The operands that may be in the result's register, none first."""
    if letters[0] == "m":
        yield ()
        return
    same = [i for i, letter in enumerate(letters) if i and _CLASSES[letter] == _CLASSES[letters[0]]]
    for number in range(1 << len(same)):
        yield tuple(operand for bit, operand in enumerate(same) if number >> bit & 1)


def forms(operation: str, result: Sequence[int], operands: Sequence[int]) -> Iterator[Form]:
    """All forms of an operation whose result and operands have these types."""
    for letters in _choices([*result, *operands]):
        for equal in _equalities(letters) if result else [()]:
            yield Form(operation, letters, bool(result), equal)


class Operation(NamedTuple):
    """What stencils are made of. `write(form, registers, immediate)` gives the lines of the function; `immediates`:
    ways to give LLVM a constant (`define`), of which the first is taken that it makes code for that is right for all
    values."""

    name: str
    result: tuple[int, ...]
    operands: tuple[int, ...]
    write: Any
    immediates: tuple[str, ...] = ("",)
    letters: Any = None  # the forms, if they do not follow from the types
    kept: tuple[Form, ...] = ()  # those of them that are made, if not all


def reads(form: Form, registers: Sequence[str], operands: Sequence[int], count: int) -> list[str]:
    lines: list[str] = []
    first = int(form.has_result)
    for number in range(count):
        position = first + number
        name, letter, llvm = "abc"[number], form.letters[position], llvm_type(operands[number])
        found = read(name, letter, llvm, registers[position], SLOT_HOLES[1 + number])
        if form.is_careful and letter in "ifv":
            found = read(f"{name}.c", letter, llvm, registers[position], "")
            kind = "r" if letter == "i" else current().float_constraint
            found.append(f'  %{name} = call {llvm} asm "", "={kind},0"({llvm} %{name}.c)')
        elif form.is_careful and letter == "m":  # LLVM chooses between addresses, of which it takes none to be below 0
            found[1] = found[1].replace(" = load ", " = load volatile ")
        lines += found
    return lines


def _hide_dividend(lowering: _Lowering) -> None:
    """What is compared with the least number is in another register: LLVM's `lea` is longer where its base is r12."""
    text = "\n".join(lowering.lines)
    compared = "icmp eq i32 %a, -2147483648"
    assert text.count(compared) == 1
    copy = '  %a.o = call i32 asm "", "={eax},0"(i32 %a)'
    lowering.lines[:] = [copy, text.replace(compared, compared.replace("%a", "%a.o"))]


def _row_operation(op: Op, immediates: tuple[str, ...] = ("",), *, name: str = "") -> Operation:
    """A row without immediates of its own; with `immediates`, its second operand is a constant."""
    operands = op.params[:-1] if immediates != ("",) else op.params

    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        if current().is_x86 and op.name[4:] == "add" and form.letters == "iii" and not form.equal:
            return [*reads(form, registers, (I64, I64), 2), _sum(op), *write_result("%r", form, "i64", registers)]
        lowering = _Lowering()
        lines = reads(form, registers, operands, len(operands))
        b = "%i" if immediate else "%b" if len(operands) > 1 else ""
        lowering.lines.append(define(immediate))
        value, llvm = _value(op, "%a", b, lowering)
        if op.name == "i32.div_s" and current().is_x86:
            _hide_dividend(lowering)
        if llvm == "i1":
            lowering.lines.append(f"  {value}z = zext i1 {value} to i32")
            value, llvm = f"{value}z", "i32"
        return [*lines, *lowering.lines, *write_result(value, form, llvm, registers), *lowering.cold]

    return Operation(name or operation_name(op), (op.result,), operands, write, immediates)


def _sum(op: Op) -> str:
    """In a third register. LLVM's `lea` is another instruction where its base is r13: here each has a displacement."""
    letter = "q" if op.result == I64 else "k"
    return f'  %r = call i64 asm "{{disp8}} lea 0($1,$2), ${{0:{letter}}}", "=r,r,r"(i64 %a, i64 %b)'


# For these LLVM loads the address of a symbol first. The processor's own name for each that is not the row's.
_WITH_IMMEDIATE = ("add", "sub", "and", "or", "xor", "mul", "shl", "shr_s", "shr_u", "rotl", "rotr")
_NAMES = {"shr_s": "sar", "shr_u": "shr", "rotl": "rol", "rotr": "ror"}


def _immediate_operation(op: Op) -> Operation:
    """As `_row_operation` with a constant, which is part of the instruction. It has 64 bits to LLVM in any case, which
    would else extend the result, of which it does not know that the high half is 0."""
    name = op.name[4:]
    is_wide = op.result == I64
    letter, hole = ("q", WIDE) if is_wide else ("l", NARROW)
    first, second = ("${0:q}", "${1:q}") if is_wide else ("${0:k}", "${1:k}")

    def text(form: Form) -> str:
        if name == "add" and form.letters == "ii" and not form.equal:  # without a base: it cannot be r12
            return f'"lea ${{2:c}}(,$1,1), {first}", "=r,r,i"(i64 %a, ptr @{hole})'
        if name == "mul":
            return f'"imul{letter} $$${{2:c}}, {second}, {first}", "=r,r,i"(i64 %a, ptr @{hole})'
        of = BYTE if name.startswith(("sh", "rot")) else hole  # the processor takes as many bits as the row
        return f'"{_NAMES.get(name, name)}{letter} $$${{2:c}}, {first}", "=r,0,i"(i64 %a, ptr @{of})'

    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lines = [*reads(form, registers, (I64,), 1), f"  %r = call i64 asm {text(form)}"]
        return [*lines, *write_result("%r", form, "i64", registers)]

    return Operation(f"{operation_name(op)}_IMMEDIATE", (op.result,), (op.result,), write)


def _branch_operation(op: Op, immediates: tuple[str, ...], name: str) -> Operation:
    """Goes to TARGET where the result is not 0."""
    operands = op.params[:-1] if immediates != ("",) else op.params

    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lowering = _Lowering()
        lines = reads(form, registers, operands, len(operands))
        lowering.lines.append(define(immediate))
        value, llvm = _value(op, "%a", "%i" if immediate else "%b", lowering)
        if op.name == "i32.div_s" and current().is_x86:
            _hide_dividend(lowering)
        if llvm != "i1":
            lowering.lines.append(f"  {value}z = icmp ne {llvm} {value}, 0")
            value = f"{value}z"
        return [*lines, *lowering.lines, *_fork(value), *lowering.cold]

    return Operation(name, (), operands, write, immediates)


# Comparisons of floats that one jump tells the result of, also that they do not hold.
_FLOAT_BRANCHES = ("lt", "gt", "le", "ge")


def _float_branches(op: Op) -> Iterator[Operation]:
    """Goes to TARGET where the comparison holds, or where it does not."""
    for negative in (False, True):

        def write(form: Form, registers: Sequence[str], immediate: str, negative: bool = negative) -> list[str]:
            lowering = _Lowering()
            value, _ = _value(op, "%a", "%b", lowering)
            if negative:
                lowering.lines.append(f"  {value}n = xor i1 {value}, true")
                value = f"{value}n"
            return [*reads(form, registers, op.params, 2), *lowering.lines, *_fork(value)]

        yield Operation(f"BRANCH{'_UNLESS' * negative}_{operation_name(op)}", (), op.params, write)


def _fork(condition: str) -> list[str]:
    return [
        f"  br i1 {condition}, label %taken, label %on, !prof !3",
        f"on:\n{leave('NEXT')}",
        f"taken:\n{leave('TARGET')}",
    ]


# Offsets that an instruction's 32 bits hold, which the processor takes for a signed number: a larger one would reach
# what the host has below the memory. And all others. And the former with an address of 64 bits: one in a register whose
# high half is known to be 0 (runtime_c/stencil_narrow.c), or of a memory that has such addresses.
OFFSETS = {"": (WIDE,), "_FAR": (FULL,), "_NARROW": (WIDE,)}
FIXED = "_FIXED"  # behind those: the address is a constant, and part of the offset


def address_of(offset: str, suffix: str) -> list[str]:
    if suffix == FIXED:
        return [define(offset), "  %a.e = getelementptr i8, ptr %base, i64 %i"]
    return [
        define(offset),
        f"  %a.w = {'add i64 0, %a' if suffix == '_NARROW' else 'zext i32 %a to i64'}",
        "  %a.b = getelementptr i8, ptr %base, i64 %a.w",
        "  %a.e = getelementptr i8, ptr %a.b, i64 %i",
    ]


_ADDRESSES = {"": (I32,), "_FAR": (I32,), "_NARROW": (I64,), FIXED: ()}


def _load_operation(op: Op, suffix: str) -> Operation:
    addresses = _ADDRESSES[suffix]

    def write(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lines = reads(form, registers, addresses, len(addresses)) + address_of(offset, suffix)
        lines.append(f"  %v = load volatile {op.memory_type}, ptr %a.e, align 1")
        value = "%v"
        if op.memory_type != op.value_type:
            extend = "sext" if op.name.endswith("_s") else "zext"
            lines.append(f"  %x = {extend} {op.memory_type} %v to {op.value_type}")
            value = "%x"
        return [*lines, *write_result(value, form, op.value_type, registers)]

    return Operation(operation_name(op) + suffix, (op.result,), addresses, write, OFFSETS.get(suffix, (WIDE,)))


def _store_operation(op: Op, suffix: str) -> Operation:
    operands = (*_ADDRESSES[suffix], op.params[1])

    def write(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lines = reads(form, registers, operands, len(operands)) + address_of(offset, suffix)
        value = "%b" if len(operands) == 2 else "%a"
        if op.memory_type != op.value_type:
            lines.append(f"  %x = trunc {op.value_type} {value} to {op.memory_type}")
            value = "%x"
        lines.append(f"  store volatile {op.memory_type} {value}, ptr %a.e, align 1")
        return [*lines, leave("NEXT")]

    return Operation(operation_name(op) + suffix, (), operands, write, OFFSETS.get(suffix, (WIDE,)))


# ---- everything else ----


def copy_operation(name: str, letters: tuple[str, ...], llvm: str) -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        return [*read("a", form.letters[1], llvm, registers[1], "A"), *write_result("%a", form, llvm, registers)]

    return Operation(name, (I64,), (I64,), write, letters=letters)


def _constant_operation(name: str, immediate: str, letters: tuple[str, ...], llvm: str = "i64") -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        return [define(immediate), f"  %w = bitcast i64 %v to {llvm}", *write_result("%w", form, llvm, registers)]

    return Operation(name, (I64,), (), write, (immediate,), letters)


def select_operation(name: str, valtype: int) -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        llvm = llvm_type(valtype)
        lines = reads(form, registers, (valtype, valtype, I32), 3)
        # Both are read in any case: LLVM would choose between their addresses, of which it takes none to be below 0.
        lines = [line if "volatile" in line else line.replace(" = load ", " = load volatile ") for line in lines]
        lines.append(f"  %z = icmp ne i32 %c, 0\n  %r = select i1 %z, {llvm} %a, {llvm} %b")
        return [*lines, *write_result("%r", form, llvm, registers)]

    return Operation(name, (valtype,), (valtype, valtype, I32), write)


def _test_operation(name: str, valtype: int, condition: str) -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        return [
            *reads(form, registers, (valtype,), 1),
            f"  %z = icmp {condition} {llvm_type(valtype)} %a, 0",
            *_fork("%z"),
        ]

    return Operation(name, (), (valtype,), write)


CONTEXT_OFFSET = (WIDE,)


def in_context(offset: str) -> str:
    return f"{define(offset)}\n  %g.p = getelementptr i8, ptr %vmctx, i64 %i"


def _saturate_operation() -> Operation:
    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lines = [*reads(form, registers, (I64,), 1), "  %c = icmp ult i64 %a, 4294967295"]
        lines.append("  %s = select i1 %c, i64 %a, i64 4294967295\n  %v = trunc i64 %s to i32")
        return [*lines, *write_result("%v", form, "i32", registers)]

    return Operation("SATURATE", (I32,), (I64,), write)


def _canonical_operation(bits: int) -> Operation:
    valtype = F32 if bits == 32 else F64

    def write(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        llvm = llvm_type(valtype)
        lines = [*reads(form, registers, (valtype,), 1), f"  %z = fcmp uno {llvm} %a, %a"]
        lines.append(f"  %r = select i1 %z, {llvm} 0x7FF8000000000000, {llvm} %a")
        return [*lines, *write_result("%r", form, llvm, registers)]

    return Operation(f"CANONICAL_{bits}", (valtype,), (valtype,), write)


def _null_operations() -> Iterator[Operation]:
    def is_null(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lines = [*reads(form, registers, (I64,), 1), "  %z = icmp eq i64 %a, 0\n  %v = zext i1 %z to i32"]
        return [*lines, *write_result("%v", form, "i32", registers)]

    def non_null(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lowering = _Lowering()
        lines = [*reads(form, registers, (I64,), 1), "  %z = icmp eq i64 %a, 0"]
        lowering.trap_if("%z", "NULL_REFERENCE", 0)
        return [*lines, *lowering.lines, *write_result("%a", form, "i64", registers), *lowering.cold]

    yield Operation("REF_IS_NULL", (I32,), (I64,), is_null)
    yield Operation("REF_AS_NON_NULL", (I64,), (I64,), non_null)


def _global_operations() -> Iterator[Operation]:
    for imported in (False, True):
        for width in (32, 64):
            llvm = f"i{width}"
            valtype = I32 if width == 32 else I64
            prefix = "IMPORTED_" if imported else ""

            def place(offset: str, imported: bool = imported) -> list[str]:
                lines = [in_context(offset)]
                if imported:
                    lines.append("  %g.q = load ptr, ptr %g.p, align 8")
                return lines

            def read(
                form: Form,
                registers: Sequence[str],
                offset: str,
                llvm: str = llvm,
                imported: bool = imported,
                place: Any = place,
            ) -> list[str]:
                lines = [
                    *place(offset),
                    f"  %v = load {llvm}, ptr %g.{'q' if imported else 'p'}, align {8 if llvm == 'i64' else 4}",
                ]
                return [*lines, *write_result("%v", form, llvm, registers)]

            def write(
                form: Form,
                registers: Sequence[str],
                offset: str,
                llvm: str = llvm,
                valtype: int = valtype,
                imported: bool = imported,
                place: Any = place,
            ) -> list[str]:
                lines = [*reads(form, registers, (valtype,), 1), *place(offset)]
                lines.append(f"  store {llvm} %a, ptr %g.{'q' if imported else 'p'}, align {8 if llvm == 'i64' else 4}")
                return [*lines, leave("NEXT")]

            yield Operation(f"{prefix}GLOBAL_GET_{width}", (valtype,), (), read, CONTEXT_OFFSET)
            yield Operation(f"{prefix}GLOBAL_SET_{width}", (), (valtype,), write, CONTEXT_OFFSET)


def _reference_operations() -> Iterator[Operation]:
    def own(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        return [in_context(offset), *write_result("%g.p", form, "ptr", registers)]

    def imported(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        return [in_context(offset), "  %v = load i64, ptr %g.p, align 8", *write_result("%v", form, "i64", registers)]

    yield Operation("REF_FUNC", (I64,), (), own, CONTEXT_OFFSET)
    yield Operation("REF_FUNC_IMPORTED", (I64,), (), imported, CONTEXT_OFFSET)


def _element(lowering: _Lowering, index: str) -> None:
    """%e.p: the place of an element of the table whose slot in the context is at %g.p.

    An index that was found to be below the length, by a branch that the processor may have predicted wrongly, is made 0
    where it is not: else the processor goes on with one that a program chose, and reads what the host has there
    (Spectre v1). LLVM must not know what was found, or it would leave this out.
    """
    lowering.lines += [
        f"  %t = load ptr, ptr %g.p, align 8\n  %t.l = getelementptr i8, ptr %t, i64 {abi.TABLE['length']}",
        "  %l = load i64, ptr %t.l, align 8",
        f"  %n = zext i32 {index} to i64\n  %o = icmp uge i64 %n, %l",
    ]
    lowering.trap_if("%o", "TABLE_OUT_OF_BOUNDS", 0)
    lowering.lines += [
        '  %h = call i64 asm "", "=r,0"(i64 %n)',
        "  %h.d = sub i64 %h, %l\n  %h.s = ashr i64 %h.d, 63\n  %h.m = and i64 %h, %h.s",
        f"  %t.e = getelementptr i8, ptr %t, i64 {abi.TABLE['elements']}\n  %e = load ptr, ptr %t.e, align 8",
        "  %e.p = getelementptr i64, ptr %e, i64 %h.m",
    ]


def _table_operations() -> Iterator[Operation]:
    def get(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lowering = _Lowering()
        lines = [*reads(form, registers, (I32,), 1), in_context(offset)]
        _element(lowering, "%a")
        lowering.lines.append("  %v = load i64, ptr %e.p, align 8")
        return [*lines, *lowering.lines, *write_result("%v", form, "i64", registers), *lowering.cold]

    def put(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lowering = _Lowering()
        lines = [*reads(form, registers, (I32, I64), 2), in_context(offset)]
        _element(lowering, "%a")
        return [*lines, *lowering.lines, "  store i64 %b, ptr %e.p, align 8", leave("NEXT"), *lowering.cold]

    def size(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        return [
            in_context(offset),
            f"  %t = load ptr, ptr %g.p, align 8\n  %t.l = getelementptr i8, ptr %t, i64 {abi.TABLE['length']}",
            "  %l = load i32, ptr %t.l, align 8",
            *write_result("%l", form, "i32", registers),
        ]

    def reference(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lowering = _Lowering()
        lines = [*reads(form, registers, (I32,), 1), in_context(offset)]
        _element(lowering, "%a")
        # Null is not looked for: the load of its type faults in page 0, which the handler takes.
        lowering.lines.append("  %v = load ptr, ptr %e.p, align 8")
        return [*lines, *lowering.lines, leave("NEXT", "spare", "%v"), *lowering.cold]

    def checked(form: Form, registers: Sequence[str], offset: str) -> list[str]:
        lowering = _Lowering()
        lowering.lines += [
            f"  %f.p = getelementptr i8, ptr %spare, i64 {abi.FUNC_REF['type_id']}\n  %f = load i32, ptr %f.p, align 4",
            f"  %w.p = getelementptr i8, ptr %vmctx, i64 {abi.VMCONTEXT['type_ids']}",
            "  %w.q = load ptr, ptr %w.p, align 8",
            f"{define(offset)}\n  %w.r = getelementptr i8, ptr %w.q, i64 %i\n  %w = load i32, ptr %w.r, align 4",
            "  %z = icmp ne i32 %f, %w",
        ]
        return [*lowering.lines, *_fork("%z")]

    def not_null(form: Form, registers: Sequence[str], immediate: str) -> list[str]:
        lowering = _Lowering()
        lines = [*reads(form, registers, (I64,), 1), "  %v = inttoptr i64 %a to ptr\n  %z = icmp eq i64 %a, 0"]
        lowering.trap_if("%z", "NULL_REFERENCE", 0)
        return [*lines, *lowering.lines, leave("NEXT", "spare", "%v"), *lowering.cold]

    yield Operation("TABLE_GET", (I64,), (I32,), get, CONTEXT_OFFSET)
    # With both in registers LLVM has none left on x86-64 that is not an operand's: they go to their slots first.
    kept = tuple(Form("TABLE_SET", letters, False) for letters in ("mm", "im", "mi")) if current().is_x86 else ()
    yield Operation("TABLE_SET", (), (I32, I64), put, CONTEXT_OFFSET, kept=kept)
    yield Operation("TABLE_SIZE", (I32,), (), size, CONTEXT_OFFSET)
    # A func-ref in the spare register, of the table's; its type is compared; one that is an operand.
    yield Operation("FUNC_REF", (), (I32,), reference, CONTEXT_OFFSET)
    yield Operation("OTHER_TYPE", (), (), checked, CONTEXT_OFFSET)
    yield Operation("FUNC_REF_OPERAND", (), (I64,), not_null)


def _check_operations() -> Iterator[Operation]:
    """Of an access, before it: whether the memory has all of it. The constant is the distance from the address to its
    end, which is less than 2 GiB but in those that are _FAR; at the other offset the context has the memory."""
    widths = {"": I32, "_FAR": I32, "_NARROW": I64, "_WIDE": I64, "_WIDE_FAR": I64}
    for suffix, valtype in widths.items():

        def check(
            form: Form, registers: Sequence[str], end: str, suffix: str = suffix, valtype: int = valtype
        ) -> list[str]:
            lowering = _Lowering()
            lines = [
                *reads(form, registers, (valtype,), 1),
                f"  %m.p = getelementptr i8, ptr %vmctx, i64 ptrtoint (ptr @{PLACE} to i64)",
                "  %m = load ptr, ptr %m.p, align 8",
                f"  %m.s = getelementptr i8, ptr %m, i64 {abi.MEMORY['size_bytes']}",
                "  %s = load i64, ptr %m.s, align 8",
                f"{define(end)}\n  %a.w = {'zext i32 %a to i64' if valtype == I32 else 'add i64 0, %a'}",
                "  %a.e = add i64 %a.w, %i\n  %o = icmp ugt i64 %a.e, %s",
            ]
            if "_WIDE" in suffix:  # the sum may wrap
                lowering.lines.append("  %c = icmp ult i64 %a.e, %i")
                lowering.trap_if("%c", "MEMORY_OUT_OF_BOUNDS", 0)
            lowering.trap_if("%o", "MEMORY_OUT_OF_BOUNDS", 0)
            return [*lines, *lowering.lines, leave("NEXT"), *lowering.cold]

        ends = (FULL,) if suffix.endswith("_FAR") else (WIDE, HIDDEN_WIDE)
        yield Operation(f"CHECK{suffix}", (), (valtype,), check, ends)


def operations() -> Iterator[Operation]:
    """All operations that stencils are made of."""
    for op in OPS.values():
        if op.kind in (SPECIAL, VECTOR, ATOMIC) or op.first_tier != "i":
            continue
        if op.kind == LOAD:
            yield from (_load_operation(op, suffix) for suffix in (*OFFSETS, FIXED))
        elif op.kind == STORE:
            yield from (_store_operation(op, suffix) for suffix in (*OFFSETS, FIXED))
        elif not is_copy(op):
            yield _row_operation(op)
            if len(op.params) == 2 and op.params[0] in (I32, I64):
                yield from _constant_forms(op)
            if len(op.params) == 2 and is_float(op.params[0]) and op.name[4:] in _FLOAT_BRANCHES:
                yield from _float_branches(op)
    yield copy_operation("COPY", ("mm", "mi", "im", "ii"), "i64")
    yield copy_operation("COPY_FLOAT", ("mf", "fm", "ff"), "double")
    yield from (copy_operation("COPY_TO_FLOAT", ("fi",), "i64"), copy_operation("COPY_FROM_FLOAT", ("if",), "i64"))
    yield select_operation("SELECT", I64)
    yield select_operation("SELECT_FLOAT", F64)
    yield _constant_operation("CONSTANT", NARROW_VALUE, ("m", "i"))
    yield _constant_operation("CONSTANT_64", FULL_VALUE, ("m", "i"))
    yield _constant_operation("CONSTANT_FLOAT", NARROW_VALUE, ("f",), "double")
    yield _constant_operation("CONSTANT_FLOAT_64", FULL_VALUE, ("f",), "double")
    yield _test_operation("BRANCH_IF", I32, "ne")
    yield _test_operation("BRANCH_UNLESS", I32, "eq")
    yield _test_operation("BRANCH_ON_NULL", I64, "eq")
    yield _test_operation("BRANCH_ON_NON_NULL", I64, "ne")
    yield _saturate_operation()
    yield from (_canonical_operation(32), _canonical_operation(64))
    yield from _null_operations()
    yield from _global_operations()
    yield from _reference_operations()
    yield from _table_operations()
    yield from _check_operations()


# What no operation of the interpreter is called.
_OWN = {"SELECT_FLOAT", "COPY_FLOAT", "COPY_TO_FLOAT", "COPY_FROM_FLOAT", "CONSTANT_FLOAT", "CONSTANT_FLOAT_64"}
_OWN |= {"FUNC_REF", "OTHER_TYPE", "FUNC_REF_OPERAND"}


def is_interpreted(name: str) -> bool:
    """Whether the interpreter has an operation of this name."""
    if name.startswith(("BRANCH", "CHECK")) and "_F" in name:
        return False
    return name not in _OWN and "_OF_" not in name and not name.endswith(("_FAR", "_NARROW", "_WIDE", FIXED))


def is_access(op: Op) -> bool:
    """Whether the interpreter has the row with a comparison, too, whose stencil stands behind one of CHECK."""
    return op.kind in (LOAD, STORE)


def is_float(valtype: int) -> bool:
    """Whether values of the type are in registers of floats."""
    return valtype in (F32, F64, V128)


def is_copy(op: Op) -> bool:
    """Whether the interpreter has no operation for the row: the bits stay as they are."""
    return op.name == "i32.wrap_i64" or "reinterpret" in op.name


def _constant_forms(op: Op) -> Iterator[Operation]:
    """A constant as second operand; and the branch that is taken if the result is not 0."""
    name = operation_name(op)
    immediates = _IMMEDIATES[op.params[1]]
    # LLVM knows that no symbol's address is 0: it would leave out the check of a divisor.
    divides = op.lowering == "@divide"
    if current().is_x86 and op.name[4:] in _WITH_IMMEDIATE:
        yield _immediate_operation(op)
    elif not divides:
        yield _row_operation(op, immediates, name=f"{name}_IMMEDIATE")
    if op.result == I32 and (op.kind == COMPARISON or op.params[0] == I32):
        yield _branch_operation(op, ("",), f"BRANCH_{name}")
        if not divides:
            yield _branch_operation(op, immediates, f"BRANCH_{name}_IMMEDIATE")


def form_list(operation: Operation) -> list[Form]:
    """The forms that stencils are made for."""
    if operation.letters is not None:
        made = []
        for letters in operation.letters:
            made.append(Form(operation.name, letters, bool(operation.result)))
        return made
    return list(operation.kept or forms(operation.name, operation.result, operation.operands))
