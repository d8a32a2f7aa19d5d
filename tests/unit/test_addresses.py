"""There is one way to use an address of a C store: the function that does keeps the NativeStore in a local variable
(`runtime.native_store.NativeStore`). This walks the source for whatever uses one in another way.

Any Python code in between may close the store, and any allocation may run Python code: what is not kept is freed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted(
    path
    for part in ("runtime", "wasi")
    for path in (ROOT / "wasmjit" / part).rglob("*.py")
    if path.name != "native.py"  # declares what takes addresses
)
# C functions with a parameter of these types use what a store owns.
STORE_TYPES = r"\b(wj_store|wj_memory|wj_table|wj_func_ref) \*|\bvoid \*context\b"
# Python names for such functions, and methods in C that take addresses.
WRAPPERS = {"host_func_new", "native_target_new", "store_roots", "store_externrefs", "release_views"}
METHODS = {"_bind", "_attach", "_run_map"}
# What reads or writes at an address, whatever is there.
RAW = {"from_address", "memmove", "memset", "string_at", "wstring_at", "cast", "buffer", "unpack"}
# What gives the NativeStore out to be kept.
OPENERS = {"open", "_open", "_open_for_fuel", "NativeStore"}
# Attributes that hold it: to be copied into a local variable before anything else, None or not.
SHARED = {"native", "_native"}
# Addresses of something that no store owns, and what keeps it.
OTHERS = {
    ("runtime/trampolines.py", "_ThunkPage.__init__"): "a page of its own",
    ("runtime/foreign.py", "_from_ctypes"): "the address of a C function",
    ("runtime/code.py", "LoadedCode.__init__"): "an array of its own",
    ("runtime/code.py", "load"): "code, which is only named by it",
    ("runtime/type_ids.py", "ModuleTypes.__init__"): "an array that it keeps",
    ("runtime/type_ids.py", "_SignatureMaker._pointer"): "a signature that it keeps",
    ("runtime/type_ids.py", "_SignatureMaker._member"): "a signature that it keeps",
    ("runtime/interpreter.py", "_pointer"): "an array that the Interpreter keeps",
    ("runtime/interpreter.py", "Interpreter._start"): "bytes that it keeps",
    ("runtime/validator.py", "_Checked._pointer"): "an array that it keeps",
    ("runtime/plan.py", "InstancePlan._plan_elements"): "an array that the plan keeps",
    ("runtime/plan.py", "InstancePlan._make_image"): "the module's bytes",
    ("runtime/shared_memory.py", "SharedMemory.__init__"): "a memory of no store, which it keeps",
    ("runtime/memory.py", "Memory.data_ptr"): "the mapping, which the pointer keeps",
}


def functions_of_stores() -> set[str]:
    """The names of C functions that take what lives in a store."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "runtime_c" / "wj_api.h").read_text(), flags=re.DOTALL)
    declared = re.findall(r"\b(wj_\w+)\(([^)]*)\)", text)
    return {name for name, parameters in declared if re.search(STORE_TYPES, parameters)}


OF_STORES = functions_of_stores()
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module


