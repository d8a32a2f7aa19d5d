"""Calls between Python and wasm: every register class, stack arguments, results, conversions and errors."""

from __future__ import annotations

import ctypes
import gc
import math
import platform
import random
import resource
import struct
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.unit.native_code import Code, Instance, TrapError, call_import, parameter_list, picker, result_type
from wasmjit import abi, thresholds
from wasmjit.errors import WasmError
from wasmjit.runtime.native import ffi, lib, store_roots

UNCHECKED = 2
CALLER = 1
KEEP_GIL = 4
IMPORTS_OFFSET = abi.VMCONTEXT["sizeof"]


def test_generated_header_is_up_to_date(root: Path) -> None:
    assert (root / "runtime_c" / "wj_abi.h").read_text() == abi.render_header()
    assert (root / "runtime_c" / "wj_thresholds.h").read_text() == thresholds.render_header()


def sample(letter: str, rng: random.Random) -> Any:
    """A Python value that survives the trip unchanged."""
    if letter == "i":
        return rng.choice([0, -1, 1, 2**31 - 1, -(2**31), rng.randrange(-(2**31), 2**31)])
    if letter == "I":
        return rng.choice([0, -1, 2**63 - 1, -(2**63), rng.randrange(-(2**63), 2**63)])
    if letter == "f":
        return struct.unpack("f", struct.pack("f", rng.uniform(-1e9, 1e9)))[0]
    if letter == "F":
        return rng.choice([0.0, -math.inf, 5e-324, rng.uniform(-1e300, 1e300)])
    return rng.randbytes(16) if letter == "V" else rng.getrandbits(64)


def signatures() -> list[tuple[str, list[int]]]:
    """Parameters and the numbers of those that come back: edge cases and random ones."""
    rng = random.Random(7)
    cases: list[tuple[str, list[int]]] = [
        ("", []),
        ("i", [0]),
        ("F", [0]),
        ("iF", [0, 1]),
        ("Fi", [0, 1]),
        ("fF", [1, 0]),
        ("iI", [1, 0]),
        ("VV", [1, 0]),
        ("rV", [0, 1, 0]),
        ("i" * 20, list(range(20))),
        ("F" * 20, list(range(20))),
        ("V" * 11, list(range(11))),
        ("IFV" * 9, list(range(27))),
        ("i" * 7 + "V" + "F" * 9 + "iV", [7, 18, 17, 0]),
        ("f" * 1000, [0, 999]),
        ("I", [0] * 1000),
    ]
    for _ in range(12):
        params = "".join(rng.choice("iIfFVr") for _ in range(rng.randrange(1, 24)))
        cases.append((params, [rng.randrange(len(params)) for _ in range(rng.randrange(0, 6))]))
    return cases


def expected_result(values: list[Any], picks: list[int]) -> Any:
    chosen = [values[pick] for pick in picks]
    return None if not chosen else chosen[0] if len(chosen) == 1 else chosen


def test_python_to_wasm_signatures() -> None:
    cases = signatures()
    code = Code("".join(picker(f"f{i}", params, picks) for i, (params, picks) in enumerate(cases)))
    rng = random.Random(8)
    with Instance() as instance:
        for i, (params, picks) in enumerate(cases):
            results = "".join(params[pick] for pick in picks)
            for flags in (0, KEEP_GIL):
                function = instance.function(code.addresses[f"f{i}"], params, results, flags)
                values = [sample(letter, rng) for letter in params]
                assert function(*values) == expected_result(values, picks), (params, picks)


def test_wasm_to_python_signatures() -> None:
    cases = signatures()
    texts = []
    for i, (params, picks) in enumerate(cases):
        results = "".join(params[pick] for pick in picks)
        texts.append(call_import(f"f{i}", 0, params, results, IMPORTS_OFFSET))
    code = Code("".join(texts))
    rng = random.Random(9)
    with Instance() as instance:
        for i, (params, picks) in enumerate(cases):
            results = "".join(params[pick] for pick in picks)
            seen: list[Any] = []

            def host(*values: Any, seen: list[Any] = seen, picks: list[int] = picks) -> Any:
                seen.extend(values)
                return expected_result(list(values), picks)

            instance.host(host, params, results, slot=0)
            function = instance.function(code.addresses[f"f{i}"], params, results)
            values = [sample(letter, rng) for letter in params]
            assert function(*values) == expected_result(values, picks), (params, picks)
            assert seen == values


