"""Trampolines: the code between Python (or C) and wasm, made per function type.

They know no module and no instance. What they call outside, they find in a table (`abi.BOUNDARY`) through the record
that they are given, so each is a piece of position-independent code that can be copied anywhere.

============  =====================================================  ==================================================
kind          called as                                              what it does
============  =====================================================  ==================================================
``enter``     ``PyObject *(target, PyObject *const *arguments)``     a call from Python: converts, enters, converts back
``host``      a wasm function whose vmctx is a host function         calls the Python function
``native``    likewise                                               calls a C function that takes the wasm arguments
``reverse``   a C function that takes the wasm arguments; the        enters; a failure is kept in the store, the result
              target comes in the register of ``nest``               is 0 then
``map``       ``void (job)``, through the gate                       calls a wasm function for each row of columns
============  =====================================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .. import abi
from ..wasm.module import Module
from ..wasm.types import F32, F64, FUNCTION, I32, I64, V128, FuncType, is_reference, llvm_type
from ..wasm.types import trampoline_name as symbol
from .calls import area_slots, return_type

ENTER, HOST, NATIVE, REVERSE, MAP = KINDS = ("enter", "host", "native", "reverse", "map")

_ATTRIBUTES = 'nounwind "frame-pointer"="all" "no-builtins" "disable-tail-calls"="true"'


def module_trampolines(module: Module) -> list[tuple[str, FuncType]]:
    """What instances need: a way in for the types of exported functions and of the start function, a way out for those
    of imported ones."""
    entered = [export.index for export in module.exports if export.kind == FUNCTION]
    if module.start is not None:
        entered.append(module.start)
    wanted = {symbol(ENTER, functype): (ENTER, functype) for functype in map(module.function_type, entered)}
    for index in range(module.num_imported_functions):
        functype = module.function_type(index)
        wanted[symbol(HOST, functype)] = (HOST, functype)
    return [wanted[name] for name in sorted(wanted)]


def module_text(wanted: Iterable[tuple[str, FuncType]]) -> str:
    """The LLVM module that defines the trampolines of these kinds and types."""
    functions = [_GENERATORS[kind](symbol(kind, functype), functype) for kind, functype in wanted]
    return "\n".join(
        (
            *functions,
            "declare ptr @llvm.frameaddress.p0(i32)",
            f"attributes #0 = {{ {_ATTRIBUTES} }}",
            'attributes #1 = { nounwind "no-builtins" }',
            '!0 = !{!"branch_weights", i32 1048575, i32 1}',
            "",
        )
    )


class _Text:
    """The lines of one function."""

    def __init__(self, head: str, attributes: str = "#0") -> None:
        self.lines = [f"{head} {attributes} {{", "entry:"]
        self.count = 0

    def fresh(self) -> str:
        """A name for a value."""
        self.count += 1
        return f"%v{self.count}"

    def add(self, line: str) -> None:
        """Adds an instruction."""
        self.lines.append(f"  {line}")

    def let(self, expression: str) -> str:
        """Adds an instruction with a result; returns its name."""
        name = self.fresh()
        self.add(f"{name} = {expression}")
        return name

    def load(self, llvm_type: str, base: str, offset: int, *, align: int = 8) -> str:
        """Loads a field."""
        place = self.let(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base
        return self.let(f"load {llvm_type}, ptr {place}, align {align}")

    def store(self, llvm_type: str, value: str, base: str, offset: int, *, align: int = 8) -> None:
        """Stores a field."""
        place = self.let(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base
        self.add(f"store {llvm_type} {value}, ptr {place}, align {align}")

    def boundary(self, name: str, arguments: str, table: str = "%boundary") -> str:
        """Calls a function of the C runtime; returns the result's name, if there is one."""
        function = self.load("ptr", table, abi.POINTER_BYTES * abi.BOUNDARY_INDEX[name])
        result = abi.BOUNDARY[abi.BOUNDARY_INDEX[name]].result
        if result == "void":
            self.add(f"call void {function}({arguments})")
            return ""
        return self.let(f"call {result} {function}({arguments})")

    def block(self, name: str) -> None:
        """Starts a basic block."""
        self.lines.append(f"{name}:")

    def text(self) -> str:
        """The function."""
        return "\n".join((*self.lines, "}"))


def _slot_count(types: Sequence[int]) -> int:
    return sum(2 if t == V128 else 1 for t in types)


def _slot_offsets(types: Sequence[int]) -> list[int]:
    """Byte offsets of values that lie one behind the other, as in a results area."""
    return [abi.SLOT_BYTES * _slot_count(types[:position]) for position in range(len(types))]


