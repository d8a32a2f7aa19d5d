"""Calls: the wasm-to-wasm calling convention of `abi`, imports, indirect calls, runtime builtins."""

from __future__ import annotations

from collections.abc import Sequence

from .. import abi
from ..wasm.types import I32, V128, FuncType, llvm_type
from . import invoke, metering, tables
from .invoke import InvokingEmitter, Operand
from .unit_state import UnitState

# More, and calls count towards what makes a function too large.
_FEW_OPERANDS = 16


class CallingEmitter(InvokingEmitter):
    """The text of a function, and what its calls carry."""

    def __init__(self, unit: UnitState, function_index: int, scope: int, tangled: bool = False) -> None:
        super().__init__(unit, function_index, scope, tangled)
        self.carried = 0  # operands and results of all calls
        self.most_operands = max(len(self.type.params), len(self.type.results))  # of any call
        self.results_area_bytes = 0  # for results of the functions that it calls


def return_type(results: tuple[int, ...]) -> str:
    """What a function returns in registers."""
    if not results:
        return "void"
    if len(results) == 1:
        return llvm_type(results[0])
    return "{ " + ", ".join(llvm_type(t) for t in results[: abi.MAX_REGISTER_RESULTS]) + " }"


def area_slots(results: tuple[int, ...]) -> list[tuple[int, int]]:
    """(result position, byte offset in the results area) of the results that do not come back in registers."""
    slots = []
    offset = 0
    for position in range(abi.MAX_REGISTER_RESULTS, len(results)):
        slots.append((position, offset))
        offset += abi.SLOT_BYTES * (2 if results[position] == V128 else 1)
    return slots


def definition(lowering: CallingEmitter, inputs: Sequence[str]) -> str:
    """The head of the function; `inputs` are its LLVM parameters behind the context and the results area."""
    return definition_head(lowering.type, lowering.function_index, lowering.scope, inputs)


def definition_head(functype: FuncType, function: int, scope: int, inputs: Sequence[str]) -> str:
    """As `definition`, for a function that is not lowered.

    `weak` keeps LLVM from looking into a function when it compiles its callers: it would delete calls it finds to be
    pure, arguments it finds unused and all code behind calls it finds never to return, each with the traps in there.
    """
    params = ["ptr %vmctx"]
    if len(functype.results) > abi.MAX_REGISTER_RESULTS:
        params.append("ptr %results")
    params += inputs
    return (
        f"define weak dso_local {return_type(functype.results)} @f{function}({', '.join(params)}) #0 "
        f"!dbg !{scope} {{\nentry:"
    )


def emit_call(lowering: CallingEmitter, functype: FuncType, callee: str, context: str, at: int) -> None:
    """Pops the arguments, calls, pushes the results."""
    lowering.leaf = False
    lowering.note_collection()
    values = lowering.values
    count = len(functype.params)
    if count + len(functype.results) > _FEW_OPERANDS:
        lowering.work(count + len(functype.results))
        lowering.most_operands = max(lowering.most_operands, count, len(functype.results))
    lowering.carried += count + len(functype.results)
    lowering.check_length()
    arguments = values[len(values) - count :] if count else []
    del values[len(values) - count :]
    if lowering.fuel:
        metering.charge(lowering)
        metering.save_fuel(lowering)
    results = functype.results
    slots = area_slots(results)
    operands: list[Operand] = [("ptr", context)]
    if slots:
        lowering.results_area_bytes = max(lowering.results_area_bytes, slots[-1][1] + 2 * abi.SLOT_BYTES)
        operands.append(("ptr", "%area"))
    operands += [(llvm_type(t), value) for t, value in zip(functype.params, arguments, strict=True)]
    if lowering.tries:
        in_registers = results[: abi.MAX_REGISTER_RESULTS]
        names = invoke.emit(lowering, return_type(results), in_registers, callee, operands, at)
    else:
        names = _plain_call(lowering, results, callee, operands, at)
    if lowering.fuel:
        metering.load_fuel(lowering)
    for position, offset in slots:
        result = lowering.fresh()
        lowering.lines.append(
            f"  {result}p = getelementptr i8, ptr %area, i64 {offset}\n"
            f"  {result} = load {llvm_type(results[position])}, ptr {result}p, align 8, !tbaa !2"
        )
        names.append(result)
    values.extend(names)