def test_unchecked_slots_both_ways() -> None:
    params, results = "iIfFVr", "VfiI"
    code = Code(call_import("relay", 0, params, results, IMPORTS_OFFSET))
    with Instance() as instance:
        calls: list[Any] = []

        def host(caller: int, slots: list[int]) -> tuple[int, ...]:
            calls.append((caller, slots))
            return (slots[4], slots[5], slots[2], slots[0], slots[1])

        instance.host(host, params, results, UNCHECKED | CALLER, slot=0)
        relay = instance.function(code.addresses["relay"], params, results, UNCHECKED)
        signalling_nan = 0x7FA00001
        sent = [0xFFFF_FFFF, 2**64 - 5, signalling_nan, 0xFFF4_0000_0000_0001, 11, 12, 2**64 - 1]
        assert relay(*sent) == [11, 12, signalling_nan, 0xFFFF_FFFF, 2**64 - 5]
        assert calls == [(instance.address, sent)]
        with pytest.raises(WasmError, match="too few parameters provided: given 6, expected 7"):
            relay(*sent[:6])
        with pytest.raises(TypeError):
            relay(*sent[:6], 1.5)


def test_unchecked_without_results() -> None:
    code = Code(call_import("relay", 0, "", "", IMPORTS_OFFSET))
    with Instance() as instance:
        for returned in ([], ()):
            instance.host(lambda slots, returned=returned: returned, "", "", UNCHECKED, slot=0)
            assert instance.function(code.addresses["relay"], "", "", UNCHECKED)() == []
        instance.host(lambda slots: [1], "", "", UNCHECKED, slot=0)
        with pytest.raises(WasmError, match="wrong number of results"):
            instance.function(code.addresses["relay"], "", "", UNCHECKED)()


def test_caller_is_the_calling_context_or_zero() -> None:
    code = Code(call_import("relay", 0, "i", "I", IMPORTS_OFFSET))
    with Instance() as instance:
        func_ref = instance.host(lambda caller, number: caller + number, "i", "I", CALLER, slot=0)
        relay = instance.function(code.addresses["relay"], "i", "I")
        assert relay(3) == instance.address + 3
        assert instance.builtin(func_ref, "i", "I")(3) == 3, "called from Python: no calling instance"
        assert relay(4) == instance.address + 4


def test_argument_conversion_is_that_of_ctypes() -> None:
    code = Code(
        "".join(picker(name, letter, [0]) for name, letter in (("i32", "i"), ("i64", "I"), ("f32", "f"), ("f64", "F")))
    )
    with Instance() as instance:
        i32 = instance.function(code.addresses["i32"], "i", "i")
        i64 = instance.function(code.addresses["i64"], "I", "I")
        f32 = instance.function(code.addresses["f32"], "f", "f")
        f64 = instance.function(code.addresses["f64"], "F", "F")
        for number in (0, -1, 2**31, 2**32 - 1, -(2**31)):
            assert i32(number) == ctypes.c_int32(number).value
        for number in (0, -1, 2**31, 2**32 + 7, 2**63, 2**64 - 1, -(2**63)):
            assert i64(number) == ctypes.c_int64(number).value
        for function, name, numbers in (
            (i32, "i32", (2**32, -(2**31) - 1, 2**64 + 1)),
            (i64, "i64", (2**64, -(2**63) - 1, -(2**80))),
        ):
            for number in numbers:
                with pytest.raises(OverflowError, match=f"parameter 1: {number} does not fit {name}"):
                    function(number)
        assert i32(True) == 1
        for value in (0.1, 1e40, -0.0, math.inf, 1e-46, 16777217.0):
            assert struct.pack("d", f32(value)) == struct.pack("d", ctypes.c_float(value).value)
            assert struct.pack("d", f64(value)) == struct.pack("d", value)
        assert math.isnan(f32(math.nan)) and math.isnan(f64(math.nan))

        class Real(float):
            pass

        assert f64(Real(2.5)) == 2.5
        for function, value, name in (
            (i32, 1.0, "i32"),
            (i32, "1", "i32"),
            (i64, None, "i64"),
            (f32, 1, "f32"),
            (f64, "x", "f64"),
        ):
            with pytest.raises(TypeError, match=f"don't know how to convert .* to {name}: expected a"):
                function(value)


def test_wrong_argument_counts() -> None:
    code = Code(picker("f", "ii", [0]))
    with Instance() as instance:
        function = instance.function(code.addresses["f"], "ii", "i")
        with pytest.raises(WasmError, match="too many parameters provided: given 3, expected 2"):
            function(1, 2, 3)
        with pytest.raises(WasmError, match="too few parameters provided: given 0, expected 2"):
            function()
        with pytest.raises(TypeError):
            function(1, x=2)


def test_invalid_signature_letters_are_refused() -> None:
    for letters in (b"z", b"i i", b"i" * 1001):
        assert lib.wj_signature_hold(letters, b"") == ffi.NULL
        assert lib.wj_signature_hold(b"", letters) == ffi.NULL
    with Instance() as instance:
        assert lib.wj_host_func_new(instance.store, id(print), ffi.NULL, 0, 0, 0) == ffi.NULL


