"""Objects as the compiler makes them, from small IR texts: the input of elf, dwarf, link, artifact and loader tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import llvmlite.binding as llvm
import pytest

from wasmjit import abi
from wasmjit.artifact import Artifact
from wasmjit.config import Config
from wasmjit.target import Target, host_machine, parse_features
from wasmjit.wasm import types
from wasmjit.wasm.module import (
    ACTIVE,
    PASSIVE,
    ConstantFunction,
    DataSegment,
    ElementSegment,
    Export,
    FunctionBody,
    FunctionItems,
    GlobalDefinition,
    Import,
    Module,
    Names,
)

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}

# Function 0 of the module is imported. Unit 1-4 and unit 5-6; line numbers stand for offsets in the wasm module.
FIRST_UNIT = """
@wj_functions_1 = constant [4 x ptr] [ptr @f1, ptr @f2, ptr @f3, ptr @f4]
declare void @llvm.ubsantrap(i8)
; A jump table: the value of each case is known by a store that cannot be moved.
define hidden i32 @f1(ptr %vm, i32 %x) nounwind "frame-pointer"="all" !dbg !10 {
  switch i32 %x, label %other [ JUMPS ]
BLOCKS
other:
  call void @llvm.ubsantrap(i8 9) nomerge, !dbg !DILocation(line: 900, scope: !10)
  unreachable
}
; Float constants that live in .rodata.
define hidden double @f2(ptr %vm, double %x) nounwind noinline "frame-pointer"="all" !dbg !11 {
  %a = fmul double %x, 0x400921FB54442D18
  %b = fadd double %a, 0x4005BF0A8B145769
  ret double %b
}
define hidden double @f3(ptr %vm, i32 %n) nounwind "frame-pointer"="all" !dbg !12 {
  %f = sitofp i32 %n to double, !dbg !DILocation(line: 1999, scope: !12)
  %r = call double @f2(ptr %vm, double %f), !dbg !DILocation(line: 2000, scope: !12)
  %s = call double @f2(ptr %vm, double %r), !dbg !DILocation(line: 100000, scope: !12)
  %t = fadd double %r, %s
  ret double %t
}
; A table lookup in constants of our own.
@numbers = private unnamed_addr constant [5 x i64] [i64 3, i64 -1, i64 4000000000000, i64 15, i64 92]
define hidden i64 @f4(ptr %vm, i32 %i) nounwind "frame-pointer"="all" !dbg !13 {
  %j = urem i32 %i, 5
  %p = getelementptr [5 x i64], ptr @numbers, i32 0, i32 %j
  %v = load i64, ptr %p
  ret i64 %v
}
"""
SECOND_UNIT = """
@wj_functions_5 = constant [2 x ptr] [ptr @f5, ptr @f6]
; Across units: through the function table.
define hidden double @f5(ptr %vm, double %x) nounwind "frame-pointer"="all" !dbg !10 {
  %slot = getelementptr i8, ptr %vm, i64 FUNCTIONS
  %table = load ptr, ptr %slot
  %entry = getelementptr ptr, ptr %table, i64 1
  %code = load ptr, ptr %entry
  %r = call double %code(ptr %vm, double %x), !dbg !DILocation(line: 5000, scope: !10)
  %s = fadd double %r, 0x3FD5555555555555
  ret double %s
}
; A large function.
define hidden i64 @f6(ptr %vm, i64 %x0) nounwind "frame-pointer"="all" !dbg !11 {
LARGE
}
"""
DEBUG_INFO = """
!llvm.dbg.cu = !{!1}
!llvm.module.flags = !{!3, !4}
!1 = distinct !DICompileUnit(language: DW_LANG_C, file: !2, emissionKind: LineTablesOnly)
!2 = !DIFile(filename: "module.wasm", directory: "/")
!3 = !{i32 2, !"Debug Info Version", i32 3}
!4 = !{i32 7, !"Dwarf Version", i32 VERSION}
"""
JUMP_COUNT = 24
LARGE_STEPS = 3000


def jump_result(x: int) -> int:
    """What f1 returns."""
    return (x * 7919 + 13) % 1000


def large_result(x: int) -> int:
    """What f6 returns, as an unsigned 64-bit number."""
    for i in range(LARGE_STEPS):
        x = ((x ^ i * 0x9E3779B9) * 3 + 1) & 0xFFFF_FFFF_FFFF_FFFF
    return x


def f2_result(x: float) -> float:
    """What f2 returns."""
    return x * 3.141592653589793 + 2.718281828459045


@dataclass(frozen=True)
class Unit:
    """As compile.pipeline.CompiledUnit."""

    first_function: int
    count: int
    object: bytes
    is_left: bool = False
    seconds: float = 0.0


def unit_text(number: int, dwarf_version: int = 5) -> str:
    """The IR text of the first or the second unit."""
    text = FIRST_UNIT if number == 0 else SECOND_UNIT
    jumps = " ".join(f"i32 {i}, label %case{i}" for i in range(JUMP_COUNT))
    blocks = "\n".join(
        f"case{i}:\n  store volatile i32 {i}, ptr %vm, !dbg !DILocation(line: {100 + i}, scope: !10)\n"
        f"  ret i32 {jump_result(i)}"
        for i in range(JUMP_COUNT)
    )
    steps = [
        f"  %y{i} = xor i64 %x{i}, {i * 0x9E3779B9}\n  %z{i} = mul i64 %y{i}, 3\n  %x{i + 1} = add i64 %z{i}, 1\n"
        f"  store volatile i64 %x{i + 1}, ptr %vm, !dbg !DILocation(line: {6000 + i}, scope: !11)"
        for i in range(LARGE_STEPS)
    ]
    for i in range(0, LARGE_STEPS, 30):  # never left that way, but LLVM takes seconds for one block of all
        steps[i] = f"  %c{i} = icmp eq i64 %x{i}, 1\n  br i1 %c{i}, label %left, label %part{i}\npart{i}:\n{steps[i]}"
    large = "\n".join([*steps, f"  ret i64 %x{LARGE_STEPS}", "left:", "  ret i64 -1"])
    text = text.replace("JUMPS", jumps).replace("BLOCKS", blocks).replace("LARGE", large)
    text = text.replace("FUNCTIONS", str(abi.VMCONTEXT["functions"]))
    first, count = (1, 4) if number == 0 else (5, 2)
    programs = "".join(
        f'!{10 + i} = distinct !DISubprogram(name: "f{first + i}", file: !2, unit: !1, spFlags: DISPFlagDefinition)\n'
        for i in range(count)
    )
    return text + DEBUG_INFO.replace("VERSION", str(dwarf_version)) + programs


def emit(text: str, machine: str = host_machine(), opt: int = 2, features: str = "") -> bytes:
    """Compile IR text to an object without the optimiser's passes."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = TRIPLES[machine]
    module = llvm.parse_assembly(f'target triple = "{triple}"\n{text}')
    module.verify()
    target = llvm.Target.from_triple(triple)
    return bytes(
        target.create_target_machine(opt=opt, reloc="pic", codemodel="small", features=features).emit_object(module)
    )


