"""Tail calls: `return_call` and `return_call_indirect` are jumps that leave no frame, to any function whatsoever.

All functions keep the C convention. Where arguments fit in registers, a tail call needs nothing of its callee: it
restores the caller's registers and jumps to `code`, be that a function of this unit, of another module or the stub of
a host function. LLVM guarantees this (`musttail`) only where caller and callee have equal prototypes. So a function
that tail-calls is defined by, and tail-calls through, its *register prototype*: the function's results and every
argument register there is, which holds the same registers as the true prototype. Its true name is an alias.

Arguments beyond the registers would lie in the frame of the caller's caller, whose room is what it is. They travel
through the store's `tail_arguments` instead, and the callee has to know. For a signature with such parameters

- a function that tail-calls has two entries: its body takes the *register entry* (func-ref's `tail_code`, and
  `abi.REGISTER_ENTRIES`), and `code` is a wrapper that moves stack arguments there;
- a function that does not has only `code`; an adapter, which is jumped to, calls it and returns. That adds one frame to
  the stack and no more, for whoever cannot tail-call ends the chain.

Wrappers and adapters are not part of any function's code, so backtraces do not show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from .. import abi
from ..wasm.types import F32, F64, I32, I64, V128, FuncType, llvm_type
from . import calls, limits, metering
from .calls import CallingEmitter
from .emit import phi
from .unit_state import UnitState

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from ..records import dataclass

# Of one function, which are made where they are. LLVM takes 7 kB and, by their square, time for each: all argument
# registers are operands.
_MOST_TAIL_CALLS = 200
_FLOAT_REGISTER_TYPE = "<4 x float>"  # any vector of 16 bytes; narrower values occupy its low end

Emit = Callable[[str], None]


class RegisterPrototype:
    """Where the parameters of one signature travel in a tail call.

    `places` has one of ``("int", number)``, ``("vec", number)``, ``("memory", byte offset)`` per parameter. `registers`
    has names and LLVM types of the prototype's parameters behind the head: the same for all signatures with equal
    results.
    """

    def __init__(self, functype: FuncType, machine: str) -> None:
        self.type = functype
        self.has_area = len(functype.results) > abi.MAX_REGISTER_RESULTS
        num_ints = abi.INT_REGISTERS[machine] - 1 - self.has_area
        self.registers = [(f"int{n}", "i64") for n in range(num_ints)]
        self.registers += [(f"vec{n}", _FLOAT_REGISTER_TYPE) for n in range(abi.FLOAT_REGISTERS)]
        free = {"int": num_ints, "vec": abi.FLOAT_REGISTERS}
        used = {"int": 0, "vec": 0}
        offset = abi.TAIL_ARGUMENTS["sizeof"]
        self.places: list[tuple[str, int]] = []
        for valtype in functype.params:
            kind = "vec" if valtype in (F32, F64, V128) else "int"
            if used[kind] < free[kind]:
                self.places.append((kind, used[kind]))
                used[kind] += 1
            else:
                self.places.append(("memory", offset))
                offset += abi.SLOT_BYTES * (2 if valtype == V128 else 1)
        self.fits = abi.fits_in_registers(functype, machine)
        assert self.fits == (offset == abi.TAIL_ARGUMENTS["sizeof"])

    def head(self, context: str) -> list[str]:
        """The types and names of the parameters that are not wasm's."""
        return [f"ptr {context}", "ptr %results"] if self.has_area else [f"ptr {context}"]

    def params(self) -> str:
        """The LLVM parameters of the register prototype, named."""
        return ", ".join([*self.head("%vmctx"), *(f"{llvm} %{name}" for name, llvm in self.registers)])

    def true_params(self, context: str = "%vmctx") -> str:
        """The LLVM parameters of the true prototype, named."""
        return ", ".join([*self.head(context), *(f"{llvm_type(t)} %p{i}" for i, t in enumerate(self.type.params))])

    def types(self, params: str) -> str:
        """LLVM's function type with one of the above."""
        types = ", ".join(param.rpartition(" ")[0] for param in params.split(", "))
        return f"{calls.return_type(self.type.results)} ({types})"

    def pack(self, emit: Emit, prefix: str, operands: Sequence[str], context: str, arguments: str) -> str:
        """Moves `operands` to their places; returns the text of the LLVM arguments.

        `prefix` starts the names of temporaries. `arguments` is the address of the store's `tail_arguments`, if
        anything goes there.
        """
        values = {name: "poison" for name, _ in self.registers}
        for position, valtype in enumerate(self.type.params):
            kind, place = self.places[position]
            name = f"{prefix}.{position}"
            if kind == "memory":
                emit(
                    f"  {name} = getelementptr i8, ptr {arguments}, i64 {place}\n"
                    f"  store {llvm_type(valtype)} {operands[position]}, ptr {name}, align 8, !tbaa !2"
                )
            elif valtype == I64:
                values[f"{kind}{place}"] = operands[position]
            else:
                emit(_to_register(name, valtype, operands[position]))
                values[f"{kind}{place}"] = name
        return ", ".join([*self.head(context), *(f"{llvm} {values[name]}" for name, llvm in self.registers)])

    def unpack(self, arguments: str) -> str:
        """The code at a register entry that makes ``%p0`` ... of the registers and of what is at `arguments`."""
        lines = []
        for position, valtype in enumerate(self.type.params):
            kind, place = self.places[position]
            name = f"%p{position}"
            if kind == "memory":
                lines.append(
                    f"  {name}.p = getelementptr i8, ptr {arguments}, i64 {place}\n"
                    f"  {name} = load {llvm_type(valtype)}, ptr {name}.p, align 8, !tbaa !2"
                )
            else:
                lines.append(_from_register(name, valtype, f"%{kind}{place}"))
        return "\n".join(lines)


