"""A routine of each vector row, which LLVM makes of the row's own text when the C runtime is built.

The interpreter calls them, and code from stencils where no stencil is. `make` writes an object file that is linked into
the runtime: the routines, and the table by which they are found (``wj_vector_offsets``; ``runtime_c/interpret.h``).
"""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm

from ..wasm.first_tier import computed, vector_rows
from ..wasm.ops import Op
from ..wasm.types import V128
from . import vectors
from .sources import state_of
from .vectors import CHOICES, Choice

# Machine -> triple, and the least processor that code is made for.
TARGETS = {
    "x86_64": ("x86_64-unknown-linux-gnu", "x86-64-v2"),
    "aarch64": ("aarch64-unknown-linux-gnu", "generic"),
}
_TABLE = "wj_vector_offsets"
# AArch64: where indirect branches land. What the runtime is linked with may ask for it of all there is.
_AARCH64_FLAGS = """!llvm.module.flags = !{!0}
!0 = !{i32 8, !"branch-target-enforcement", i32 1}
"""


def body(op: Op, choice: Choice, is_x86: bool) -> str:
    """From slots to a slot."""
    lines = []
    for position, wanted in enumerate(vectors.operand_types(op)):
        name = "abc"[position]
        if wanted.startswith("<") and not (op.access_bytes and op.result and position == 0):
            lines.append(f"  %{name} = load {wanted}, ptr %{name}.p, align 8")
            continue
        number = vectors.number_type(op, position)
        lines.append(f"  %{name}.n = load {number}, ptr %{name}.p, align 8")
        lines.append(vectors.converted(name, f"%{name}.n", number, wanted))
    made = vectors.compute(op, choice, is_x86, "%lane")
    lines += ["  %lane = zext i32 %lane.n to i64", made.text]
    value, result = made.value, made.llvm
    if computed(op) != V128:
        is_float = result in ("float", "double")
        bits = {"float": "i32", "double": "i64"}.get(result, result)
        if is_float:
            lines.append(f"  %bits = bitcast {result} {value} to {bits}")
            value = "%bits"
        if bits != "i64":
            lines.append(f"  %wide = zext {bits} {value} to i64")
            value = "%wide"
        result = "i64"
    return "\n".join([*lines, f"  store {result} {value}, ptr %d, align 8", "  ret void"])


def text(machine: str) -> str:
    """The LLVM module."""
    triple, _ = TARGETS[machine]
    is_x86 = machine == "x86_64"
    functions: dict[str, str] = {}  # by body: the name
    rows = vector_rows()
    table = []
    for choice in CHOICES:
        entries = []
        for op in rows:
            if "lanes" in op.immediates:
                entries.append("i32 0")
                continue
            attributes = "#1" if is_x86 and choice.has_fused_multiply_add and vectors.uses_multiply_add(op) else "#0"
            code = f"{attributes} {{\n{body(op, choice, is_x86)}\n}}\n"
            name = functions.setdefault(code, f"@vector.{len(functions)}")
            distance = f"i64 sub (i64 ptrtoint (ptr {name} to i64), i64 ptrtoint (ptr @{_TABLE} to i64))"
            entries.append(f"i32 trunc ({distance} to i32)")
        table.append(f"[{len(rows)} x i32] [{', '.join(entries)}]")
    lines = [f'target triple = "{triple}"']
    parameters = "ptr %d, ptr %a.p, ptr %b.p, ptr %c.p, i32 %lane.n"
    lines += [f"define internal void {name}({parameters}) {code}" for code, name in functions.items()]
    lines.append(f"@{_TABLE} = hidden constant [{len(CHOICES)} x [{len(rows)} x i32]] [{', '.join(table)}], align 4")
    lines.append('attributes #0 = { nounwind "frame-pointer"="non-leaf" }')
    lines.append('attributes #1 = { nounwind "frame-pointer"="non-leaf" "target-features"="+fma" }')
    lines.append("attributes #2 = { nounwind willreturn memory(none) }")
    return "\n".join(lines) + "\n" + (_AARCH64_FLAGS if machine == "aarch64" else "")


def object_file(machine: str) -> bytes:
    """The ELF object."""
    triple, cpu = TARGETS[machine]
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(text(machine))
    module.verify()
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2, reloc="pic", codemodel="small")
    return bytes(target.emit_object(module))


def make(path: Path, machine: str) -> None:
    """Writes the object file, unless what is there was made of the same sources; which those were is said beside it."""
    stamp = path.with_suffix(".of")
    state = state_of()
    if path.exists() and stamp.exists() and stamp.read_text() == state:
        return
    part = path.with_suffix(".part")
    part.write_bytes(object_file(machine))
    part.replace(path)
    stamp.write_text(state)
