"""Small hand-written generated code for the tests of the C runtime: LLVM IR in the ABI of wasmjit/abi.py.

Scripts that run in a subprocess use it too (the working directory is the repository's root).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm

from wasmjit import abi
from wasmjit.runtime.native import TypedBase, ffi, host_func_new, lib, set_trap_factory, signature
from wasmjit.runtime.trampolines import Trampoline

MIB = 1 << 20
GIB = 1 << 30
IR_TYPES = {"i": "i32", "I": "i64", "f": "float", "F": "double", "V": "<2 x i64>", "r": "ptr"}
ATTRIBUTES = 'nounwind noinline "frame-pointer"="all" "disable-tail-calls"="true" "no-builtins"'

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
llvm.initialize_native_asmparser()


class TrapError(Exception):
    """What the tests' trap factory makes."""

    def __init__(self, code: int, fault_address: int, pcs: tuple[int, ...]) -> None:
        super().__init__(code)
        self.code = code
        self.fault_address = fault_address
        self.pcs = pcs


class Code:
    """Machine code of an IR text, loaded and registered; `functions` in the order of their definition."""

    def __init__(self, text: str, register: bool = True, opt: int = 2) -> None:
        self.registered = False
        module = llvm.parse_assembly(f'target triple = "{llvm.get_default_triple()}"\n{text}')
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=opt, reloc="pic", codemodel="small")
        data = machine.emit_object(module)
        names = [function.name for function in module.functions if not function.is_declaration]
        parsed = llvm.ObjectFileRef.from_data(data)
        size_bytes = next(section.size() for section in parsed.sections() if section.name() == b".text")
        empty = llvm.parse_assembly("")
        self.engine = llvm.create_mcjit_compiler(empty, machine, use_lmm=True)
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        self.engine.finalize_object()
        self.addresses = {name: self.engine.get_function_address(name) for name in names}
        self.start = self.addresses[names[0]]
        self.end = self.start + size_bytes
        assert all(self.start <= address < self.end for address in self.addresses.values())
        self.registered = register
        if register:
            assert lib.wj_code_register(self.start, self.end) == 0

    def name_at(self, pc: int) -> str:
        """The name of the function that holds pc."""
        return max((address, name) for name, address in self.addresses.items() if address <= pc)[1]

    def unregister(self) -> None:
        if self.registered:
            self.registered = False
            lib.wj_code_unregister(self.start)

    def __del__(self) -> None:
        self.unregister()