def _to_register(name: str, valtype: int, operand: str) -> str:
    llvm = llvm_type(valtype)
    if valtype == I32:
        return f"  {name} = zext i32 {operand} to i64"
    if valtype == F32:
        return f"  {name} = insertelement <4 x float> poison, float {operand}, i64 0"
    if valtype == F64:
        return (
            f"  {name}d = insertelement <2 x double> poison, double {operand}, i64 0\n"
            f"  {name} = bitcast <2 x double> {name}d to {_FLOAT_REGISTER_TYPE}"
        )
    if valtype == V128:
        return f"  {name} = bitcast {llvm} {operand} to {_FLOAT_REGISTER_TYPE}"
    return f"  {name} = ptrtoint ptr {operand} to i64"


def _from_register(name: str, valtype: int, register: str) -> str:
    llvm = llvm_type(valtype)
    if valtype == I32:
        return f"  {name} = trunc i64 {register} to i32"
    if valtype == I64:
        return f"  {name} = or i64 {register}, 0"  # another name for it
    if valtype == F32:
        return f"  {name} = extractelement <4 x float> {register}, i64 0"
    if valtype == F64:
        return (
            f"  {name}d = bitcast {_FLOAT_REGISTER_TYPE} {register} to <2 x double>\n"
            f"  {name} = extractelement <2 x double> {name}d, i64 0"
        )
    if valtype == V128:
        return f"  {name} = bitcast {_FLOAT_REGISTER_TYPE} {register} to {llvm}"
    # A reference, not an address that a program calculated: nothing here is derived from linear memory.
    return f"  {name} = inttoptr i64 {register} to ptr"


def _arguments_text(prefix: str) -> str:
    """Loads the address of the store's `tail_arguments` into ``{prefix}.arguments``, from the context that is first."""
    return (
        f"  {prefix}.store.p = getelementptr i8, ptr %vmctx, i64 {abi.VMCONTEXT['store']}\n"
        f"  {prefix}.store = load ptr, ptr {prefix}.store.p, align 8, !invariant.load !0\n"
        f"  {prefix}.arguments.p = getelementptr i8, ptr {prefix}.store, i64 {abi.STORE['tail_arguments']}\n"
        f"  {prefix}.arguments = load ptr, ptr {prefix}.arguments.p, align 8, !invariant.load !0"
    )


Callee = str | int  # code, or the symbol of a function, or its position in the function table


@dataclass(slots=True)
class SharedCall:
    """Tail calls of one type, and of one function if it is known, that a function makes at one place."""

    label: str
    prototype: RegisterPrototype
    callee: Callee  # "" if the calls name no function
    at: int  # of the first
    edges: list[tuple[list[str], str]]  # code (if the calls name none), context and operands; the block they come from


def register_prototype(unit: UnitState, functype: FuncType) -> RegisterPrototype:
    """How the parameters of a signature travel in a tail call."""
    known: RegisterPrototype | None = unit.register_prototypes.get(functype)
    if known is None:
        known = unit.register_prototypes[functype] = RegisterPrototype(functype, unit.policy.machine)
    return known


# ---- in the caller ----


