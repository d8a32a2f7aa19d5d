"""From decoded modules to objects: units are generated here and compiled in worker processes (compile/workers.py)."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol

from .. import abi, thresholds
from ..config import CompileProgress, Config
from ..errors import CompileError, CompileTimeoutError, FunctionLeftError, WasmError
from ..target import Target, host_machine, normal_machine, parse_features
from ..wasm import deadline
from ..wasm.module import Module
from ..wasm.types import FuncType
from . import limits, trampolines
from .loop_entry import LoopEntry
from .unit import Group, Unit, plan_units
from .unit_state import CodePolicy
from .workers import Pending, WorkerPool, background_pool, pool, readable

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    from ..records import dataclass, replace

_Reply = tuple[dict[str, Any], bytes]
# A signal handler may have forked while a compilation waits for replies: the child is told.
_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class CompiledUnit:
    """The object of functions `first_function` ... + `count` (indices of the module's function index space)."""

    first_function: int
    count: int
    object: bytes
    is_left: bool = False  # there is no code: the functions are left to the interpreter (limits.py)
    seconds: float = 0.0  # of work that it took


@dataclass(slots=True)
class CompileStatistics:
    """Where the time of one compilation went, in seconds of work (units compile side by side)."""

    instructions: int = 0
    ir_bytes: int = 0
    units: int = 0
    generate_seconds: float = 0.0
    parse_seconds: float = 0.0
    optimise_seconds: float = 0.0
    emit_seconds: float = 0.0


def _request_fields(config: Config, output: str) -> dict[str, Any]:
    return {
        "triple": config.target,
        "cpu": config.cpu,
        "features": config.cpu_features,
        "opt_level": config.final_opt_level,
        "verify": config.verify_ir,
        "guard_pages": config.memory_policy.guarded,
        "output": output,
        "memory_bytes": config.max_compiler_memory,
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The same for functions that are not to be optimised."""
    return fields | {"opt_level": limits.PLAIN}


_targets: dict[tuple[str | None, str | None, str | None], Target] = {}


def resolve_target(config: Config) -> Target:
    """The target that `config` compiles for: asks LLVM, once per process and choice."""
    key = (config.target, config.cpu, config.cpu_features)
    if key not in _targets:
        fields, _ = pool().request(_request_fields(config, "target"))
        _targets[key] = Target(fields["triple"], fields["cpu"], parse_features(fields["features"]))
    return _targets[key]


def target_architecture(config: Config) -> str:
    """The architecture that `config` compiles for, without asking LLVM."""
    return normal_machine(config.target.partition("-")[0]) if config.target else host_machine()


class Schedule(Protocol):
    """What a compilation asks on the way (tiers/optimiser_process.py)."""

    def choose(self, remaining: Sequence[range]) -> int:
        """Which of the units is to be compiled next."""
        ...

    def made(self, unit: CompiledUnit) -> None:
        """Is called with each unit, in the thread of the compilation."""
        ...


class _InOrder:
    """The schedule of a compilation that nobody watches."""

    def choose(self, remaining: Sequence[range]) -> int:
        return 0

    def made(self, unit: CompiledUnit) -> None:
        pass


def compile_module(
    module: Module,
    config: Config,
    statistics: CompileStatistics | None = None,
    progress: Callable[[CompileProgress], None] | None = None,
    *,
    interprets: bool = False,
    schedule: Schedule | None = None,
) -> list[CompiledUnit]:
    """As `compile_modules`, of one."""
    (units,) = compile_modules(
        [module],
        config,
        statistics,
        progress,
        interprets=[interprets],
        schedule=schedule,
    )
    return units


def compile_modules(
    modules: Sequence[Module],
    config: Config,
    statistics: CompileStatistics | None = None,
    progress: Callable[[CompileProgress], None] | None = None,
    *,
    interprets: Sequence[bool],
    schedule: Schedule | None = None,
    labels: Sequence[str] = ("",),
) -> list[list[CompiledUnit]]:
    """Validates and compiles every function body of each of `modules` (module-level validation is the caller's).

    With `interprets`, for each module, those for which LLVM would take memory out of proportion are left out
    (`CompiledUnit.is_left`). Notes in `Module.interpretable` what the interpreter can take, as `validate` does.
    Raises ValidationError or MalformedError for invalid bodies, CompileError if LLVM fails, and what `progress`
    raises; `labels`, one for each module, stand in front of what they say (`labelled`). Nothing is left half-done: the
    objects are returned all together.
    """
    compilation = _Compilation(config, statistics, progress, schedule)
    for module, may_leave, label in zip(modules, interprets, labels, strict=True):
        policy = CodePolicy.from_config(config, target_architecture(config), interprets=may_leave)
        compilation.add(_Part(label, module, policy))
    return compilation.run()


@contextlib.contextmanager
def labelled(label: str) -> Iterator[None]:
    """Has errors begin with `label`: which one of several modules they are about; "" where there is one."""
    try:
        yield
    except WasmError as error:
        if label:
            error.args = (f"{label}: {error}", *error.args[1:])
        raise


class _Part:
    """One module of a compilation."""

    def __init__(self, label: str, module: Module, policy: CodePolicy) -> None:
        self.label = label
        self.module = module
        self.policy = policy
        self.layout = abi.module_layout(module)
        self.remaining = list(plan_units(module))
        self.running: set[range] = set()  # units that compilers have
        self.left: list[tuple[range, bytes]] = []  # units of functions that are left out, and the text in their place
        self.result: list[CompiledUnit] = []
        self.interpretable = bytearray(len(module.bodies))
        self.generate_seconds: dict[range, float] = {}  # of units


class _Compilation:
    """The units of some modules in the making. Used once, by one thread."""

    def __init__(
        self,
        config: Config,
        statistics: CompileStatistics | None,
        progress: Callable[[CompileProgress], None] | None,
        schedule: Schedule | None,
    ) -> None:
        self._pid = os.getpid()
        self._began_at = time.monotonic()
        self._config = config
        self._statistics = statistics if statistics is not None else CompileStatistics()
        self._progress = progress
        self._schedule = schedule or _InOrder()
        self._active = _Active()
        self._fields = _request_fields(config, "object")
        self._workers = pool()
        self._parts: list[_Part] = []
        self._num_units = 0
        # From threads that wait for compilers.
        self._replies: queue.SimpleQueue[tuple[_Part, range, _Reply | BaseException]] = queue.SimpleQueue()
        self._in_parallel = False

    def add(self, part: _Part) -> None:
        """One more module, before `run`."""
        self._parts.append(part)
        self._num_units += len(part.remaining)
        self._in_parallel = (
            self._config.parallel_compilation and self._num_units > 1 and not self._workers.is_held_by_this_thread
        )

    def run(self) -> list[list[CompiledUnit]]:
        """The units of each module, in order."""
        try:
            while (part := self._unfinished()) is not None or self._num_running():
                timeout_seconds = self._left_seconds()
                if os.getpid() != self._pid:
                    raise CompileError("the process was forked while it compiled")  # the threads are the parent's
                # One text more than are being compiled: no worker waits for the generator, and not all texts are in
                # memory at once. A process that compiles by itself does one thing at a time.
                most = self._workers.size + 1 if self._in_parallel and self._workers.alone is None else 0
                if part is not None and self._num_running() <= most:
                    with labelled(part.label):
                        self._go_on(part)
                else:
                    self._take_reply(timeout_seconds)
        finally:
            if self._num_running() and os.getpid() == self._pid:
                self._active.end()  # interrupted, or an error: nobody waits for what they make
        for part in self._parts:
            part.module.interpretable = bytes(part.interpretable)
        return [sorted(part.result, key=lambda unit: unit.first_function) for part in self._parts]

    def _take_reply(self, timeout_seconds: float | None) -> None:
        """Waits for a reply for at most so long, and not for ever in a child that a signal handler forked."""
        try:
            patience_seconds = _LOOK_AGAIN_SECONDS if timeout_seconds is None else timeout_seconds
            part, functions, reply = self._replies.get(timeout=min(patience_seconds, _LOOK_AGAIN_SECONDS))
        except queue.Empty:
            return
        part.running.discard(functions)
        with labelled(part.label):
            if isinstance(reply, BaseException):
                try:
                    raise reply
                finally:
                    del reply  # the traceback refers to this frame
            self._finish(part, functions, reply)

    def _num_running(self) -> int:
        return sum(len(part.running) for part in self._parts)

    def _unfinished(self) -> _Part | None:
        """The first module of which something can be done now."""
        for part in self._parts:
            if part.remaining or (part.left and not part.running):
                return part
        return None

    def _go_on(self, part: _Part) -> None:
        """Generates the next unit of a module, and has it compiled; in the end, what is left out."""
        if not part.remaining:
            return self._leave_out(part)
        remaining = part.remaining
        functions = remaining.pop(self._schedule.choose(remaining) if len(remaining) > 1 else 0)
        started = time.perf_counter()
        unit = Unit(part.module, functions, part.policy, part.layout)
        body = unit.text().encode()
        part.generate_seconds[functions] = time.perf_counter() - started
        self._statistics.generate_seconds += part.generate_seconds[functions]
        if len(pieces := split_unit(functions, unit, len(body))) > 1:
            remaining[:0] = pieces
            self._num_units += len(pieces) - 1
            return None
        for function in unit.interpretable:
            part.interpretable[function - part.module.num_imported_functions] = True
        if unit.left:
            part.left.append((functions, body))
            return None
        request = _plain(self._fields) if unit.tangled else self._fields
        self._statistics.instructions += unit.num_instructions
        self._statistics.ir_bytes += len(body)
        if not (self._in_parallel and self._begin(part, functions, request, body)):
            self._finish(part, functions, self._compile(functions, request, body))
        return None

    def _begin(self, part: _Part, functions: range, request: dict[str, Any], body: bytes) -> bool:
        """Has a unit compiled beside others. False if there can be no thread that waits for it."""

        def wait() -> None:
            try:
                if self._active.is_over:
                    return
                reply: _Reply | BaseException = _compile_unit(self._workers, functions, request, body, self._active)
            except BaseException as error:
                reply = error
            self._replies.put((part, functions, reply))

        part.running.add(functions)
        try:
            self._workers.crew.submit(wait, self._workers.size)
        except (RuntimeError, MemoryError):  # the interpreter ends, or the system has no more
            part.running.discard(functions)
            self._in_parallel = False
            return False
        return True

    def _leave_out(self, part: _Part) -> None:
        """The units of functions that are left to the interpreter, once all others of the module are made."""
        units, part.left = part.left, []
        if part.module.has_tail_calls:  # as it turned out: others have to know which functions make some
            part.policy = replace(part.policy, interprets=False)
            part.remaining = [functions for functions, _ in units]
            return
        for functions, body in units:
            self._finish(part, functions, self._compile(functions, _plain(self._fields), body), is_left=True)

    def _compile(self, functions: range, request: dict[str, Any], body: bytes) -> _Reply:
        return _compile_unit(self._workers, functions, request, body, self._active, self._left_seconds())

    def _finish(self, part: _Part, functions: range, reply: _Reply, is_left: bool = False) -> None:
        facts, object_bytes = reply
        statistics = self._statistics
        statistics.units += 1
        statistics.parse_seconds += facts["parse_seconds"]
        statistics.optimise_seconds += facts["optimise_seconds"]
        statistics.emit_seconds += facts["emit_seconds"]
        seconds = part.generate_seconds.pop(functions, 0.0) + _llvm_seconds(facts)
        part.result.append(CompiledUnit(functions.start, len(functions), object_bytes, is_left, seconds))
        self._schedule.made(part.result[-1])
        if self._progress is not None:
            made = [unit.count for each in self._parts for unit in each.result]
            num_functions = sum(len(each.module.bodies) for each in self._parts)
            self._progress(CompileProgress(sum(made), num_functions, len(made), self._num_units))

    def _left_seconds(self) -> float | None:
        """How long it may still take. Raises CompileTimeoutError."""
        timeout_seconds = self._config.compile_timeout
        if timeout_seconds is None:
            return None
        left = self._began_at + timeout_seconds - time.monotonic()
        if left <= 0:
            remaining = [functions for part in self._parts for functions in part.remaining]
            running = [functions for part in self._parts for functions in part.running]
            raise _timed_out(timeout_seconds, [*running, *remaining])
        return left


def _llvm_seconds(facts: dict[str, Any]) -> float:
    """What a reply says of the time that it took."""
    return float(facts["parse_seconds"] + facts["optimise_seconds"] + facts["emit_seconds"])


def split_unit(functions: range, unit: Unit, text_bytes: int = 0) -> list[range]:
    """A unit as units of which each has one kind of functions: tangled ones, those that are left out, and others.

    Those whose text is far longer than that of a unit of functions that compilers make are split in halves.
    """
    parts = []
    for _, part in itertools.groupby(functions, lambda function: (function in unit.tangled, function in unit.left)):
        first, *rest = part
        parts.append(range(first, first + len(rest) + 1))
    most_bytes = thresholds.MOST_UNIT_TEXT_BYTES if not unit.tangled else thresholds.MOST_TANGLED_UNIT_TEXT_BYTES
    if len(parts) == 1 and text_bytes > most_bytes and len(functions) > 1:
        middle = functions[len(functions) // 2]
        return [range(functions.start, middle), range(middle, functions.stop)]
    return parts


@dataclass(slots=True)
class PendingGroup:
    """Functions that a worker compiles."""

    functions: Sequence[int]
    pending: Pending
    left: AbstractSet[int] = frozenset()  # those of them that are left to the interpreter: there is no code
    generate_seconds: float = 0.0

    def fileno(self) -> int | None:
        """A descriptor that can be read from when it is done; None if it is."""
        return self.pending.fileno()

    def result(self) -> CompiledUnit:
        """Waits for it. To be called once. Raises CompileError."""
        try:
            facts, object_bytes = self.pending.result()
        except CompileError as error:
            raise type(error)(f"functions {', '.join(map(str, self.functions))}: {error.reason}") from None
        seconds = self.generate_seconds + _llvm_seconds(facts)
        return CompiledUnit(self.functions[0], len(self.functions), object_bytes, seconds=seconds)


class GroupCompiler:
    """Compiles replaceable functions of a module that is known to be valid, and those that they call with them."""

    def __init__(
        self,
        module: Module,
        config: Config,
        *,
        opt_level: str | None = None,
        optimised_opt_level: str = "speed",
        interprets: bool = False,
    ) -> None:
        """`opt_level`: `config`'s, or "quick" (compile/llvm.py). `optimised_opt_level`: of code to stay in.

        With `interprets`, functions for which LLVM would take memory out of proportion are left to the interpreter.
        """
        self._module = module
        # What can be interpreted goes on meanwhile.
        self._workers = background_pool() if interprets else pool()
        self._optimised_opt_level = optimised_opt_level
        self._policy = CodePolicy.from_config(
            config, target_architecture(config), replaceable=True, counting=True, interprets=interprets
        )
        self._layout = abi.module_layout(module)
        self._fields = _request_fields(config, "object")
        if opt_level is not None:
            self._fields["opt_level"] = opt_level

    def _policy_of(self, *, optimised: bool) -> CodePolicy:
        """That of code to stay in does not count, and so never asks for better code."""
        if not optimised:
            return self._policy
        is_small = self._optimised_opt_level == "speed_and_size"
        return replace(self._policy, counting=False, optimise_size=is_small)

    @property
    def is_busy(self) -> bool:
        """Whether a request would wait for a worker."""
        return self._workers.is_busy()

    def begin(
        self,
        function: int,
        is_missing: Callable[[int], bool],
        *,
        optimised: bool = False,
        at_any_price: bool = False,
        others: Sequence[int] = (),
    ) -> tuple[PendingGroup, Sequence[int]]:
        """Has a worker compile `function`, and what it calls for which `is_missing` holds; `optimised`: to stay in.

        `others` come along if all of it is short: a request has a price of its own.
        Also says which functions they call beyond that. Raises CompileError, also for a function that is left to the
        interpreter (FunctionLeftError), but `at_any_price`.
        """
        policy = self._policy_of(optimised=optimised)
        if optimised and not self._module.has_tail_calls:  # recursion goes on in code that is as good as any
            policy = replace(policy, replaceable=False)
        group = Group(
            self._module,
            function,
            policy if not at_any_price else replace(policy, interprets=False),
            self._layout,
            is_missing=is_missing,
            room_instructions=thresholds.GROUP_INSTRUCTIONS,
            others=others,
            room_for_others=thresholds.SHORT_GROUP_INSTRUCTIONS,
        )
        started = time.perf_counter()
        body = group.text().encode()
        generate_seconds = time.perf_counter() - started
        if function in group.left:
            raise FunctionLeftError("it is left to the interpreter", function=function)
        workers = pool() if at_any_price else self._workers
        pending = workers.begin(self._fields_for(function, group, optimised=optimised), body)
        return PendingGroup(list(group.functions), pending, group.left, generate_seconds), group.reached

    def _fields_for(self, function: int, unit: Unit, *, optimised: bool) -> dict[str, Any]:
        """What the worker is told: where code is not to stay, large functions are compiled as quickly as can be."""
        if unit.tangled:
            return _plain(self._fields)
        if optimised:
            return self._fields | {"opt_level": self._optimised_opt_level}
        body = self._module.body(function)
        is_large = body.end - body.start > thresholds.QUICK_BODY_BYTES
        return self._fields if not is_large else self._fields | {"opt_level": "none"}

    def begin_loop(self, function: int, loop_at: int, *, optimised: bool = False) -> PendingGroup:
        """Has a worker compile `function` alone, entered at the loop whose opcode stands at offset `loop_at`.

        The code is called as `loop_entry` says. With `optimised` it is code to stay in. LLVM verifies it: a value that
        is not there where the loop is entered is an error, never wrong code. Raises CompileError, with the reason if
        the loop cannot be entered.
        """
        entry = LoopEntry(self._module, function, loop_at, self._policy_of(optimised=optimised), self._layout)
        body = entry.text().encode()
        fields = self._fields_for(function, entry, optimised=optimised) | {"verify": True}
        return PendingGroup([function], self._workers.begin(fields, body))


def begin_trampolines(
    wanted: Sequence[tuple[str, FuncType]], config: Config, *, in_background: bool = False
) -> Pending:
    """Has an object made that defines trampolines of these kinds and types. `in_background`: nobody waits for it."""
    fields = _request_fields(config, "object") | {"opt_level": "trampoline"}
    workers = background_pool() if in_background else pool()
    return workers.begin(fields, trampolines.module_text(wanted).encode())


class _Active:
    """The requests of one compilation, which may end before them."""

    def __init__(self) -> None:
        self.pending: set[Pending] = set()
        self.is_over = False

    def end(self) -> None:
        """Ends the workers that have them, and that of any that is about to begin."""
        self.is_over = True
        for pending in list(self.pending):
            pending.end_process()


def _compile_unit(
    workers: WorkerPool,
    functions: range,
    fields: dict[str, Any],
    body: bytes,
    active: _Active,
    timeout_seconds: float | None = None,
) -> _Reply:
    pending = workers.begin(fields, body)
    active.pending.add(pending)
    try:
        if active.is_over:
            raise CompileError("nobody waits for it any more")
        descriptor = pending.fileno() if timeout_seconds is not None else None
        if descriptor is not None and timeout_seconds is not None and not readable([descriptor], timeout_seconds):
            raise _timed_out(timeout_seconds, [functions])
        return pending.result()
    except CompileError as error:
        if isinstance(error, CompileTimeoutError):
            raise
        raise type(error)(f"functions {functions.start} to {functions.stop - 1}: {error.reason}") from None
    except BaseException:
        pending.abandon()
        raise
    finally:
        active.pending.discard(pending)
        pending.abandon()


def _timed_out(seconds: float, units: Sequence[range]) -> CompileTimeoutError:
    return deadline.timed_out(seconds, units[0].start if units else None)


def render(module: Module, config: Config, output: str, *, interprets: bool = False) -> str:
    """The code of all units as text, for tools and tests: `output` is "ir" (generated), "optimised" or "assembly".

    With `interprets`, there are traps in place of functions that `compile_module` leaves out.
    """
    policy = CodePolicy.from_config(config, target_architecture(config), interprets=interprets)
    layout = abi.module_layout(module)
    fields = _request_fields(config, output)
    texts = []
    remaining = list(plan_units(module))
    while remaining:
        functions = remaining.pop(0)
        unit = Unit(module, functions, policy, layout)
        text = unit.text()
        if len(parts := split_unit(functions, unit)) > 1:
            remaining[:0] = parts
            continue
        if output != "ir":
            request = _plain(fields) if unit.tangled else fields
            text = _compile_unit(pool(), functions, request, text.encode(), _Active())[1].decode()
        texts.append(text)
    return "\n".join(texts)