class Instance:
    """A store with one instance context: memories, tables, segments and imported functions as given."""

    def __init__(
        self,
        memories: Sequence[Any] = (),
        tables: Sequence[Any] = (),
        data: Sequence[bytes] = (),
        elements: Sequence[Sequence[int]] = (),
        imports: int = 4,
        store: Any = None,
        max_wasm_stack_bytes: int = MIB,
    ) -> None:
        self.owns_store = store is None
        self.store = lib.wj_store_new(max_wasm_stack_bytes) if store is None else store
        self.keep: list[Any] = []
        self.memories = [make(self.store) if callable(make) else make for make in memories]
        self.tables = [make(self.store) if callable(make) else make for make in tables]
        self.layout = abi.layout(
            imported_functions=imports,
            memories=len(memories),
            tables=len(tables),
            imported_globals=0,
            defined_globals=0,
            data_segments=len(data),
            element_segments=len(elements),
            func_refs=0,
        )
        template = bytearray(self.layout.size_bytes)
        slots = [(self.layout.memories, memory, lib.wj_memory_base(memory)) for memory in self.memories]
        slots += [(self.layout.tables, table, lib.wj_table_elements(table)) for table in self.tables]
        counts: dict[int, int] = {}
        for start, pointer, address in slots:
            at = start + 16 * counts.get(start, 0)
            counts[start] = counts.get(start, 0) + 1
            struct.pack_into("<QQ", template, at, int(ffi.cast("uintptr_t", pointer)), address)
        for start, unit_bytes, segments in (
            (self.layout.data_segments, 1, data),
            (self.layout.element_segments, 8, [struct.pack(f"<{len(e)}Q", *e) for e in elements]),
        ):
            for i, segment in enumerate(segments):
                kept = ffi.new("uint8_t[]", bytes(segment) + b"\0")
                self.keep.append(kept)
                length = len(segment) // unit_bytes
                struct.pack_into("<QQ", template, start + 16 * i, int(ffi.cast("uintptr_t", kept)), length)
        layout = self.layout
        self.context = lib.wj_instance_new(
            self.store,
            ffi.from_buffer(template),
            len(template),
            layout.memories,
            layout.tables,
            layout.data_segments,
            layout.element_segments,
        )
        assert self.context != ffi.NULL
        self.address = int(ffi.cast("uintptr_t", self.context))

    def host(
        self,
        function: Any,
        params: str = "",
        results: str = "",
        flags: int = 0,
        slot: int | None = None,
        *,
        code: Trampoline | None = None,
        native: int = 0,
    ) -> Any:
        """A host func-ref; stored as imported function `slot` if given. `code`: a trampoline."""
        made = signature(params, results)
        self.keep.append(code)
        address = 0 if code is None else code.address
        func_ref = host_func_new(self.store, function, made, flags, code=address, native=native)
        if slot is not None:
            self.put_import(slot, func_ref)
        return func_ref

    def put_import(self, slot: int, func_ref: Any) -> None:
        """Stores a func-ref as imported function `slot`."""
        array = ffi.cast("uintptr_t *", self.address + self.layout.imported_functions)
        array[slot] = int(ffi.cast("uintptr_t", func_ref))

    def func_ref(self, address: int, type_id: int = 0) -> Any:
        """A func-ref of machine code with this instance's context."""
        record = lib.wj_store_alloc(self.store, abi.FUNC_REF["sizeof"])
        ffi.buffer(record, 24)[:] = struct.pack("<QQII", address, self.address, type_id, 0)
        return ffi.cast("wj_func_ref *", record)

    def function(
        self,
        address: int,
        params: str = "",
        results: str = "",
        flags: int = 0,
        owner: object = None,
        *,
        enter: Trampoline | None = None,
    ) -> Any:
        """What runs machine code at `address`."""
        return self.builtin(self.func_ref(address), params, results, flags, owner, enter=enter)

    def builtin(
        self,
        func_ref: Any,
        params: str = "",
        results: str = "",
        flags: int = 0,
        owner: object = None,
        *,
        enter: Trampoline | None = None,
    ) -> Any:
        """What calls a func-ref; `enter`: by this trampoline."""
        made = TypedBase()
        held = signature(params, results)  # until it is bound
        addresses = [int(ffi.cast("uintptr_t", p)) for p in (self.store, func_ref, held)]
        made._bind(owner or self, enter, *addresses, 0 if enter is None else enter.address, flags)
        return made

    def close(self) -> None:
        """Frees the store."""
        if self.owns_store:
            self.owns_store = False
            lib.wj_store_free(self.store)

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def memory(
    min_pages: int, max_pages: int = 65536, reservation: int = 4 * GIB, guard: int = 2 * GIB
) -> Callable[[Any], Any]:
    """Makes a memory of 64 KiB pages in a store (guard pages by default)."""

    def make(store: Any) -> Any:
        error = ffi.new("int *")
        made = lib.wj_memory_new(store, min_pages, max_pages, 16, reservation, guard, error)
        assert made != ffi.NULL, error[0]
        return made

    return make


def table(minimum: int, maximum: int = abi.POINTER_BYTES * 1000, init: int = 0) -> Callable[[Any], Any]:
    """Makes a table in a store."""

    def make(store: Any) -> Any:
        error = ffi.new("int *")
        made = lib.wj_table_new(store, minimum, maximum, init, error)
        assert made != ffi.NULL, error[0]
        return made

    return make


# ---- IR ----


def result_type(results: str) -> str:
    """The IR return type of a result list."""
    if len(results) == 0:
        return "void"
    first = [IR_TYPES[letter] for letter in results[:2]]
    return first[0] if len(first) == 1 else "{" + ", ".join(first) + "}"


def parameter_list(params: str, results: str) -> str:
    """The IR parameters: %vm, %area if needed, %p0..."""
    hidden = ["ptr %vm"] + (["ptr %area"] if len(results) > 2 else [])
    return ", ".join(hidden + [f"{IR_TYPES[letter]} %p{i}" for i, letter in enumerate(params)])


