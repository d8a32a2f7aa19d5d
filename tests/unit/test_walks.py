"""The two walks through a body, the one that validates and the one that lowers, accept and refuse the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from wasmjit import abi
from wasmjit.compile.unit import Unit
from wasmjit.compile.unit_state import CodePolicy
from wasmjit.compile.walk import lower_body
from wasmjit.config import Config
from wasmjit.errors import WasmError
from wasmjit.target import host_machine
from wasmjit.wasm.body import walk_body
from wasmjit.wasm.body_facts import BodyFacts
from wasmjit.wasm.decode import decode
from wasmjit.wasm.module import Module
from wasmjit.wasm.text import wat2wasm

SOURCES = sorted((Path(__file__).parent.parent / "disas").glob("*.wat"))
CONFIG = Config(
    wasm_function_references=True, wasm_memory64=True, wasm_wide_arithmetic=True, wasm_custom_page_sizes=True
)


def outcomes(module: Module, position: int) -> list[BodyFacts | str]:
    """What each walk says of a body."""
    function = module.num_imported_functions + position
    policy = CodePolicy.from_config(CONFIG, host_machine())
    unit = Unit(module, [function], policy, abi.module_layout(module))
    found: list[BodyFacts | str] = []
    for walk in (lambda: walk_body(module, function), lambda: lower_body(unit.new_lowering(function, 20))):
        try:
            found.append(walk())
        except WasmError as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_bodies_and_what_becomes_of_them_with_other_bytes(path: Path) -> None:
    wasm = wat2wasm(path.read_text())
    module = decode(wasm, CONFIG.features)
    rng = random.Random(path.stem)
    refused = 0
    for position, body in enumerate(module.bodies):
        first, second = outcomes(module, position)
        assert first == second and isinstance(first, BodyFacts)
        for _ in range(60):
            mutated = bytearray(wasm)
            for _ in range(rng.randint(1, 3)):
                mutated[rng.randrange(body.start, body.end)] = rng.choice(
                    (rng.randrange(256), rng.randrange(0x20, 0x48))
                )
            module.wasm = bytes(mutated)
            first, second = outcomes(module, position)
            assert first == second
            refused += isinstance(first, str)
            module.wasm = wasm
    assert refused > 20 * len(module.bodies)  # not all of it is valid by chance