class TailCallingEmitter(CallingEmitter):
    """The text of a function, and its tail calls."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.tail_calls = False
        self.num_tail_calls = 0
        self.shared_calls: dict[tuple[FuncType, Callee], SharedCall] = {}

    def check_tail_calls(self) -> None:
        """Raises CompileError, or LeftError, where a function of very many tail calls gets out of proportion."""
        if self.num_lines > limits.most_lines(self.body_bytes):
            raise self.too_large("it makes too many tail calls")


def call(lowering: TailCallingEmitter, function: int, at: int) -> None:
    """return_call: within the unit by symbol, across units through the function table, imports by their func-ref."""
    module, unit = lowering.module, lowering.unit
    functype = module.function_type(function)
    if function < module.num_imported_functions:
        call_reference(lowering, functype, calls.func_ref(lowering, function), at)
    elif unit.calls_directly(function):
        unit.tail_called.add(function)
        _emit(lowering, register_prototype(unit, functype), f"@t{function}", "%vmctx", at)
    else:
        position = function - module.num_imported_functions
        prototype = register_prototype(unit, functype)
        if prototype.fits:
            _emit(lowering, prototype, position, "%vmctx", at)
            return
        code = calls.load_code(lowering, abi.CODES, position)
        entry = calls.load_code(lowering, abi.REGISTER_ENTRIES, position)
        _emit_with_memory(lowering, prototype, code, entry, "%vmctx", at)


def call_reference(lowering: TailCallingEmitter, functype: FuncType, reference: str, at: int) -> None:
    """A tail call of the function that a func-ref, not null, refers to and that has type `functype`."""
    calls.announce_caller(lowering)
    code, context = calls.load_func_ref(lowering, reference)
    prototype = register_prototype(lowering.unit, functype)
    if prototype.fits:
        _emit(lowering, prototype, code, context, at)
        return
    entry = lowering.fresh()
    lowering.lines.append(
        f"  {entry}p = getelementptr i8, ptr {reference}, i64 {abi.FUNC_REF['tail_code']}\n"
        f"  {entry} = load ptr, ptr {entry}p, align 8, !tbaa !2"
    )
    _emit_with_memory(lowering, prototype, code, entry, context, at)


def _emit_with_memory(
    lowering: TailCallingEmitter, prototype: RegisterPrototype, code: str, entry: str, context: str, at: int
) -> None:
    """A tail call with arguments in memory of a function's register entry, or if that is null, of the adapter for its
    C entry `code`. The context may be a host function's, in which an adapter would not find the store."""
    adapters = lowering.unit.tail_adapters
    number = adapters.setdefault(prototype.type, len(adapters))
    arguments = _arguments(lowering)
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name}a = getelementptr i8, ptr {arguments}, i64 {abi.TAIL_ARGUMENTS['code']}\n"
        f"  store ptr {code}, ptr {name}a, align 8, !tbaa !2\n"
        f"  {name}b = getelementptr i8, ptr {arguments}, i64 {abi.TAIL_ARGUMENTS['vmctx']}\n"
        f"  store ptr {context}, ptr {name}b, align 8, !tbaa !2\n"
        f"  {name}n = icmp eq ptr {entry}, null\n"
        f"  {name} = select i1 {name}n, ptr @tail_adapter_{number}, ptr {entry}\n"
        f"  {name}c = select i1 {name}n, ptr {arguments}, ptr {context}"
    )
    _emit(lowering, prototype, name, f"{name}c", at)


def _arguments(lowering: TailCallingEmitter) -> str:
    """The address of the store's `tail_arguments`."""
    return lowering.once("%tail.arguments", _arguments_text("%tail"))


def _emit(lowering: TailCallingEmitter, prototype: RegisterPrototype, callee: Callee, context: str, at: int) -> None:
    """Pops the arguments and jumps. The rest of the operands go, as those of a return."""
    lowering.tail_calls = True
    lowering.num_tail_calls += 1
    if lowering.num_tail_calls > limits.MOST_TAIL_CALLS:
        lowering.check_tail_calls()
    count = len(prototype.type.params)
    lowering.discard(0, count)
    values = lowering.values
    operands = values[len(values) - count :]
    del values[len(values) - count :]
    if lowering.fuel:
        metering.charge(lowering)
        metering.save_fuel(lowering)
    if lowering.num_tail_calls > _MOST_TAIL_CALLS:
        named = callee if isinstance(callee, int) or callee[0] == "@" else ""
        shared = lowering.shared_calls.get((prototype.type, named))
        if shared is None:
            shared = SharedCall(f"j{len(lowering.shared_calls)}", prototype, named, at, [])
            lowering.shared_calls[prototype.type, named] = shared
        shared.edges.append(([str(callee), context, *operands], lowering.current))
        lowering.lines.append(f"  br label %{shared.label}")
    else:
        _jump(lowering, prototype, callee, context, operands, at)
    lowering.close_block()


def emit_shared(lowering: TailCallingEmitter) -> None:
    """At the end of a function: the tail calls that are made at one place."""
    for shared in lowering.shared_calls.values():
        lowering.start_label(shared.label)
        types = ["ptr", "ptr", *(llvm_type(valtype) for valtype in shared.prototype.type.params)]
        names = []
        for position, llvm in enumerate(types):
            same = shared.edges[0][0][position]
            if all(values[position] == same for values, _ in shared.edges):  # as the context mostly is
                names.append(same)
                continue
            names.append(f"%{shared.label}.{position}")
            lowering.lines.append(phi(names[-1], llvm, shared.edges, position))
        callee = names[0] if shared.callee == "" else shared.callee
        _jump(lowering, shared.prototype, callee, names[1], names[2:], shared.at)