def area_offsets(results: str) -> list[int]:
    """The byte offset in the results area of each result from the third on."""
    offsets, at = [], 0
    for letter in results[2:]:
        offsets.append(at)
        at += 16 if letter == "V" else 8
    return offsets


def return_values(results: str, values: Sequence[str]) -> str:
    """IR that returns the named values."""
    lines = []
    for k, (letter, offset) in enumerate(zip(results[2:], area_offsets(results), strict=True)):
        lines.append(f"  %slot{k} = getelementptr i8, ptr %area, i64 {offset}")
        lines.append(f"  store {IR_TYPES[letter]} {values[k + 2]}, ptr %slot{k}, align 8")
    if not results:
        return "  ret void"
    if len(results) == 1:
        return f"  ret {IR_TYPES[results]} {values[0]}"
    kind = result_type(results)
    lines.append(f"  %r0 = insertvalue {kind} poison, {IR_TYPES[results[0]]} {values[0]}, 0")
    lines.append(f"  %r1 = insertvalue {kind} %r0, {IR_TYPES[results[1]]} {values[1]}, 1")
    return "\n".join([*lines, f"  ret {kind} %r1"])


def picker(name: str, params: str, picks: Sequence[int]) -> str:
    """IR of a function that returns the parameters numbered `picks`."""
    results = "".join(params[pick] for pick in picks)
    body = return_values(results, [f"%p{pick}" for pick in picks])
    return f"define {result_type(results)} @{name}({parameter_list(params, results)}) {ATTRIBUTES} {{\n{body}\n}}\n"


def call_import(name: str, slot: int, params: str, results: str, layout_offset: int) -> str:
    """IR of a function that passes its parameters on to imported function `slot` and returns its results."""
    kind = result_type(results)
    hidden = ["ptr %vmctx"] + (["ptr %area"] if len(results) > 2 else [])
    arguments = ", ".join(hidden + [f"{IR_TYPES[letter]} %p{i}" for i, letter in enumerate(params)])
    bind = "" if kind == "void" else "%r = "
    give = "ret void" if kind == "void" else f"ret {kind} %r"
    return f"""
define {kind} @{name}({parameter_list(params, results)}) {ATTRIBUTES} {{
  %storep = getelementptr i8, ptr %vm, i64 {abi.VMCONTEXT["store"]}
  %store = load ptr, ptr %storep
  %callerp = getelementptr i8, ptr %store, i64 {abi.STORE["caller"]}
  store ptr %vm, ptr %callerp
  %refp = getelementptr i8, ptr %vm, i64 {layout_offset + 8 * slot}
  %ref = load ptr, ptr %refp
  %code = load ptr, ptr %ref
  %vmctxp = getelementptr i8, ptr %ref, i64 {abi.FUNC_REF["vmctx"]}
  %vmctx = load ptr, ptr %vmctxp
  {bind}call {kind} %code({arguments})
  {give}
}}
"""


def call_builtin(builtin: abi.Builtin) -> str:
    """IR of a function named like a builtin that passes its i32/i64/ptr parameters on to it."""
    params = ", ".join(["ptr %vm", *(f"{kind} %p{i}" for i, kind in enumerate(builtin.params))])
    bind = "" if builtin.result == "void" else "%r = "
    give = "ret void" if builtin.result == "void" else f"ret {builtin.result} %r"
    return f"""
define {builtin.result} @{builtin.name}({params}) {ATTRIBUTES} {{
  %tablep = getelementptr i8, ptr %vm, i64 {abi.VMCONTEXT["builtins"]}
  %table = load ptr, ptr %tablep
  %slot = getelementptr ptr, ptr %table, i64 {abi.BUILTIN_INDEX[builtin.name]}
  %code = load ptr, ptr %slot
  {bind}call {builtin.result} %code({params})
  {give}
}}
"""


def builtin_signature(builtin: abi.Builtin) -> tuple[str, str]:
    """Parameter and result letters of a builtin."""
    letters = {"i32": "i", "i64": "I", "ptr": "r", "void": ""}
    return "".join(letters[kind] for kind in builtin.params), letters[builtin.result]