def _from_bits(text: _Text, valtype: int, bits: str) -> str:
    """The LLVM value whose raw slot is `bits`, an i64."""
    if valtype == I64:
        return bits
    if valtype == F64:
        return text.let(f"bitcast i64 {bits} to double")
    if is_reference(valtype):
        return text.let(f"inttoptr i64 {bits} to ptr")
    low = text.let(f"trunc i64 {bits} to i32")
    return low if valtype == I32 else text.let(f"bitcast i32 {low} to float")


def _call_results(text: _Text, functype: FuncType, callee: str, area: str, call: str = "call") -> list[str]:
    """Calls (`callee` is all behind the return type) and names the results, of which the later lie in the area."""
    results = functype.results
    if not results:
        text.add(f"{call} void {callee}")
        return []
    returned = text.let(f"{call} {return_type(results)} {callee}")
    if len(results) == 1:
        return [returned]
    names = [text.let(f"extractvalue {return_type(results)} {returned}, {n}") for n in range(abi.MAX_REGISTER_RESULTS)]
    return names + [text.load(llvm_type(results[position]), area, offset) for position, offset in area_slots(results)]


def _gate_call(text: _Text, functype: FuncType, vmctx: str, arguments: Sequence[str], area: str) -> list[str]:
    """Passes the arguments to the entry's code."""
    operands = ["ptr swiftself %entry_record", f"ptr {vmctx}"]
    if len(functype.results) > abi.MAX_REGISTER_RESULTS:
        operands.append(f"ptr {area}")
    operands += [f"{llvm_type(t)} {value}" for t, value in zip(functype.params, arguments, strict=True)]
    gate = text.load("ptr", "%boundary", abi.POINTER_BYTES * abi.BOUNDARY_INDEX["gate"])
    return _call_results(text, functype, f"{gate}({', '.join(operands)})", area)


def _load_vmctx(text: _Text) -> str:
    """The callee's context. Only inside of an entry: the func-ref dies with the store."""
    func_ref = text.load("ptr", "%target", abi.TARGET["func_ref"])
    return text.load("ptr", func_ref, abi.FUNC_REF["vmctx"])


def _enter(name: str, functype: FuncType) -> str:
    text = _Text(f"define ptr @{name}(ptr %target, ptr %arguments)")
    text.add(f"%entry_record = alloca [{abi.ENTRY_BYTES} x i8], align 16")
    results = functype.results
    slots = ""
    if len(results) > 1 or V128 in results:
        slots = text.let(f"alloca [{_slot_count(results)} x i64], align 16")
    vector = text.let("alloca [2 x i64], align 16") if V128 in functype.params else ""
    text.add(f"%boundary = load ptr, ptr %target, align {abi.POINTER_BYTES}")
    arguments = []
    for position, valtype in enumerate(functype.params):
        object = text.load("ptr", "%arguments", abi.POINTER_BYTES * position)
        operands = f"ptr %target, ptr {object}, i32 {position}"
        if valtype == V128:
            succeeded = text.boundary("to_v128", f"{operands}, ptr {vector}")
            condition = text.let(f"icmp ne i32 {succeeded}, 0")
        else:
            kind = "reference" if is_reference(valtype) else _KIND_NAMES[valtype]
            pair = text.boundary(f"to_{kind}", operands)
            succeeded = text.let(f"extractvalue {abi.PAIR} {pair}, 1")
            condition = text.let(f"icmp ne i64 {succeeded}, 0")
        text.add(f"br i1 {condition}, label %converted{position}, label %failed, !prof !0")
        text.block(f"converted{position}")
        if valtype == V128:
            arguments.append(text.load(llvm_type(V128), vector, 0))
        else:
            arguments.append(_from_bits(text, valtype, text.let(f"extractvalue {abi.PAIR} {pair}, 0")))
    refused = text.boundary("begin", "ptr %target, ptr %entry_record")
    condition = text.let(f"icmp eq i32 {refused}, 0")
    text.add(f"br i1 {condition}, label %inside, label %failed, !prof !0")
    text.block("inside")
    area = slots
    if len(results) > abi.MAX_REGISTER_RESULTS:
        area = text.let(f"getelementptr i8, ptr {slots}, i64 {_slot_offsets(results)[abi.MAX_REGISTER_RESULTS]}")
    returned = _gate_call(text, functype, _load_vmctx(text), arguments, area)
    for value, valtype, offset in zip(returned, results, _slot_offsets(results), strict=False):
        if slots and offset < abi.SLOT_BYTES * _slot_count(results[: abi.MAX_REGISTER_RESULTS]):
            text.store(llvm_type(valtype), value, slots, offset)
    failed = text.boundary("end", "ptr %target, ptr %entry_record")
    condition = text.let(f"icmp eq i32 {failed}, 0")
    text.add(f"br i1 {condition}, label %succeeded, label %failed, !prof !0")
    text.block("succeeded")
    text.add(f"ret ptr {_to_python(text, results, returned, slots)}")
    text.block("failed")
    text.add("ret ptr null")
    return text.text()