def _plain_call(
    lowering: CallingEmitter, results: tuple[int, ...], callee: str, operands: Sequence[Operand], at: int
) -> list[str]:
    """Calls, and returns what comes back in registers."""
    arguments = ", ".join([f"{llvm} {value}" for llvm, value in operands])
    call = f"call {return_type(results)} {callee}({arguments}){lowering.debug(at)}"
    name = lowering.fresh()
    lowering.lines.append(f"  {name} = {call}" if results else f"  {call}")
    if not results:
        return []
    if len(results) == 1:
        return [name]
    pair = return_type(results)
    lowering.lines.append(f"  {name}a = extractvalue {pair} {name}, 0\n  {name}b = extractvalue {pair} {name}, 1")
    return [f"{name}a", f"{name}b"]


def call(lowering: CallingEmitter, function: int, at: int) -> None:
    """A direct call: within the unit by symbol, across units through the function table, imports by their func-ref."""
    module = lowering.module
    functype = module.function_type(function)
    if function < module.num_imported_functions:
        reference = func_ref(lowering, function)
        announce_caller(lowering)
        code, context = load_func_ref(lowering, reference)
        emit_call(lowering, functype, code, context, at)
    elif lowering.unit.calls_directly(function):
        emit_call(lowering, functype, f"@f{function}", "%vmctx", at)
    else:
        lowering.unit.callees.append(function)
        code = load_code(lowering, abi.CODES, function - module.num_imported_functions)
        emit_call(lowering, functype, code, "%vmctx", at)


def load_code(lowering: CallingEmitter, array: int, position: int) -> str:
    """Loads an entry of the function table: of the array for code of one kind, that of a defined function."""
    code = lowering.fresh()
    lowering.lines.append(
        f"{lowering.function_slot(f'{code}p', array, position)}\n  {code} = load ptr, ptr {code}p, align 8, !tbaa !2"
    )
    return code


def call_indirect(lowering: CallingEmitter, type_index: int, table: int, at: int) -> None:
    """A call through a table."""
    reference = checked_reference(lowering, type_index, table, at)
    announce_caller(lowering)
    code, context = load_func_ref(lowering, reference)
    emit_call(lowering, lowering.module.called_type(type_index), code, context, at)


def checked_reference(lowering: CallingEmitter, type_index: int, table: int, at: int) -> str:
    """Pops an index; the func-ref in the table there. Bounds, null and signature are checked (spec 4.4.8)."""
    index = lowering.values.pop()
    params = lowering.module.called_type(type_index).params
    if params:
        lowering.anchor_values(lowering.values[-len(params) :], params)
    place = tables.element_pointer(lowering, table, index, at)
    reference = lowering.fresh()
    lowering.lines.append(f"  {reference} = load ptr, ptr {place}, align 8, !tbaa !2")
    if not lowering.unit.guard_pages:
        null = lowering.fresh()
        lowering.lines.append(f"  {null} = icmp eq ptr {reference}, null")
        lowering.trap_if(null, "INDIRECT_CALL_TO_NULL", at)
    # With guard pages the load of the type id through a null reference faults in page 0, which the handler takes.
    expected = type_id(lowering, type_index)
    found = lowering.fresh()
    lowering.lines.append(
        f"  {found}p = getelementptr i8, ptr {reference}, i64 {abi.FUNC_REF['type_id']}\n"
        f"  {found} = load i32, ptr {found}p, align 4, !tbaa !2{lowering.debug(at)}"
    )
    definition = lowering.module.called_type(type_index).definition
    if definition is None or definition.is_final:
        # The processor may compare in memory: then it is the comparison's location that counts.
        lowering.lines.append(f"  {found}m = icmp ne i32 {found}, {expected}{lowering.debug(at)}")
    else:
        matches = lowering.builtin_pointer("type_matches")
        lowering.lines.append(
            f"  {found}w = call i64 {matches}(ptr %vmctx, i32 {found}, i32 {expected}){lowering.debug(at)}\n"
            f"  {found}m = icmp eq i64 {found}w, 0"
        )
    lowering.trap_if(f"{found}m", "BAD_SIGNATURE", at)
    return reference


