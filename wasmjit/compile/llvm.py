"""LLVM: IR text to ELF object bytes. Runs in worker processes (`workers`), where `serve` is the main function.

The only file of the compiler that imports llvmlite. It imports next to nothing of wasmjit, so a worker starts quickly.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import llvmlite.binding as llvm

from .. import thresholds
from ..processes import Parent, forget_words, start_thread, wait_for_request
from ..target import UNTOLD_FEATURES, known_features, normal_machine
from . import exact, limits, narrow, processors, promotion
from .patterns import late
from .wire import read_request, write_message

# LLVM recurses over large functions; the main thread's stack is not ours to size.
_STACK_BYTES = 512 << 20
_LEAST_STACK_BYTES = 4 << 20  # under a limit of the address space

# The opt level of trampolines: there is nothing in them for the optimiser, which would take most of the time.
TRAMPOLINE = "trampoline"
# That of code which runs until there is optimised code, where the interpreter runs until then: O0 code, which would be
# there a little earlier, is hardly faster than that.
QUICK = "quick"
_MOST_ATTEMPTS = 3  # at an optimised text that has lost no load
_WITHOUT_LOOP_PASSES = frozenset(("none", TRAMPOLINE, QUICK, limits.PLAIN))

_PROCESS_OPTIONS = (
    # Where a function lies must not depend on the length of those before it: the time of branchy loops does depend on
    # it (bytecode, sieve: 1.4 to 1.6x, with the same instructions).
    "-align-all-functions=5",
    # The same for what is jumped to: handlers of interpreters, and what follows a return.
    "-align-all-nofallthru-blocks=5",
    # LLVM counts the iterations of loops with checks in 128 bits, and would call __udivti3 for divisions.
    "-expand-div-rem-bits=64",
    # These move a load to the only branch that uses its value: on the other path its trap would be lost.
    "-instcombine-code-sinking=false",
    "-disable-machine-sink",
    # And this does, too. It makes branches of conditional moves in loops; who wrote a select in wasm (a compiler, which
    # has weighed it) had a reason (levenshtein: 0.58x of the time without, no other kernel more than noise).
    "-x86-cmov-converter=false",
    # A leaf function that traps before its frame is set up would hide its caller from the backtrace.
    "-enable-shrink-wrap=false",
    # Widening 32-bit induction variables hides their wrap-around conditions, and with them trip counts and consecutive
    # accesses, from the vectoriser (jacobi2d: 4x slower).
    "-indvars-widen-indvars=false",
    # Blocks of up to 8 instructions are repeated where that saves a jump, above all the ends of functions: branches are
    # then predicted from more exact histories (bintree, ackermann: 0.86x of the time).
    "-tail-dup-size=8",
    "-tail-dup-placement-threshold=8",
    # Small loops are unrolled as at O3, all else is as at O2 (fir: 0.41x of the time).
    "-unroll-threshold-default=300",
)

_DEFINITION = late(r"^define ", re.MULTILINE)


@functools.cache
def initialise(all_targets: bool) -> None:
    """Initialises LLVM's targets; the assembly parser too, without which inline asm aborts the process."""
    if all_targets:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


# To look at this machine takes a tenth of what a small function takes.
@functools.lru_cache(maxsize=32)
def resolve_target(triple: str | None, cpu: str | None, features: str | None) -> tuple[str, str, str]:
    """The triple, CPU name and feature string that a Config's options mean on this machine."""
    if triple is None:
        found = llvm.get_host_cpu_features()
        found.update(dict.fromkeys(UNTOLD_FEATURES & found.keys(), False))
        host = found.flatten()
        triple = llvm.get_process_triple()
        if cpu is None:
            cpu = llvm.get_host_cpu_name()
            features = ",".join(filter(None, (host, features)))
    elif cpu is None and is_macos(triple) and not triple.startswith(("x86_64", "amd64")):
        cpu = "apple-m1"  # the oldest
    elif cpu is None and triple.startswith(("x86_64", "amd64")):
        # The oldest CPU our code runs on: without SSE4.1 rounding would call libm, which generated code cannot reach.
        cpu = "x86-64-v2"
    return triple, cpu or "generic", features or ""