# Function @main calls @middle calls @leaf, which traps with %code (one of the codes of TRAP_CODES).
TRAP_CODES = (1, 3, 5, 6, 7, 8, 9, 49)


def trap_chain() -> str:
    """IR of main -> middle -> leaf; leaf traps with the code it is given."""
    cases = " ".join(f"i32 {code}, label %trap{code}" for code in TRAP_CODES)
    blocks = "".join(f"trap{c}:\n  call void @llvm.ubsantrap(i8 {c}) nomerge\n  unreachable\n" for c in TRAP_CODES)
    return f"""
declare void @llvm.ubsantrap(i8)
define i32 @leaf(ptr %vm, i32 %code) {ATTRIBUTES} {{
  switch i32 %code, label %fine [ {cases} ]
fine:
  ret i32 %code
{blocks}}}
define i32 @middle(ptr %vm, i32 %code) {ATTRIBUTES} {{
  %r = call i32 @leaf(ptr %vm, i32 %code)
  %s = add i32 %r, 1
  ret i32 %s
}}
define i32 @main(ptr %vm, i32 %code) {ATTRIBUTES} {{
  %r = call i32 @middle(ptr %vm, i32 %code)
  %s = add i32 %r, 1
  ret i32 %s
}}
"""


def memory_access(memories_offset: int) -> str:
    """IR: load8 / store8 of memory 0 under the guard-page policy, at a 32-bit address plus a 64-bit offset."""
    return f"""
define i32 @load8(ptr %vm, i32 %address, i64 %offset) {ATTRIBUTES} {{
  %basep = getelementptr i8, ptr %vm, i64 {memories_offset + abi.MEMORY_SLOT["base"]}
  %base = load ptr, ptr %basep
  %wide = zext i32 %address to i64
  %at = getelementptr i8, ptr %base, i64 %wide
  %p = getelementptr i8, ptr %at, i64 %offset
  %byte = load volatile i8, ptr %p
  %r = zext i8 %byte to i32
  ret i32 %r
}}
define void @store8(ptr %vm, i32 %address, i64 %offset, i32 %value) {ATTRIBUTES} {{
  %basep = getelementptr i8, ptr %vm, i64 {memories_offset + abi.MEMORY_SLOT["base"]}
  %base = load ptr, ptr %basep
  %wide = zext i32 %address to i64
  %at = getelementptr i8, ptr %base, i64 %wide
  %p = getelementptr i8, ptr %at, i64 %offset
  %byte = trunc i32 %value to i8
  store volatile i8 %byte, ptr %p
  ret void
}}
"""


RECURSION = f"""
declare void @llvm.ubsantrap(i8)
declare ptr @llvm.frameaddress.p0(i32)
define i32 @checked(ptr %vm, i32 %n) {ATTRIBUTES} {{
  %storep = getelementptr i8, ptr %vm, i64 {abi.VMCONTEXT["store"]}
  %store = load ptr, ptr %storep
  %limit = load i64, ptr %store
  %frame = call ptr @llvm.frameaddress.p0(i32 0)
  %at = ptrtoint ptr %frame to i64
  %low = icmp ult i64 %at, %limit
  br i1 %low, label %overflow, label %go
overflow:
  call void @llvm.ubsantrap(i8 0)
  unreachable
go:
  %end = icmp eq i32 %n, 0
  br i1 %end, label %stop, label %deeper
deeper:
  %m = sub i32 %n, 1
  %r = call i32 @checked(ptr %vm, i32 %m)
  %s = add i32 %r, 1
  ret i32 %s
stop:
  ret i32 0
}}
; Without a check: runs into the guard pages of the stack.
define i32 @unchecked(ptr %vm, i32 %n) {ATTRIBUTES} "probe-stack"="inline-asm" {{
  %room = alloca [6000 x i8]
  %end = icmp eq i32 %n, 0
  br i1 %end, label %stop, label %deeper
deeper:
  store volatile i8 1, ptr %room
  %m = sub i32 %n, 1
  %r = call i32 @unchecked(ptr %vm, i32 %m)
  %s = add i32 %r, 1
  ret i32 %s
stop:
  ret i32 0
}}
"""


set_trap_factory(TrapError)
