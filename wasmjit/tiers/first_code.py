"""What a module begins with: the code that it has in the end, or less at once and better code later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..artifact import Artifact
from ..config import Config
from ..driver import build
from ..driver.build import Progress
from ..driver.trampoline_code import TrampolineCode

if TYPE_CHECKING:
    from ..wasm.validate import BodyChecker
    from .lazy import LazyModule
    from .optimiser import Load, Optimisation


def first_code(
    config: Config, wasm: bytes, trampolines: TrampolineCode, load: Load, check: BodyChecker, progress: Progress
) -> tuple[Artifact | LazyModule, Optimisation | None]:
    """The code that a binary module begins with, and what makes the better one, which is begun then.

    `load` makes code executable; `check` looks at bodies first (`wasm.validate`). Raises WasmError, and what
    `progress` raises.
    """
    if not config.starts_at_baseline:
        return build.build(config, [wasm], trampolines, progress)[0], None
    artifact = build.cached(config, wasm)
    if artifact is not None:
        return artifact, None
    # Only here: programs that find their code do not wait for these.
    from .lazy import LazyModule
    from .optimiser import Optimisation

    lazy = LazyModule.begin(config, trampolines, wasm, check)
    if lazy is not None:
        optimisation = Optimisation(config, wasm, load, lazy.module, waits_for_use=lazy.interprets)
        lazy.when_hot = optimisation.begin_soon
        optimisation.start()
        return lazy, optimisation
    return build.build(config, [wasm], trampolines, progress)[0], None  # no code that could be better
