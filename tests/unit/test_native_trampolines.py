"""Trampolines: every kind for many signatures, beside the path that needs none; that their code can stand anywhere."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.native_code import Code, Instance, TrapError, call_import, picker
from tests.unit.test_native_boundary import IMPORTS_OFFSET, expected_result, sample, signatures
from wasmjit import CompileError, Config, WasmError
from wasmjit.compile import trampolines as generator
from wasmjit.compile.pipeline import begin_trampolines
from wasmjit.link import function_code
from wasmjit.runtime.native import KEEP_GIL, UNCHECKED, ffi, native_target_new, signature
from wasmjit.runtime.trampolines import ENTER, HOST, MAP, NATIVE, REVERSE, Trampolines
from wasmjit.wasm.types import F32, F64, FUNCREF, I32, I64, V128, FuncType, trampoline_name

TYPES = {"i": I32, "I": I64, "f": F32, "F": F64, "V": V128, "r": FUNCREF}


def compiled(wanted: list[tuple[str, FuncType]], config: Config) -> dict[str, bytes]:
    return function_code(begin_trampolines(wanted, config).result()[1])


def functype(params: str, results: str) -> FuncType:
    return FuncType(tuple(TYPES[letter] for letter in params), tuple(TYPES[letter] for letter in results))


@pytest.fixture(scope="module")
def trampolines() -> Iterator[Trampolines]:
    made = Trampolines(Config(verify_ir=True) if hasattr(Config, "verify_ir") else Config())
    wanted = []
    for params, picks in signatures():
        type = functype(params, "".join(params[pick] for pick in picks))
        wanted += [(ENTER, type), (HOST, type)]
    held = made.install(made.code.compile(wanted))
    yield made
    assert len(held) == len({trampoline_name(kind, type) for kind, type in wanted})


def test_from_python_to_wasm(trampolines: Trampolines) -> None:
    cases = signatures()
    code = Code("".join(picker(f"f{i}", params, picks) for i, (params, picks) in enumerate(cases)))
    rng = random.Random(8)
    with Instance() as instance:
        for i, (params, picks) in enumerate(cases):
            results = "".join(params[pick] for pick in picks)
            enter = trampolines.find(ENTER, functype(params, results))
            assert enter
            for flags in (0, KEEP_GIL):
                function = instance.function(code.addresses[f"f{i}"], params, results, flags, enter=enter)
                values = [sample(letter, rng) for letter in params]
                assert function(*values) == expected_result(values, picks), (params, picks)


def test_from_wasm_to_python(trampolines: Trampolines) -> None:
    cases = signatures()
    texts = []
    for i, (params, picks) in enumerate(cases):
        texts.append(call_import(f"f{i}", 0, params, "".join(params[pick] for pick in picks), IMPORTS_OFFSET))
    code = Code("".join(texts))
    rng = random.Random(9)
    with Instance() as instance:
        for i, (params, picks) in enumerate(cases):
            results = "".join(params[pick] for pick in picks)
            seen: list[Any] = []

            def host(*values: Any, seen: list[Any] = seen, picks: list[int] = picks) -> Any:
                seen.extend(values)
                return expected_result(list(values), picks)

            type = functype(params, results)
            instance.host(host, params, results, slot=0, code=trampolines.find(HOST, type))
            function = instance.function(code.addresses[f"f{i}"], params, results, enter=trampolines.find(ENTER, type))
            values = [sample(letter, rng) for letter in params]
            assert function(*values) == expected_result(values, picks), (params, picks)
            assert seen == values


def test_what_goes_wrong_on_the_way(trampolines: Trampolines) -> None:
    type = functype("iV", "V")
    _held = trampolines.get(ENTER, type), trampolines.get(HOST, type)
    code = Code(call_import("relay", 0, "iV", "V", IMPORTS_OFFSET))
    lane = bytes(range(16))
    with Instance() as instance:
        calls = []

        def host(number: int, vector: bytes) -> Any:
            calls.append((number, vector))
            if number == 1:
                raise KeyError("host")
            return vector if number == 0 else None

        instance.host(host, "iV", "V", slot=0, code=trampolines.find(HOST, type))
        relay = instance.function(code.addresses["relay"], "iV", "V", enter=trampolines.find(ENTER, type))
        assert relay(0, lane) == lane == relay(0, int.from_bytes(lane, "little")) == relay(0, bytearray(lane))
        with pytest.raises(TypeError, match="parameter 1: don't know how to convert 'x' to i32"):
            relay("x", lane)
        with pytest.raises(TypeError, match="parameter 2: don't know how to convert b'short' to v128"):
            relay(0, b"short")
        with pytest.raises(OverflowError, match=r"parameter 2: \d+ does not fit v128"):
            relay(0, 1 << 128)
        with pytest.raises(OverflowError, match="parameter 2: -1 does not fit v128"):
            relay(0, -1)
        assert len(calls) == 3, "nothing was run"
        with pytest.raises(KeyError, match="host"):
            relay(1, lane)
        with pytest.raises(TypeError, match="result 1: don't know how to convert None to v128"):
            relay(2, lane)
        assert relay(0, lane) == lane
    with pytest.raises(WasmError, match="store is closed"):
        relay(0, lane)


def test_c_functions_are_called_with_the_wasm_arguments(trampolines: Trampolines) -> None:
    for params, result, c_types in (
        ("ii", "i", (ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)),
        ("FfI", "F", (ctypes.c_double, ctypes.c_double, ctypes.c_float, ctypes.c_int64)),
        ("iIfF" * 5, "f", (ctypes.c_float, *(ctypes.c_int32, ctypes.c_int64, ctypes.c_float, ctypes.c_double) * 5)),
        ("", "", (None,)),
    ):
        type = functype(params, result)
        code = Code(call_import("relay", 0, params, result, IMPORTS_OFFSET))
        seen: list[Any] = []

        def called(*values: Any, seen: list[Any] = seen, result: str = result) -> Any:
            seen.append(values)
            return values[0] if result and result != "f" else values[2] if result else None

        callback = ctypes.CFUNCTYPE(*c_types)(called)
        address = ctypes.cast(callback, ctypes.c_void_p).value
        assert address is not None
        rng = random.Random(3)
        with Instance() as instance:
            adapter = trampolines.get(NATIVE, type)
            instance.host(callback, params, result, slot=0, code=adapter, native=address)
            relay = instance.function(code.addresses["relay"], params, result, enter=trampolines.get(ENTER, type))
            values = tuple(sample(letter, rng) for letter in params)
            assert relay(*values) == (None if not result else values[2] if result == "f" else values[0])
            assert seen == [values]


def test_c_callers_enter_and_learn_of_nothing(trampolines: Trampolines) -> None:
    params, picks = "iIfF" * 5, [18]
    type = functype(params, "f")
    code = Code(
        picker("f", params, picks) + "define i32 @trap(ptr %vmctx) { call void @llvm.ubsantrap(i8 3) unreachable }"
    )
    c_types = (ctypes.c_int32, ctypes.c_int64, ctypes.c_float, ctypes.c_double) * 5
    rng = random.Random(5)
    values = tuple(sample(letter, rng) for letter in params)
    instance = Instance()
    func_ref = int(ffi.cast("uintptr_t", instance.func_ref(code.addresses["f"])))
    thunk = trampolines.thunk(
        native_target_new(instance.store, func_ref, signature(params, "f")), trampolines.get(REVERSE, type)
    )
    for prototype in (ctypes.CFUNCTYPE, ctypes.PYFUNCTYPE):  # without and with the GIL
        assert prototype(ctypes.c_float, *c_types)(thunk)(*values) == values[18]
    trap_ref = int(ffi.cast("uintptr_t", instance.func_ref(code.addresses["trap"])))
    trap = trampolines.thunk(
        native_target_new(instance.store, trap_ref, signature("", "i")), trampolines.get(REVERSE, functype("", "i"))
    )
    safe = instance.function(code.addresses["f"], params, "f")
    for prototype in (ctypes.CFUNCTYPE, ctypes.PYFUNCTYPE):
        assert prototype(ctypes.c_int32)(trap)() == 0
        with pytest.raises(TrapError):
            safe(*values)  # the next call is told
        assert safe(*values) == values[18]
    instance.close()
    assert ctypes.CFUNCTYPE(ctypes.c_float, *c_types)(thunk)(*values) == 0.0


def test_many_thunks(trampolines: Trampolines) -> None:
    code = Code("".join(f"define i32 @f{i}(ptr %vmctx) {{ ret i32 {i} }}" for i in range(3)))
    type = functype("", "i")
    with Instance() as instance:
        refs = [int(ffi.cast("uintptr_t", instance.func_ref(code.addresses[f"f{i}"]))) for i in range(3)]
        reverse = trampolines.get(REVERSE, type)
        thunks = [
            trampolines.thunk(native_target_new(instance.store, refs[i % 3], signature("", "i")), reverse)
            for i in range(600)  # more than fit a page
        ]
        assert len(set(thunks)) == 600
        assert [ctypes.CFUNCTYPE(ctypes.c_int32)(thunk)() for thunk in thunks] == [i % 3 for i in range(600)]


def test_code_is_the_same_in_any_company() -> None:
    config = Config()
    types = [functype("ii", "i"), functype("FVr", "iFV"), functype("", "")]
    together = compiled([(kind, t) for t in types for kind in (ENTER, HOST)], config)
    for t in types:
        for kind in (ENTER, HOST):
            (alone,) = compiled([(kind, t)], config).items()
            assert alone == (trampoline_name(kind, t), together[trampoline_name(kind, t)])


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
def test_every_kind_compiles_for_every_machine(triple: str) -> None:
    config = Config()
    config.target = triple
    wanted = []
    for params, picks in signatures():
        if len(params) + len(picks) > 100:
            continue  # takes long, and is compiled for this machine above
        type = functype(params, "".join(params[pick] for pick in picks))
        scalar = len(type.results) < 2 and V128 not in (*type.params, *type.results)
        wanted += [(kind, type) for kind in generator.KINDS if scalar or kind in (ENTER, HOST)]
        if V128 not in (*type.params, *type.results):
            wanted.append((MAP, type))
    names = {trampoline_name(kind, type) for kind, type in wanted}
    pieces = compiled([(k, t) for k, t in dict.fromkeys(wanted)], config)
    assert set(pieces) == names and all(pieces.values())


def test_an_object_with_relocations_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        generator,
        "module_text",
        lambda wanted: "declare void @g()\ndefine void @f() { call void @g() ret void }",
    )
    _, object_bytes = begin_trampolines([(ENTER, functype("", ""))], Config()).result()
    with pytest.raises(CompileError, match="cannot stand alone"):
        function_code(object_bytes)


def test_unchecked_calls_take_no_trampoline(trampolines: Trampolines) -> None:
    code = Code(picker("f", "ii", [1]))
    type = functype("ii", "i")
    with Instance() as instance:
        enter = trampolines.get(ENTER, type)
        function = instance.function(code.addresses["f"], "ii", "i", UNCHECKED, enter=enter)
        assert function(1, 2**32 - 1) == [2**32 - 1]