def functions_in(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Every function with its qualified name, and the module itself."""
    yield "<module>", tree
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, node = waiting.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{prefix}{child.name}."
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield name.rstrip(".") or "<lambda>", child
            waiting.append((name, child))


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """What the function itself does: not what functions in it do, which keep nothing of its variables alive."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def called_name(node: ast.AST) -> str:
    """The last name of what is called."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def gives_native(value: ast.AST | None) -> bool:
    """Whether an expression is a NativeStore, or None."""
    if isinstance(value, ast.IfExp):
        return all(gives_native(part) or isinstance(part, ast.Constant) for part in (value.body, value.orelse))
    return called_name(value or ast.Pass()) in OPENERS or (isinstance(value, ast.Attribute) and value.attr in SHARED)


def keepers(qualname: str, function: Function) -> set[str]:
    """The local variables that keep a NativeStore until the function ends."""
    kept = {"self"} if qualname.startswith("NativeStore.") else set()
    lost: set[str] = set()
    if not isinstance(function, ast.Module):
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.annotation is not None and ast.unparse(argument.annotation) == "NativeStore":
                kept.add(argument.arg)
    for node in own_nodes(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            lost.update(target.id for target in node.targets if isinstance(target, ast.Name))
        for target in targets:
            first = target.elts[0] if isinstance(target, ast.Tuple) else target
            pairs = (
                zip(target.elts, node.value.elts, strict=True)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)  # type: ignore[attr-defined]
                else [(first, node.value)]  # type: ignore[attr-defined]
            )
            for name, value in pairs:
                if isinstance(name, ast.Name):
                    (kept if gives_native(value) else lost).add(name.id)
    return kept - lost


def is_raw(node: ast.AST) -> bool:
    """Whether it uses an address."""
    if isinstance(node, ast.Attribute) and node.attr == "pointer" and isinstance(node.ctx, ast.Load):
        return not (isinstance(node.value, ast.Call) and called_name(node.value) == "signature_of")
    if not isinstance(node, ast.Call):
        return False
    name = called_name(node)
    if name == "cast" and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == "uintptr_t":
        return False
    base = node.func.value if isinstance(node.func, ast.Attribute) else None
    if isinstance(base, ast.Name) and base.id == "lib":
        return name in OF_STORES
    if isinstance(base, ast.Name) and base.id in ("ffi", "ctypes") and name in RAW:
        return True
    return name in WRAPPERS or (base is not None and (name in METHODS or name == "from_address"))


def mistakes(tree: ast.Module, file: str) -> list[str]:
    """Where addresses are used without keeping the store, as ``file:line: what``."""
    found = []
    for qualname, function in functions_in(tree):
        kept = keepers(qualname, function)
        copied: set[int] = set()
        for node in own_nodes(function):
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)) and gives_native(node.value):
                copied.update(id(part) for part in ast.walk(node.value or node) if isinstance(part, ast.Attribute))
        for node in own_nodes(function):
            where = f"{file}:{getattr(node, 'lineno', 0)}: {qualname}: "
            if (
                isinstance(node, ast.Attribute)
                and node.attr in SHARED
                and isinstance(node.ctx, ast.Load)
                and id(node) not in copied
                and ast.unparse(node.value) in ("self", "record", "owner", "self._record", "self._owner", "memory")
                and (qualname, node.attr) not in ATTRIBUTES_OF_OTHERS
            ):
                found.append(f"{where}copy `{ast.unparse(node)}` into a local variable first")
            if is_raw(node) and not kept and (file, qualname) not in OTHERS:
                found.append(f"{where}`{ast.unparse(node)[:60]}` without keeping the NativeStore")
            if isinstance(node, ast.Attribute) and node.attr == "pointer" and isinstance(node.ctx, ast.Load):
                base = ast.unparse(node.value)
                if not isinstance(node.value, ast.Name) and any(base.endswith(f".{name}") for name in SHARED):
                    found.append(f"{where}`{base}.pointer` may be gone before it is used")
    return found


# Attributes of those names that are no NativeStore: (function, attribute).
ATTRIBUTES_OF_OTHERS = {("_Interpreter.find", "_native")}


@pytest.mark.part(2)
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_addresses_of_stores_are_used_in_one_way(path: Path) -> None:
    file = f"{path.parent.name}/{path.name}"
    assert mistakes(ast.parse(path.read_text(), str(path)), file) == []


def test_the_exceptions_are_needed() -> None:
    """No exception outlives its reason."""
    for file, qualname in OTHERS:
        tree = ast.parse((ROOT / "wasmjit" / file).read_text())
        raw = [node for name, function in functions_in(tree) if name == qualname for node in own_nodes(function)]
        assert any(is_raw(node) for node in raw), (file, qualname)


def test_the_functions_of_stores_are_known() -> None:
    assert {"wj_store_close", "wj_memory_grow", "wj_table_get", "wj_instance_data", "wj_instance_make"} <= OF_STORES
    assert not {"wj_builtins", "wj_code_register", "wj_image_free"} & OF_STORES


@pytest.mark.parametrize(
    "source",
    [
        "def f(self): lib.wj_store_set_timeout(self._record.pointer, 0)",
        "def f(record): return record.native is not None and lib.wj_store_interrupt(record.native.pointer)",
        "def f(record): return lib.wj_store_interrupt(record.open().pointer)",
        "def f(item): return lib.wj_table_length(item.pointer)",
        "def f(address): return ctypes.c_uint64.from_address(address).value",
        "def f(address, to): ctypes.memmove(address, to, 8)",
        "def f(context): return ffi.buffer(context, 8)",
        "def f(record, pointer):\n native = record.open()\n return lambda: lib.wj_table_length(pointer)",
        "def f(record, pointer):\n native = record.open()\n del native\n return lib.wj_table_length(pointer)",
        "def f(record, pointer):\n native = record.open()\n native = 1\n return lib.wj_table_length(pointer)",
        "def f(record, pointer):\n record.open()\n return lib.wj_table_length(pointer)",
        "def f(record, item): self._bind(record, 0, item.address, 0, 0, 0)",
        "def f(record):\n return [lib.wj_store_is_running(s) for s in (record.address,)]",
        "async def f(pointer): return lib.wj_table_length(pointer)",
    ],
)
def test_other_ways_are_found(source: str) -> None:
    assert mistakes(ast.parse(source), "runtime/planted.py")


@pytest.mark.parametrize(
    "source",
    [
        "def f(record, pointer):\n native = record.open()\n return lib.wj_table_length(pointer)",
        "def f(self, store):\n _native, pointer = self._open(store)\n return lib.wj_table_length(pointer)",
        "def f(native: NativeStore, pointer): return lib.wj_table_length(pointer)",
        "def f(record):\n native = record.native\n return native and lib.wj_store_interrupt(native.pointer)",
        "def f(pointer): return int(ffi.cast('uintptr_t', pointer))",
    ],
)
def test_the_one_way_is_not(source: str) -> None:
    assert mistakes(ast.parse(source), "runtime/planted.py") == []