def describe_target(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request's target is: triple, CPU, and features, among them all those that code for it may use."""
    triple, cpu, features = resolve_target(request["triple"], request["cpu"], request["features"])
    if any(request[name] is not None for name in ("triple", "cpu", "features")):
        initialise(request["triple"] is not None)
        known = list(known_features(normal_machine(triple.partition("-")[0])))
        machine = target_machine(code_triple(triple), cpu, features, "speed")
        module = parse(f'target triple = "{code_triple(triple)}"\n{processors.question(known, cpu, features)}', machine)
        optimise(module, machine, "speed")
        features = ",".join(f"+{name}" for name in processors.answer(known, str(module)))
    return {"triple": triple, "cpu": cpu, "features": features}


def is_macos(triple: str) -> bool:
    """Whether code is for macOS."""
    return "-darwin" in triple or "-macos" in triple


def code_triple(triple: str) -> str:
    """What LLVM is told: for macOS, its calling convention and reserved registers (x18) in ELF objects, not Mach-O,
    because that is what our linker reads."""
    return f"{triple}-elf" if is_macos(triple) and not triple.endswith("-elf") else triple


@functools.lru_cache(maxsize=8)
def target_machine(triple: str, cpu: str, features: str, opt_level: str) -> llvm.TargetMachine:
    """A target machine; position-independent small code, because that is what the loader links."""
    target = llvm.Target.from_triple(triple)
    codegen = {"none": 0, "speed": 2, "speed_and_size": 2, TRAMPOLINE: 2, QUICK: 2, limits.PLAIN: 0}[opt_level]
    return target.create_target_machine(cpu=cpu, features=features, opt=codegen, reloc="pic", codemodel="small")


@functools.cache
def vector_registers(triple: str, cpu: str, features: str) -> exact.VectorRegisters:
    """What an x86-64 processor has; nothing for others."""
    if not triple.startswith(("x86_64", "amd64")):
        return exact.VectorRegisters(0, have_masks=False)
    named = {word[1:]: word[0] == "+" for word in features.split(",") if word}  # the last counts
    if named.get("avx512f") is False and not any(
        is_on and name.startswith(("avx512", "avx10")) for name, is_on in named.items()
    ):
        # What LLVM says of this machine: nothing has to be compiled to see it, which takes 5 ms.
        return exact.VectorRegisters(256 if named.get("avx") else 128, have_masks=False)
    module = llvm.parse_assembly(
        "define <16 x i32> @f(<16 x i32> %a, <16 x i32> %b) {\n  %c = icmp ult <16 x i32> %a, %b\n"
        "  %r = select <16 x i1> %c, <16 x i32> %a, <16 x i32> zeroinitializer\n  ret <16 x i32> %r\n}"
    )
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(cpu=cpu, features=features)
    text = machine.emit_assembly(module)
    bits = next((bits for name, bits in (("%zmm", 512), ("%ymm", 256)) if name in text), 128)
    return exact.VectorRegisters(bits, have_masks="%k" in text)


def longest_function(text: str) -> int:
    """The length of the longest function of a module. It is where passes that are not linear spend their time."""
    starts = [match.start() for match in _DEFINITION.finditer(text)]
    return max((end - start for start, end in itertools.pairwise([*starts, len(text)])), default=0)


def optimise(
    module: llvm.ModuleRef, machine: llvm.TargetMachine, opt_level: str, speed_level: int = 2, *, vectorise: bool = True
) -> None:
    """Runs the pass pipeline of an opt level; `speed_level` is LLVM's: 1 or 2."""
    if opt_level == limits.PLAIN:
        return
    tuning = llvm.create_pipeline_tuning_options(speed_level=speed_level)
    tuning.loop_vectorization = vectorise
    tuning.slp_vectorization = False  # made hash loops 1.8x slower and gained nothing elsewhere
    builder = llvm.create_pass_builder(machine, tuning)
    if opt_level in _WITHOUT_LOOP_PASSES:
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()  # locals are allocas
        passes.add_simplify_cfg_pass()
        if opt_level == QUICK:
            passes.add_instruction_combine_pass()
    else:
        passes = builder.getModulePassManager()
    passes.run(module, builder)


# The last one that is known to have the fault that `narrow` hides masks from.
_LAST_KNOWN_FAULTY = (22, 1, 0)


def takes_narrow_inductions_for_wide() -> bool:
    """Whether this LLVM has the fault that `narrow` hides masks from; hiding them from one that has not does no harm.

    Trying it out takes as long as compiling a function does, with each start of a worker: only where it is not known.
    """
    return llvm.llvm_version_info <= _LAST_KNOWN_FAULTY or has_narrow_fault()


@functools.cache
def has_narrow_fault() -> bool:
    """The same by trying it out: a loop that has the fault is compiled, and run."""
    initialise(all_targets=False)
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(opt=2, reloc="pic", codemodel="small")
    module = llvm.parse_assembly(f'target triple = "{target.triple}"\n{_NARROW_INDUCTION}')
    optimise(module, machine, "speed")
    # One mapping for all sections: with the default memory manager they may be too far apart, and LLVM aborts.
    engine = llvm.create_mcjit_compiler(module, machine, use_lmm=True)
    engine.finalize_object()
    copy = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)(engine.get_function_address("f"))
    copied = ctypes.create_string_buffer(_PROBE_OFFSET + 256)
    copy(copied, bytes(range(256)), 256)
    return copied.raw[_PROBE_OFFSET:] != bytes(range(4)) * 64