def load_func_ref(lowering: CallingEmitter, reference: str) -> tuple[str, str]:
    """Loads code and context of a func-ref."""
    name = lowering.fresh()
    lowering.lines.append(
        f"  {name} = load ptr, ptr {reference}, align 8, !tbaa !2\n"
        f"  {name}p = getelementptr i8, ptr {reference}, i64 {abi.FUNC_REF['vmctx']}\n"
        f"  {name}c = load ptr, ptr {name}p, align 8, !tbaa !2"
    )
    return name, f"{name}c"


def announce_caller(lowering: CallingEmitter) -> None:
    """Tells the store who calls, right before a call that may reach a host function."""
    caller = lowering.address("%caller", lowering.store_record(), abi.STORE["caller"])
    lowering.lines.append(f"  store ptr %vmctx, ptr {caller}, align 8, !tbaa !2")


def type_id(lowering: CallingEmitter, type_index: int) -> str:
    """The interned signature id of one of the module's types."""
    types = lowering.invariant("%types", "%vmctx", abi.VMCONTEXT["type_ids"])
    return lowering.invariant(f"%type{type_index}", types, type_index, step="i32", llvm="i32")


def func_ref(lowering: CallingEmitter, function: int) -> str:
    """The address of a function's func-ref: the import's own, or the slot in the instance context."""
    name = f"%ref{function}"
    layout = lowering.unit.layout
    if function < lowering.module.num_imported_functions:
        return lowering.invariant(name, "%vmctx", layout.imported_functions + 8 * function)
    offset = layout.func_refs + abi.FUNC_REF["sizeof"] * lowering.unit.func_ref_slots[function]
    return lowering.address(name, "%vmctx", offset)


def builtin(
    lowering: CallingEmitter, name: str, indices: tuple[int, ...], params: tuple[int, ...], result_type: int, at: int
) -> None:
    """Calls a function of the C runtime through the builtins table: never by symbol, MCJIT would abort on one."""
    row = abi.BUILTINS[abi.BUILTIN_INDEX[name]]
    pointer = lowering.builtin_pointer(name)
    operands = ["ptr %vmctx", *(f"i32 {index}" for index in indices)]
    values = lowering.values
    arguments = values[len(values) - len(params) :] if params else []
    del values[len(values) - len(params) :]
    for valtype, llvm, value in zip(params, row.params[len(indices) :], arguments, strict=True):
        if valtype == I32 and llvm == "i64":
            wide = lowering.fresh()
            lowering.lines.append(f"  {wide} = zext i32 {value} to i64")
            value = wide
        operands.append(f"{llvm} {value}")
    if lowering.fuel:  # growth may ask a limiter in Python, which may look at the fuel
        metering.charge(lowering)
        if params:  # the last operand is a count, or a growth
            metering.charge_count(lowering, arguments[-1], params[-1])
        metering.save_fuel(lowering)
    lowering.note_collection()  # growth may ask a limiter in Python
    call_text = f"call {row.result} {pointer}({', '.join(operands)}){lowering.debug(at)}"
    if row.result == "void":
        lowering.lines.append(f"  {call_text}")
        return
    result = lowering.fresh()
    if result_type == I32:
        lowering.lines.append(f"  {result}w = {call_text}\n  {result} = trunc i64 {result}w to i32")
    else:
        lowering.lines.append(f"  {result} = {call_text}")
    values.append(result)