_objects: dict[tuple[int, str, int, int], bytes] = {}


def emit_units(machine: str = host_machine(), dwarf_version: int = 5, opt: int = 2) -> list[Unit]:
    """The objects of both units; made once per process."""
    units = []
    for number, (first, count) in enumerate(((1, 4), (5, 2))):
        key = (number, machine, dwarf_version, opt)
        if key not in _objects:
            _objects[key] = emit(unit_text(number, dwarf_version), machine, opt)
        units.append(Unit(first, count, _objects[key]))
    return units


def sample_module() -> Module:
    """A decoded module for the units above, with something in every field."""
    i32, i64, f64 = types.I32, types.I64, types.F64
    limits = types.Limits(1, 4)
    memory, table = types.MemoryType(limits), types.TableType(types.FUNCREF, limits)
    wasm = bytes(range(256)) * 4
    return Module(
        wasm=wasm,
        types=[
            types.FuncType((i32,), (i32,)),
            types.FuncType((f64,), (f64,)),
            types.FuncType((i32,), (f64,)),
            types.FuncType((i32,), (i64,)),
            types.FuncType((i64,), (i64,)),
        ],
        imports=[
            Import("env", "log – ü", types.FUNCTION, 0, 40),
            Import("env", "memory", types.MEMORY, replace(memory, shared=True), 50),
            Import("env", "table", types.TABLE, table, 60),
            Import("env", "global", types.GLOBAL, types.GlobalType(i64, False), 70),
        ],
        functions=[0, 0, 1, 2, 3, 1, 4],
        tables=[table, replace(table, element=types.EXTERNREF, limits=types.Limits(0))],
        memories=[replace(memory, shared=True), replace(memory, is_64=True, page_size_log2=0)],
        globals=[types.GlobalType(i64, False), types.GlobalType(f64, True)],
        num_imported_functions=1,
        num_imported_tables=1,
        num_imported_memories=1,
        num_imported_globals=1,
        global_definitions=[GlobalDefinition(types.GlobalType(f64, True), ((0x44, 0x7FF0_0000_0000_0001),), 80)],
        exports=[Export("run", types.FUNCTION, 3, 90), Export("memory", types.MEMORY, 0, 95)],
        start=1,
        start_offset=96,
        elements=[
            ElementSegment(ACTIVE, types.FUNCREF, FunctionItems([1, 5]), 0, ((0x41, -7),), 100),
            ElementSegment(PASSIVE, types.FUNCREF, (((0xD0, types.FUNCREF),), ((0x23, 0),), ((0xD2, 2),)), 0, (), 110),
            ElementSegment(PASSIVE, types.FUNCREF, (), 0, (), 120),
        ],
        data=[
            DataSegment(ACTIVE, 0, ((0x10, 7),), 130, 140, 125),
            DataSegment(PASSIVE, 0, (), 300, 305, 295),
        ],
        data_count=2,
        bodies=[FunctionBody(400 + 10 * i, 409 + 10 * i) for i in range(6)],
        code_start=398,
        code_end=460,
        referenced_functions={1, 5, 2, 3},
        constant_functions=[ConstantFunction(126, 132, i32, 1)],
        names=Names("sample", {0: "log", 2: "multiply_add", 6: "größer"}),
    )


def make_artifact(machine: str = host_machine(), opt: int = 2, features: str = "") -> Artifact:
    """The artifact of the sample module."""
    target = Target(TRIPLES[machine], "generic", parse_features(features))
    return Artifact.from_compiled(
        sample_module(), emit_units(machine, opt=opt), target=target, config_key=Config().cache_key()
    )


@dataclass(frozen=True)
class Toolbox:
    """The functions above, for tests."""

    emit: Callable[..., bytes] = emit
    emit_units: Callable[..., list[Unit]] = emit_units
    make_artifact: Callable[..., Artifact] = make_artifact
    sample_module: Callable[[], Module] = sample_module
    unit: Callable[[int, int, bytes], Unit] = Unit
    unit_text: Callable[..., str] = unit_text
    jump_result: Callable[[int], int] = jump_result
    large_result: Callable[[int], int] = large_result
    f2_result: Callable[[float], float] = f2_result
    jump_count: int = JUMP_COUNT
    machines: tuple[str, ...] = tuple(TRIPLES)


@pytest.fixture(scope="session")
def objects() -> Toolbox:
    """Makes objects, units and artifacts from IR."""
    return Toolbox()