# for (unsigned i = 0; i != n; i++) copied[i + 2048] = from[i & 3]; where the sum may wrap.
_PROBE_OFFSET = 2048
_NARROW_INDUCTION = f"""
define void @f(ptr noalias %copied, ptr noalias %from, i32 %n) {{
entry:
  br label %loop
loop:
  %i = phi i32 [ 0, %entry ], [ %next, %loop ]
  %masked = and i32 %i, 3
  %index = zext i32 %masked to i64
  %source = getelementptr i8, ptr %from, i64 %index
  %byte = load i8, ptr %source, align 1
  %sum = add i32 %i, {_PROBE_OFFSET}
  %wide = zext i32 %sum to i64
  %place = getelementptr i8, ptr %copied, i64 %wide
  store i8 %byte, ptr %place, align 1
  %next = add i32 %i, 1
  %ends = icmp eq i32 %next, %n
  br i1 %ends, label %done, label %loop
done:
  ret void
}}
"""


def optimise_exactly(
    text: str,
    module: llvm.ModuleRef,
    machine: llvm.TargetMachine,
    opt_level: str,
    speed_level: int,
    registers: exact.VectorRegisters,
) -> llvm.ModuleRef:
    """Optimises `module`, made of `text`, so that no load loses its trap (`exact`); returns what is to be compiled."""
    for attempts in itertools.count(1):
        optimise(module, machine, opt_level, speed_level)
        optimised, located = exact.finish(str(module), registers)
        lost = exact.missing(text, located)
        if lost and any(function.joined for function in located.values()):
            # Those that are part of a vector now cannot be told from those that are lost, but without vectors they can.
            scalar = parse(text, machine)
            optimise(scalar, machine, opt_level, speed_level, vectorise=False)
            elsewhere = exact.located(str(scalar), registers)
            located = {name: own.as_in(elsewhere.get(name, own)) for name, own in located.items()}
            lost = exact.missing(text, located)
        if not lost:
            break
        # What is kept has the rest optimised in another way, and others may be lost: then all are kept in the end.
        text = exact.keep(text, lost if attempts < _MOST_ATTEMPTS else None)
        module = parse(text, machine)
    try:
        return parse(optimised, machine)
    except RuntimeError:  # what was made of the text cannot be read: then with volatile loads, which are exact anyway
        module = parse(exact.unoptimised(text, registers), machine)
        optimise(module, machine, opt_level, speed_level)
        return module