_KIND_NAMES = {I32: "i32", I64: "i64", F32: "f32", F64: "f64"}


def _to_python(text: _Text, results: Sequence[int], returned: Sequence[str], slots: str) -> str:
    if not results:
        return text.boundary("from_none", "")
    if len(results) > 1:
        return text.boundary("from_results", f"ptr %target, ptr {slots}")
    (valtype,) = results
    if valtype == V128:
        return text.boundary("from_v128", f"ptr {slots}")
    if is_reference(valtype):
        bits = text.let(f"ptrtoint ptr {returned[0]} to i64")
        return text.boundary("from_reference", f"ptr %target, i64 {bits}, i32 0")
    return text.boundary(f"from_{_KIND_NAMES[valtype]}", f"{llvm_type(valtype)} {returned[0]}")


def _wasm_function(name: str, functype: FuncType, attributes: str = "#0") -> _Text:
    """The head of a function that wasm calls, with a host function as vmctx."""
    params = ["ptr %host"]
    if len(functype.results) > abi.MAX_REGISTER_RESULTS:
        params.append("ptr %area")
    params += [f"{llvm_type(t)} %p{position}" for position, t in enumerate(functype.params)]
    return _Text(f"define {return_type(functype.results)} @{name}({', '.join(params)})", attributes)


def _host(name: str, functype: FuncType) -> str:
    text = _wasm_function(name, functype)
    count = len(functype.params)
    storage = text.let(f"alloca [{count + abi.SPARE_ARGUMENTS} x ptr], align 16")
    vector = text.let("alloca [2 x i64], align 16") if V128 in functype.params else ""
    results = functype.results
    several = len(results) > 1 or V128 in results
    first_two = text.let(f"alloca [{2 * abi.MAX_REGISTER_RESULTS} x i64], align 16") if several else ""
    text.add(f"%boundary = load ptr, ptr %host, align {abi.POINTER_BYTES}")
    frame = text.let("call ptr @llvm.frameaddress.p0(i32 0)")
    text.boundary("host_begin", f"ptr %host, ptr {frame}")
    for position, valtype in enumerate(functype.params):
        value = f"%p{position}"
        if valtype == V128:
            text.store(llvm_type(V128), value, vector, 0)
            object = text.boundary("from_v128", f"ptr {vector}")
        elif is_reference(valtype):
            bits = text.let(f"ptrtoint ptr {value} to i64")
            object = text.boundary("host_argument", f"ptr %host, i64 {bits}, i32 {position}")
        else:
            object = text.boundary(f"from_{_KIND_NAMES[valtype]}", f"{llvm_type(valtype)} {value}")
        text.store("ptr", object, storage, abi.POINTER_BYTES * (abi.SPARE_ARGUMENTS + position))
    first = text.let(f"getelementptr i8, ptr {storage}, i64 {abi.POINTER_BYTES * abi.SPARE_ARGUMENTS}")
    returned = text.boundary("host_call", f"ptr %host, ptr {first}, i64 {count}")
    values = []
    if not results:
        text.boundary("host_no_result", f"ptr %host, ptr {returned}")
    elif several:
        area = "%area" if len(results) > abi.MAX_REGISTER_RESULTS else "null"
        text.boundary("host_results", f"ptr %host, ptr {returned}, ptr {first_two}, ptr {area}")
        for position, valtype in enumerate(results[: abi.MAX_REGISTER_RESULTS]):
            values.append(text.load(llvm_type(valtype), first_two, 2 * abi.SLOT_BYTES * position))
    else:
        values.append(_from_bits(text, results[0], text.boundary("host_result", f"ptr %host, ptr {returned}")))
    text.boundary("host_end", f"ptr %host, ptr {frame}")
    _return(text, results, values)
    return text.text()


def _return(text: _Text, results: Sequence[int], values: Sequence[str]) -> None:
    """Returns what comes back in registers."""
    if not results:
        text.add("ret void")
        return
    returned = values[0]
    if len(results) > 1:
        pair = return_type(tuple(results))
        first = text.let(f"insertvalue {pair} poison, {llvm_type(results[0])} {values[0]}, 0")
        returned = text.let(f"insertvalue {pair} {first}, {llvm_type(results[1])} {values[1]}, 1")
    text.add(f"ret {return_type(tuple(results))} {returned}")