@pytest.mark.parametrize(
    ("results", "returned", "error", "message"),
    [
        ("", 1, WasmError, "callback produced results when it shouldn't"),
        ("ii", [1], WasmError, "callback produced wrong number of results"),
        ("ii", [1, 2, 3], WasmError, "callback produced wrong number of results"),
        ("ii", 5, TypeError, "sequence"),
        ("i", None, TypeError, "expected an integer"),
        ("i", 1.0, TypeError, "expected an integer"),
        ("F", 1, TypeError, "expected a float"),
        ("iFi", [1, 2.0, "x"], TypeError, "expected an integer"),
    ],
)
def test_bad_host_results(results: str, returned: Any, error: type[Exception], message: str) -> None:
    code = Code(call_import("relay", 0, "", results, IMPORTS_OFFSET))
    with Instance() as instance:
        instance.host(lambda: returned, "", results, slot=0)
        with pytest.raises(error, match=message):
            instance.function(code.addresses["relay"], "", results)()


def test_host_exceptions_cross_three_levels_of_wasm() -> None:
    code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        relay = instance.function(code.addresses["relay"], "i", "i")

        class Stop(BaseException):
            pass

        raised = Stop("deep")

        def host(level: int) -> int:
            if level == 0:
                raise raised
            return relay(level - 1) + 1  # type: ignore[no-any-return]

        instance.host(host, "i", "i", slot=0)
        for _ in range(3):
            with pytest.raises(Stop) as caught:
                relay(2)
            assert caught.value is raised
            names = [entry.name for entry in caught.traceback]
            assert names.count("host") >= 3
            assert not lib.wj_store_is_running(instance.store)


def test_host_exception_can_be_handled_between_levels() -> None:
    code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        relay = instance.function(code.addresses["relay"], "i", "i")

        def host(level: int) -> int:
            if level == 0:
                raise KeyError("inner")
            try:
                return relay(level - 1) + 1  # type: ignore[no-any-return]
            except KeyError:
                return 100

        instance.host(host, "i", "i", slot=0)
        assert relay(3) == 102
        assert relay(1) == 100


def test_unbounded_recursion_through_python_ends() -> None:
    """By Python's limit or, since our calls do not count against it, by the stack's: whichever comes first."""
    code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        relay = instance.function(code.addresses["relay"], "i", "i")
        instance.host(lambda n: relay(n + 1), "i", "i", slot=0)
        gc.disable()  # finalizers of other tests' garbage would find no room down there
        try:
            for _ in range(3):
                with pytest.raises((RecursionError, TrapError)) as caught:
                    relay(0)
                assert getattr(caught.value, "code", 0) == 0  # stack overflow
        finally:
            gc.enable()
        instance.host(lambda n: n, "i", "i", slot=0)
        assert relay(5) == 5


def test_unbounded_recursion_without_python_frames_is_a_stack_overflow() -> None:
    """A host function that is itself a wasm builtin: with a high recursion limit only our entry bounds the stack."""
    code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        relay = instance.function(code.addresses["relay"], "i", "i")
        instance.host(relay, "i", "i", slot=0)
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(10_000_000)
        try:
            with pytest.raises(TrapError) as caught:
                relay(0)
        finally:
            sys.setrecursionlimit(limit)
        assert caught.value.code == 0
        assert len(caught.value.pcs) == 128


def test_store_on_another_thread_is_refused() -> None:
    code = Code(call_import("relay", 0, "i", "i", IMPORTS_OFFSET))
    with Instance() as instance:
        relay = instance.function(code.addresses["relay"], "i", "i")
        caught: list[BaseException] = []

        def intrude() -> None:
            try:
                relay(1)
            except WasmError as error:
                caught.append(error)

        def host(number: int) -> int:
            thread = threading.Thread(target=intrude)
            thread.start()
            thread.join()
            return number

        instance.host(host, "i", "i", slot=0)
        assert relay(1) == 1
        assert [str(error) for error in caught] == [
            "store is running on another thread: a Store is for one thread at a time"
        ]


def test_closed_store_raises_and_running_store_is_not_freed() -> None:
    code = Code(call_import("relay", 0, "", "", IMPORTS_OFFSET))
    instance = Instance()
    relay = instance.function(code.addresses["relay"])
    was_running = []

    def host() -> None:
        was_running.append(lib.wj_store_is_running(instance.store))
        lib.wj_store_free(instance.store)  # refused

    instance.host(host, slot=0)
    relay()
    assert was_running == [1]
    relay()
    instance.close()
    with pytest.raises(WasmError, match="store is closed"):
        relay()


def test_cycles_through_a_builtin_are_collected() -> None:
    code = Code(picker("f", "i", [0]))

    class Owner:
        pass

    with Instance() as instance:
        owner: Any = Owner()
        owner.function = instance.function(code.addresses["f"], "i", "i", owner=owner)
        assert owner.function(4) == 4
        alive = weakref.ref(owner)
        del owner
        gc.collect()
        assert alive() is None