def _jump(
    lowering: TailCallingEmitter,
    prototype: RegisterPrototype,
    callee: Callee,
    context: str,
    operands: Sequence[str],
    at: int,
) -> None:
    if isinstance(callee, int):
        callee = calls.load_code(lowering, abi.CODES, callee)
    arguments = "" if prototype.fits else _arguments(lowering)
    name = lowering.fresh()
    packed = prototype.pack(lowering.lines.append, name, operands, context, arguments)
    result = calls.return_type(prototype.type.results)
    call_text = f"musttail call {result} {callee}({packed}){lowering.debug(at)}"
    if prototype.type.results:
        lowering.lines.append(f"  {name} = {call_text}\n  ret {result} {name}")
    else:
        lowering.lines.append(f"  {call_text}\n  ret void")


# ---- around the functions ----


def definition(lowering: TailCallingEmitter) -> str:
    """The head of a function that tail-calls, in place of `calls.definition`."""
    prototype = register_prototype(lowering.unit, lowering.type)
    lines = [
        f"define weak dso_local {calls.return_type(lowering.type.results)} @t{lowering.function_index}"
        f"({prototype.params()}) #0 !dbg !{lowering.scope} {{\nentry:"
    ]
    if not prototype.fits:
        lines.append(_arguments_text("%entry"))
    if lowering.type.params:
        lines.append(prototype.unpack("%entry.arguments"))
    return "\n".join(lines)


def entries(unit: UnitState) -> Iterator[str]:
    """The other names and entries of the unit's functions, and its adapters; nothing if it has no tail calls."""
    for function in sorted(unit.tail_called | unit.tail_callers):
        prototype = register_prototype(unit, unit.module.function_type(function))
        if function in unit.tail_callers:
            if prototype.fits:
                yield _alias(f"f{function}", prototype.types(prototype.true_params()), f"t{function}")
            else:
                yield _alias(f"body{function}", prototype.types(prototype.params()), f"t{function}")
                yield _wrapper(prototype, function)
        elif prototype.fits:
            yield _alias(f"t{function}", prototype.types(prototype.params()), f"f{function}")
        else:
            yield _adapter(prototype, function)
    for functype, number in unit.tail_adapters.items():
        yield _indirect_adapter(register_prototype(unit, functype), number)


def _alias(name: str, types: str, target: str) -> str:
    """`weak`, so that LLVM does not look through it: it would find a call of another type than the function's."""
    return f"@{name} = weak dso_local alias {types}, ptr @{target}\n"


def _wrapper(prototype: RegisterPrototype, function: int) -> str:
    """The C entry of a function whose body is a register entry."""
    lines = [_arguments_text("%tail")]
    operands = [f"%p{i}" for i in range(len(prototype.type.params))]
    packed = prototype.pack(lines.append, "%x", operands, "%vmctx", "%tail.arguments")
    return _definition(prototype, f"f{function}", prototype.true_params(), lines, f"@t{function}", packed)


def _adapter(prototype: RegisterPrototype, function: int) -> str:
    """The register entry of a function that has none of its own."""
    lines = [_arguments_text("%entry"), prototype.unpack("%entry.arguments")]
    return _definition(prototype, f"t{function}", prototype.params(), lines, f"@f{function}", prototype.true_params())


def _indirect_adapter(prototype: RegisterPrototype, number: int) -> str:
    """The register entry of functions that have none: in place of a context it takes the address of the arguments."""
    lines = [prototype.unpack("%vmctx")]
    for name, offset in (("%code", abi.TAIL_ARGUMENTS["code"]), ("%context", abi.TAIL_ARGUMENTS["vmctx"])):
        lines.append(
            f"  {name}.p = getelementptr i8, ptr %vmctx, i64 {offset}\n"
            f"  {name} = load ptr, ptr {name}.p, align 8, !tbaa !2"
        )
    arguments = prototype.true_params("%context")
    return _definition(prototype, f"tail_adapter_{number}", prototype.params(), lines, "%code", arguments)


def _definition(
    prototype: RegisterPrototype, name: str, params: str, lines: list[str], callee: str, arguments: str
) -> str:
    """A function that calls another one and returns what that does."""
    result = calls.return_type(prototype.type.results)
    call_text = f"call {result} {callee}({arguments})"
    lines.append(f"  %r = {call_text}\n  ret {result} %r" if prototype.type.results else f"  {call_text}\n  ret void")
    return "\n".join((f"define weak dso_local {result} @{name}({params}) #0 {{", *lines, "}\n"))
