"""Code for other machines keeps to their rules: registers, calling convention, and where it may be loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wasmjit import Config, Engine, Module, Store, WasmError, wat2wasm
from wasmjit.errors import ArtifactError
from wasmjit.inspection import llvm_text
from wasmjit.target import Target, host_machine, normal_system

MACOS, LINUX = "aarch64-apple-darwin", "aarch64-unknown-linux-gnu"
# Forty values that live across each other: all registers are taken.
LIVE = range(40)
_LOADS = "".join(f"(local.set {i + 1} (i32.load offset={4 * i} (local.get 0)))" for i in LIVE)
_STORES = "".join(
    f"(i32.store offset={400 + 4 * i} (local.get 0) (i32.mul (local.get {i + 1}) (local.get {i * 7 % 40 + 1})))"
    for i in LIVE
)
_RESULT = "".join(f"(local.get {i + 1})" for i in LIVE) + "i32.xor " * (len(LIVE) - 1)
PRESSURE = f"""(module (memory 1)
  (func (export "f") (param i32) (result i32) {"(local i32)" * len(LIVE)} {_LOADS} {_STORES} {_RESULT}))"""
STACK_ARGUMENTS = f"""(module
  (func $callee (export "callee") (param {"i32 " * 12}) (result i32) (i32.add (local.get 10) (local.get 11)))
  (func (export "caller") (result i32) (call $callee {" ".join(f"(i32.const {i})" for i in range(12))})))"""


def assembly(wat: str, **options: str) -> str:
    return llvm_text(bytes(wat2wasm(wat)), Config(**options), "assembly")


@pytest.mark.parametrize("level", ["none", "speed"])
def test_x18_belongs_to_macos(level: str) -> None:
    """The kernel clears it at any time. Elsewhere it is a register like others, which shows that the test can fail."""
    x18 = re.compile(r"\b[xw]18\b")
    assert not x18.search(assembly(PRESSURE, target=MACOS, opt_level=level))
    assert not x18.search(assembly(STACK_ARGUMENTS, target=MACOS, opt_level=level))
    if level == "speed":
        assert x18.search(assembly(PRESSURE, target=LINUX, opt_level=level))


def test_arguments_on_the_stack_take_their_own_size_on_macos() -> None:
    """AAPCS64 gives each eight bytes; Apple's variant does not."""

    def offsets(target: str) -> set[int]:
        callee = assembly(STACK_ARGUMENTS, target=target).partition("\nf0:")[2].partition(".Lfunc_end0")[0]
        assert callee
        places = re.findall(r"ld[rp]\s+w\d+.*\[(?:x29|sp), #(\d+)\]", callee)
        pairs = len(re.findall(r"ldp\s+w\d+", callee))
        found = {int(place) for place in places}
        return found | {place + 4 for place in found} if pairs else found

    first = {min(offsets(LINUX)), min(offsets(MACOS))}
    assert len(first) == 2  # vmctx and seven are in registers: the last two are the fourth and fifth on the stack
    assert max(offsets(LINUX)) - min(offsets(LINUX)) == 8
    assert max(offsets(MACOS)) - min(offsets(MACOS)) == 4


@pytest.mark.parametrize("target", [MACOS, "arm64-apple-macosx11.0.0", "x86_64-apple-darwin", "x86_64-apple-macos12"])
def test_macos_artifacts(target: str, tmp_path: Path) -> None:
    data = bytes(Module(Engine(Config(target=target)), STACK_ARGUMENTS).serialize())
    assert data == bytes(Module(Engine(Config(target=target)), STACK_ARGUMENTS).serialize())
    with pytest.raises(ArtifactError, match=f"compiled for {target}, this .*compile it for this machine"):
        Module.deserialize(Engine(), data)


def test_code_for_macos_on_this_architecture_is_refused() -> None:
    data = bytes(Module(Engine(Config(target=f"{host_machine()}-apple-darwin")), STACK_ARGUMENTS).serialize())
    with pytest.raises(ArtifactError, match="this is Linux"):
        Module.deserialize(Engine(), data)


@pytest.mark.parametrize("cpu", ["apple-m1", "apple-m4"])
def test_cpus_of_macos(cpu: str) -> None:
    assert Module(Engine(Config(target=MACOS, cpu=cpu)), PRESSURE).serialize()


def test_modules_for_elsewhere_do_not_run() -> None:
    engine = Engine(Config(target="x86_64-apple-darwin"))
    module = Module(engine, STACK_ARGUMENTS)
    from wasmjit import Instance

    with pytest.raises(WasmError, match="compiled for x86_64-apple-darwin"):
        Instance(Store(engine), module, [])


@pytest.mark.parametrize("target", ["x86_64-pc-windows-msvc", "aarch64-unknown-none", "x86_64-unknown-freebsd"])
def test_other_systems_are_refused(target: str) -> None:
    with pytest.raises(WasmError, match="unsupported target triple"):
        Config(target=target)


def test_systems() -> None:
    assert normal_system("aarch64-apple-macosx14.0") == "macos"
    assert Target("x86_64-unknown-linux-musl", "x86-64", ()).system == "linux"
    assert normal_system("riscv64-unknown-none-elf") == "unknown-none-elf"