def parse(text: str, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The module of a text, laid out for the machine."""
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    return module


def compile_text(text: str, request: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Compiles one LLVM module; returns the object (or assembly, or optimised IR) and the seconds each step took."""
    triple, cpu, features = resolve_target(request["triple"], request["cpu"], request["features"])
    initialise(request["triple"] is not None)
    longest = longest_function(text)
    opt_level = request["opt_level"]
    if longest > thresholds.ENORMOUS_FUNCTION_TEXT_BYTES and opt_level != limits.PLAIN:
        opt_level = "none"
    if opt_level not in _WITHOUT_LOOP_PASSES and (hidden := narrow.hide(text)) != text:
        text = hidden if takes_narrow_inductions_for_wide() else text
    may_fault = request["guard_pages"]  # else accesses are checked first, and it does not matter what becomes of them
    if may_fault and opt_level not in _WITHOUT_LOOP_PASSES:
        text = promotion.keep_stores(text)
    machine = target_machine(code_triple(triple), cpu, features, opt_level)
    registers = vector_registers(triple, cpu, features)
    started = time.perf_counter()
    text = f'target triple = "{code_triple(triple)}"\n{text}'
    if may_fault and opt_level in _WITHOUT_LOOP_PASSES:
        text = exact.unoptimised(text, registers)
    if opt_level == limits.PLAIN:
        text = limits.short_blocks(text)
    is_exact = not may_fault or opt_level in _WITHOUT_LOOP_PASSES or not exact.is_wanted(text, registers)
    module = parse(text, machine)
    if is_exact:
        text = ""  # as much memory as LLVM takes for it
    if request["verify"]:
        module.verify()
    parsed = time.perf_counter()
    speed_level = 1 if longest > thresholds.HUGE_FUNCTION_TEXT_BYTES else 2
    if is_exact:
        optimise(module, machine, opt_level, speed_level)
    else:
        module = optimise_exactly(text, module, machine, opt_level, speed_level, registers)
    if request["verify"]:
        module.verify()
    optimised = time.perf_counter()
    output = request["output"]
    if output == "object":
        result = machine.emit_object(module)
    elif output == "assembly":
        result = machine.emit_assembly(module).encode()
    else:
        result = str(module).encode()
    emitted = time.perf_counter()
    return result, {
        "triple": triple,
        "cpu": cpu,
        "features": features,
        "parse_seconds": parsed - started,
        "optimise_seconds": optimised - parsed,
        "emit_seconds": emitted - optimised,
    }


@functools.cache
def _set_options() -> None:
    for option in _PROCESS_OPTIONS:
        llvm.set_option("wasmjit", option)


def compile_here(request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Carries out one request in this process, which LLVM may end. Raises what llvmlite raises."""
    _set_options()
    if request["output"] == "target":
        return describe_target(request), b""
    made: list[tuple[bytes, dict[str, Any]] | Exception] = []

    def work() -> None:
        try:
            made.append(compile_text(body.decode(), request))
        except Exception as error:
            made.append(error)

    _run_with_large_stack(work)
    if isinstance(made[0], Exception):
        raise made[0]
    return made[0][1], made[0][0]


def _run_with_large_stack(work: Callable[[], None]) -> None:
    """Runs `work` in a thread, with as much stack as LLVM may want, or as can be had."""
    size_bytes = _STACK_BYTES
    done = threading.Lock()
    done.acquire()

    def run() -> None:
        try:
            work()
        finally:
            done.release()

    while True:
        threading.stack_size(size_bytes)
        try:
            start_thread(run)
            break
        except RuntimeError:
            if size_bytes <= _LEAST_STACK_BYTES:
                raise
            size_bytes //= 2
        finally:
            threading.stack_size(0)
    done.acquire()


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    _set_options()
    is_used = False
    idle_seconds = thresholds.WORKER_IDLE_SECONDS
    while wait_for_request(requests.fileno(), idle_seconds) and (message := read_request(requests)) is not None:
        fields, body = message
        message = None  # the text is not to be kept in several forms
        forget_words()
        try:
            try:
                limits.begin(fields)
            except MemoryError:
                if is_used:  # what it has may be that of another request: whoever asked finds it gone, and asks another
                    return
                raise
            if fields["output"] == "target":
                write_message(replies, describe_target(fields), b"")
                continue
            is_used = True
            texts, body = [body.decode()], b""
            result, facts = compile_text(texts.pop(), fields)
            write_message(replies, facts, result)
        except Exception as error:
            write_message(replies, {"error": f"{type(error).__name__}: {error}"}, b"")


def serve(parent: Parent) -> None:
    """A worker's main function: answers requests on stdin until it closes, or none came for long."""
    parent.watch()
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever LLVM prints must not get between the replies
    _run_with_large_stack(lambda: _serve(requests, replies))
    os._exit(0)