def _native(name: str, functype: FuncType) -> str:
    """Only for up to one result: what C returns."""
    text = _wasm_function(name, functype, "#1")  # without a frame, and tail calls are allowed
    function = text.load("ptr", "%host", abi.HOST_FUNC["native"])
    arguments = ", ".join(f"{llvm_type(t)} %p{position}" for position, t in enumerate(functype.params))
    # A tail call where the registers allow: then it costs a few moves and a jump.
    _return(text, functype.results, _call_results(text, functype, f"{function}({arguments})", "", "tail call"))
    return text.text()


def _reverse(name: str, functype: FuncType) -> str:
    params = ["ptr nest %target", *(f"{llvm_type(t)} %p{position}" for position, t in enumerate(functype.params))]
    returns = return_type(functype.results)
    text = _Text(f"define {returns} @{name}({', '.join(params)})")
    text.add(f"%entry_record = alloca [{abi.ENTRY_BYTES} x i8], align 16")
    text.add(f"%boundary = load ptr, ptr %target, align {abi.POINTER_BYTES}")
    refused = text.boundary("native_begin", "ptr %target, ptr %entry_record")
    condition = text.let(f"icmp eq i32 {refused}, 0")
    text.add(f"br i1 {condition}, label %inside, label %failed, !prof !0")
    text.block("inside")
    arguments = [f"%p{position}" for position in range(len(functype.params))]
    returned = _gate_call(text, functype, _load_vmctx(text), arguments, "")
    text.boundary("native_end", "ptr %target, ptr %entry_record")
    if returned:  # after a failure it is whatever was in the register
        status = text.load("i32", "%entry_record", abi.ENTRY["status"], align=4)
        condition = text.let(f"icmp eq i32 {status}, 0")
        text.add(f"br i1 {condition}, label %succeeded, label %failed, !prof !0")
        text.block("succeeded")
    _return(text, functype.results, returned)
    text.block("failed")
    text.add(f"ret {returns}" + (" zeroinitializer" if returned else ""))
    return text.text()


def _map(name: str, functype: FuncType) -> str:
    text = _Text(f"define void @{name}(ptr %job)")
    columns = len(functype.params) + len(functype.results)
    area = ""
    slots = area_slots(functype.results)
    if slots:
        area = text.let(f"alloca [{_slot_count(functype.results)} x i64], align 16")
    code = text.load("ptr", "%job", abi.MAP_JOB["code"])
    vmctx = text.load("ptr", "%job", abi.MAP_JOB["vmctx"])
    count = text.load("i64", "%job", abi.MAP_JOB["count"])
    data, strides = [], []
    for column in range(columns):
        at = abi.MAP_JOB["sizeof"] + column * abi.COLUMN["sizeof"]
        data.append(text.load("ptr", "%job", at + abi.COLUMN["data"]))
        strides.append(text.load("i64", "%job", at + abi.COLUMN["stride_bytes"]))
    none = text.let(f"icmp eq i64 {count}, 0")
    text.add(f"br i1 {none}, label %done, label %loop")
    text.block("loop")
    phis = []
    for column in range(columns):
        text.add(f"%at{column} = phi ptr [ {data[column]}, %entry ], [ %next{column}, %loop ]")
        phis.append(f"%at{column}")
    text.add("%i = phi i64 [ 0, %entry ], [ %i.next, %loop ]")
    # Rows of NumPy arrays need not be aligned.
    arguments = [text.load(llvm_type(t), phis[n], 0, align=1) for n, t in enumerate(functype.params)]
    operands = [f"ptr {vmctx}", *([f"ptr {area}"] if slots else [])]
    operands += [f"{llvm_type(t)} {value}" for t, value in zip(functype.params, arguments, strict=True)]
    returned = _call_results(text, functype, f"{code}({', '.join(operands)})", area)
    for n, (value, valtype) in enumerate(zip(returned, functype.results, strict=True), len(functype.params)):
        text.store(llvm_type(valtype), value, phis[n], 0, align=1)
    for column in range(columns):
        text.add(f"%next{column} = getelementptr i8, ptr {phis[column]}, i64 {strides[column]}")
    text.add("%i.next = add i64 %i, 1")
    text.store("i64", "%i.next", "%job", abi.MAP_JOB["done"])  # where a trap was
    text.add(f"%more = icmp ult i64 %i.next, {count}")
    text.add("br i1 %more, label %loop, label %done")
    text.block("done")
    text.add("ret void")
    return text.text()


_GENERATORS = {ENTER: _enter, HOST: _host, NATIVE: _native, REVERSE: _reverse, MAP: _map}