def test_cycles_through_a_host_function_are_collected() -> None:
    """Only C holds a host function's callable; the roots object lets the collector see that."""
    code = Code(call_import("relay", 0, "", "I", IMPORTS_OFFSET))

    class Owner:
        """As the public Store: owns the C store, and is what host functions refer to."""

        def __init__(self) -> None:
            self.instance = Instance()
            self.roots = store_roots(self.instance.store)
            self.instance.host(lambda: self.number(), "", "I", slot=0)
            self.relay = self.instance.function(code.addresses["relay"], "", "I", owner=self)

        def number(self) -> int:
            return 41

        def __del__(self) -> None:
            self.instance.close()

    owner = Owner()
    assert store_roots(owner.instance.store) is owner.roots
    gc.collect()
    assert owner.relay() == 41
    alive = weakref.ref(owner)
    relay = owner.relay
    del owner
    gc.collect()
    assert alive() is not None, "the builtin holds it"
    assert relay() == 41
    del relay
    gc.collect()
    assert alive() is None


def test_host_callable_lives_until_the_store_is_freed() -> None:
    def make() -> Any:
        return lambda: None

    instance = Instance()
    function = make()
    alive = weakref.ref(function)
    instance.host(function)
    del function
    gc.collect()
    assert alive() is not None
    instance.close()
    assert alive() is None


# By machine: IR that loads and saves the register with the rounding mode; a value of it that flushes denormals and
# (AArch64) rounds up; the bits that nobody but us sets.
CONTROL_REGISTERS = {
    "x86_64": (
        """
        declare void @llvm.x86.sse.ldmxcsr(ptr)
        declare void @llvm.x86.sse.stmxcsr(ptr)
        define void @load(ptr %p) nounwind {
          call void @llvm.x86.sse.ldmxcsr(ptr %p)
          ret void
        }
        define void @save(ptr %p) nounwind {
          call void @llvm.x86.sse.stmxcsr(ptr %p)
          ret void
        }
        """,
        0x1F80 | 0x8040,
        0xFFC0,
    ),
    "aarch64": (
        """
        define void @load(ptr %p) nounwind {
          %narrow = load i32, ptr %p
          %value = zext i32 %narrow to i64
          call void asm sideeffect "msr fpcr, $0", "r"(i64 %value)
          ret void
        }
        define void @save(ptr %p) nounwind {
          %value = call i64 asm sideeffect "mrs $0, fpcr", "=r"()
          %narrow = trunc i64 %value to i32
          store i32 %narrow, ptr %p
          ret void
        }
        """,
        1 << 24 | 1 << 22,
        0xFFFF_FFFF,
    ),
}


def test_rounding_mode_of_the_host_does_not_leak_into_wasm() -> None:
    """Flush-to-zero or another rounding mode set by some library must not change wasm arithmetic (spec 4.3.3)."""
    control, flush, flags = CONTROL_REGISTERS[platform.machine()]
    control = Code(control)
    load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(control.addresses["load"])
    save = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(control.addresses["save"])
    code = Code(
        """
        define double @half(ptr %vm, double %x) nounwind "frame-pointer"="all" {
          %r = fmul double %x, 5.0e-1
          ret double %r
        }
        """
    )
    with Instance() as instance:
        half = instance.function(code.addresses["half"], "F", "F")
        before, during, after = ctypes.c_uint32(), ctypes.c_uint32(flush), ctypes.c_uint32()
        save(ctypes.byref(before))
        load(ctypes.byref(during))
        result = half(2.2250738585072014e-308)
        save(ctypes.byref(after))
        load(ctypes.byref(before))
        assert result == 1.1125369292536007e-308
        assert after.value & flags == during.value & flags


def test_stores_and_builtins_do_not_leak() -> None:
    code = Code(call_import("relay", 0, "iF", "Fi", IMPORTS_OFFSET))

    def once() -> None:
        with Instance() as instance:
            instance.host(lambda a, b: (b, a), "iF", "Fi", slot=0)
            relay = instance.function(code.addresses["relay"], "iF", "Fi")
            assert relay(1, 2.0) == [2.0, 1]
            with pytest.raises(TypeError):
                relay("x", 2.0)

    assert _growth_bytes(once, 300, 3000) < 2_000_000


def _growth_bytes(function: Any, warm_up: int, rounds: int) -> int:
    """How much peak memory grows over `rounds` calls after a warm-up."""
    for _ in range(warm_up):
        function()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(rounds):
        function()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def test_ir_helpers_agree_with_the_abi() -> None:
    assert parameter_list("iF", "iiF") == "ptr %vm, ptr %area, i32 %p0, double %p1"
    assert result_type("iF") == "{i32, double}"
