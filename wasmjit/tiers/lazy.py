"""Baseline code made when it is wanted, a group of functions at a time.

A module that is compiled lazily starts with a function table full of stubs (runtime/entries.py). Functions run in
native code from stencils, or in the interpreter, until `LazyCode.hot` is told of them: another process compiles them
meanwhile, and the loop that an activation is in, for it to go on there. What runs in stencils goes over to optimised
code; what is interpreted to code that is there sooner, and from that to optimised code. Where neither can be used, the
first call of a function lands in `LazyCode.resolve`, which waits for the code.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Protocol

from .. import abi, stopwatch, thresholds
from ..artifact import Artifact
from ..config import Config
from ..driver import build
from ..driver.group_code import GroupCode, import_linker, register_entries, table_words
from ..driver.trampoline_code import BegunTrampolines, Piece, TrampolineCode
from ..errors import CompileError, FunctionLeftError, WasmError
from ..processes import CompilerDiedError, NoCompilerError, importing, num_processors, say_once, start_thread
from ..wasm import deadline
from ..wasm.module import Module
from .function_tiers import FunctionTiers, Tier

if TYPE_CHECKING:
    from ..compile.pipeline import GroupCompiler, PendingGroup
    from ..wasm.validate import BodyChecker

_Loop = tuple[int, int, bool]  # function, offset of the loop, whether the code is optimised


def is_of_the_program(error: BaseException) -> bool:
    """Whether an exception comes from the program that runs wasm: Ctrl-C, or what a signal handler raised."""
    if not isinstance(error, Exception):
        return True
    kind = type(error).__module__.partition(".")[0]
    if kind != "wasmjit" and kind != "builtins" and kind not in sys.stdlib_module_names:
        return True
    with importing():  # 1 ms, which no program has to wait for to begin
        import signal
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in codes:
            return True
        traceback = traceback.tb_next
    return False


class LoadedGroup(Protocol):
    """Code of some functions that can be run."""

    @property
    def function_addresses(self) -> Sequence[int]:
        """Where each function begins, in the order of the group's functions."""
        ...

    @property
    def register_entries(self) -> Mapping[int, int]:
        """Function -> the address of its register entry, of those that have one."""
        ...


class Machine(Protocol):
    """What lazy code needs of whoever runs it."""

    def load(self, code: GroupCode) -> LoadedGroup:
        """Makes code executable. Raises WasmError."""
        ...

    def announce(self, code: Any) -> None:
        """Tells profilers of loaded code. Raises WasmError."""
        ...

    def install(self, trampolines: Mapping[str, Piece]) -> object:
        """Makes trampolines executable; what has to be held as long as they may be called. Raises WasmError."""
        ...

    def is_interrupted(self) -> bool:
        """Whether the call that runs in this thread is to end."""
        ...

    def hold_questions(self, seconds: float) -> None:
        """Has no code ask for better code in this time; 0: it may again."""
        ...


def _nothing() -> None:
    pass


class _Imports:
    """What asking a compiler takes of imports, done by a thread: running wasm does not wait for them (30 ms)."""

    def __init__(self) -> None:
        self._pid = 0  # of the process that has begun
        self._is_done = False
        self._ended = threading.Event()

    def _are_to_be_begun(self) -> bool:
        """Whether the caller is to do them: not begun here; after a fork, the thread that did is the parent's."""
        if self._pid == os.getpid():
            return False
        self._pid = os.getpid()
        self._ended = threading.Event()
        pipeline = sys.modules.get("wasmjit.compile.pipeline")
        self._is_done = pipeline is not None and not getattr(pipeline.__spec__, "_initializing", False)
        return not self._is_done

    def are_done(self) -> bool:
        """Whether there is nothing to wait for; else there will not be soon."""
        if self._are_to_be_begun():
            try:
                start_thread(self._do)
            except (RuntimeError, MemoryError):  # then whoever asks waits
                self._is_done = True
        return self._is_done

    def finish(self) -> None:
        """Does them, or waits for who is at it. For threads that nobody waits for."""
        if self._are_to_be_begun():
            self._do()
        elif not self._is_done:
            self._ended.wait()

    def _do(self) -> None:
        try:
            with importing():
                from ..compile.workers import background_pool

                background_pool().warm_up(1)  # it starts meanwhile
                from ..compile import pipeline  # noqa: F401
        except Exception:
            pass  # whoever asks tries again, and tells of it
        finally:
            self._is_done = True
            self._ended.set()


_imports = _Imports()


class LazyModule:
    """What a module that was not compiled has in place of an artifact."""

    def __init__(
        self, module: Module, trampolines: TrampolineCode, *, interprets: bool, left: AbstractSet[int] = frozenset()
    ) -> None:
        """`interprets`: its functions run in the interpreter first. Else a process begins with the trampolines.

        `left`: functions that stay there (compile/limits.py), where all others have been compiled.
        """
        self.module = module
        self.interprets = interprets
        self.left = left
        # Called when something of it becomes hot, in any loaded copy: what is used that little is nothing to optimise.
        self.when_hot: Callable[[], None] = _nothing
        self._maker = trampolines
        self._pid = os.getpid()
        self._begun: BegunTrampolines | None = None if interprets else self.begin_trampolines()

    @classmethod
    def begin(cls, config: Config, trampolines: TrampolineCode, wasm: bytes, check: BodyChecker) -> LazyModule | None:
        """Decodes and validates a binary module. None if its functions cannot be compiled one by one.

        `check` looks at its bodies first (`wasm.validate`). Raises WasmError.
        """
        module = build.checked(config, wasm, check)
        if not module.bodies:
            return None
        return cls(module, trampolines, interprets=build.can_interpret(config))

    @classmethod
    def rest_of(cls, config: Config, trampolines: TrampolineCode, artifact: Artifact) -> LazyModule:
        """What runs the functions that an artifact has no code of. Raises WasmError."""
        with importing():
            from ..wasm.decode import decode

            wasm = artifact.wasm  # which imports something, too
        module = decode(wasm, config.features)
        first = module.num_imported_functions
        # All that it can take: where the native stack gets short, it runs functions that there is code of, too.
        compiled_only = artifact.compiled_only
        module.interpretable = bytes(first + position not in compiled_only for position in range(len(module.bodies)))
        return cls(module, trampolines, interprets=True, left=artifact.interpreted)

    def code(self, config: Config, machine: Machine) -> LazyCode:
        """What makes its code, for one loaded module."""
        return LazyCode(config, self, FunctionTiers(self.tiers()), machine)

    def tiers(self) -> list[Tier]:
        """Where each of its functions begins."""
        interpretable = self.module.interpretable or bytes(len(self.module.bodies))
        return [Tier.INTERPRETED if self.interprets and fits else Tier.UNCOMPILED for fits in interpretable]

    def register_entries(self) -> list[int]:
        """The positions of functions that have a register entry in whatever they run in (compile/tail_calls.py)."""
        return register_entries(self.module)

    def begin_trampolines(self) -> BegunTrampolines:
        """Has another process make what instances take. Raises CompileError."""
        return self._maker.begin_module(self.module, in_background=self.interprets)

    def trampolines(self) -> Mapping[str, Piece]:
        """As `Artifact.trampolines`: what there has to be at once. Raises CompileError."""
        if self.interprets:
            return {}  # calls without them take a little longer
        begun, self._begun = self._begun, None
        if begun is None or self._pid != os.getpid():  # a forked child: the other process is the parent's
            begun = self.begin_trampolines()
        return begun.finish()


class _Group:
    """Functions that are being compiled (`pending`), or are."""

    def __init__(self, pending: PendingGroup, loop: _Loop | None = None, *, is_optimised: bool = False) -> None:
        self.loop = loop  # at which its only function is entered
        self.is_optimised = is_optimised
        self.functions = pending.functions
        self.left = pending.left
        self.pending: PendingGroup | None = pending
        self.addresses: dict[int, int] = {}
        self.error: str | None = None
        self.begun_at = time.monotonic()


class LazyCode:
    """Makes the code of one loaded module. Thread-safe; after a fork the child makes its own."""

    def __init__(self, config: Config, lazy_module: LazyModule, tiers: FunctionTiers, machine: Machine) -> None:
        module = lazy_module.module
        self._config = build.baseline(config)
        self._machine = machine
        self.tiers = tiers
        self._final_opt_level = config.final_opt_level
        self._module = module
        self._first = module.num_imported_functions
        self._compiler: GroupCompiler | None = None
        self.interprets = lazy_module.interprets
        self._lazy_module = lazy_module
        self._register_entries = frozenset(lazy_module.register_entries())
        # Functions that are not to be compiled, but where the interpreter cannot run them (`resolve`).
        self._left = set(lazy_module.left)
        self._num_ignored = 0  # questions
        self._heard_at = 0.0  # in processor time: from when on they are heard
        self._is_heard = False
        self.reports: Counter[int] = Counter()  # of hot functions and loops, by position of the function
        self._num_reports = 0  # all of them
        self._invested_seconds = 0.0  # in what was asked for
        self._num_failures = 0  # of requests for better code, one after the other
        self._asks_again_at = 0.0
        self._no_compiler: NoCompilerError | None = None  # why something was not made that was begun
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler in Python may call wasm, too
        self._groups: dict[int, _Group] = {}  # by function
        self._pending: list[_Group] = []
        self._is_asking = False  # a thread of ours has text generated
        self._is_awaiting = False  # a thread of ours waits for code
        self._refused: int | None = None  # the position of what asked last when no compiler was free
        self._loops: dict[_Loop, int | None] = {}  # where to enter; None: not yet known, 0: nowhere
        # By function in code from stencils: the offset of the loop to be entered; how often one was awaited.
        self._recurring: dict[int, int] = {}
        self._num_awaited: Counter[int] = Counter()
        self._asked_at: dict[_Loop, float] = {}  # when optimised code for a loop was asked for first
        self._has_trampolines = bool(self._lazy_module.left)  # or nearly; the artifact has them
        self._trampolines: object = None  # to be kept for calls to come
        self._reached: list[int] = []  # functions that compiled code calls
        self.codes: list[LoadedGroup] = []  # which calls may be in

    def expect(self, function: int) -> None:
        """Begins with a defined function that will be called soon."""
        if self.interprets:
            return
        with self._lock:
            self._reached.append(function)
            self._speculate()

    def entered_loops(self) -> dict[int, list[tuple[int, Tier]]]:
        """By function, the offsets of loops at which there is code to go on in, and that code's tier."""
        found: dict[int, list[tuple[int, Tier]]] = {}
        for (function, offset, is_optimised), address in list(self._loops.items()):
            if address:
                found.setdefault(function, []).append((offset, Tier.OPTIMIZED if is_optimised else Tier.BASELINE))
        return found

    def resolve(self, position: int) -> int:
        """The address of the code of a defined function, by its position in the function table; makes it if needed.

        0 if the call that waits for it is interrupted, or its time is over. Raises CompileError.
        """
        with stopwatch.phase(stopwatch.WAITING):
            return self._resolve(position)

    def _resolve(self, position: int) -> int:
        function = position + self._first
        if self._pid != os.getpid():
            self._come_along()
        while not self._lock.acquire(timeout=thresholds.LOOK_AGAIN_SECONDS):  # another thread waits for a compiler
            if self._machine.is_interrupted():
                return 0
        try:
            if self.tiers.is_optimized(position):  # since the caller read the table
                return self.tiers.address(position)
            self._lazy_module.when_hot()  # what is compiled by one is worth being optimised by another
            with deadline.until(self._machine.is_interrupted):
                group = self._groups.get(function) or self._begin(function, at_once=True)
            while group.pending is not None:
                self._progress()
                if group.pending is not None and self._machine.is_interrupted():
                    return 0
            if group.error is not None:
                raise CompileError(group.error)
            if function not in group.addresses:  # this is a signal handler, in the middle of finishing that group
                del self._groups[function]
                return self._resolve(position)
            return group.addresses[function]
        except deadline.NotWantedError:
            return 0
        finally:
            self._lock.release()

    def hot(self, position: int, loop_offset: int, asked_by: int = abi.ASKED_BY_INTERPRETER) -> int:
        """A function began often (0), or its loop at an offset in the module. Waits for nothing.

        `asked_by` says what it runs in: optimised code is wanted unless it is interpreted. Returns the address of code
        that goes on from that loop (compile/pipeline.py: `GroupCompiler.begin_loop`), or 0.

        Whatever fails on the way, the program goes on in the code that it has; what a signal handler of its own raises
        is its own.
        """
        try:
            with stopwatch.phase(stopwatch.ASKING):
                return self._hot(position, loop_offset, asked_by)
        except RecursionError:  # the program called wasm from far down; another time it does not
            return 0
        except BaseException as error:
            if is_of_the_program(error):
                raise
            self._fail(error)
        return 0

    def _fail(self, error: BaseException) -> None:
        """Better code could not be asked for: not again for a while."""
        self._num_failures += 1
        pause_seconds = min(
            thresholds.HOT_FIRST_PAUSE_SECONDS * 2**self._num_failures, thresholds.HOT_LONGEST_PAUSE_SECONDS
        )
        self._asks_again_at = time.monotonic() + pause_seconds
        say_once(error)

    def _hot(self, position: int, loop_offset: int, asked_by: int) -> int:
        if self._pid != os.getpid():
            self._come_along()
        self.reports[position] += 1
        self._num_reports += 1
        if asked_by == abi.ASKED_BY_WATCH:  # of what was seen, which is lost if there is no time for it now
            self._recurring[position + self._first] = loop_offset
        if position + self._first in self._left:
            return 0
        if self._num_failures and time.monotonic() < self._asks_again_at:
            return 0
        if self._ignores():
            return 0
        if not self._lock.acquire(blocking=False):
            return 0
        try:
            for group in self._ready(0) if self._pending else ():
                self._finish(group)
            error, self._no_compiler = self._no_compiler, None
            if error is not None:
                raise error
            self._lazy_module.when_hot()
            return self._answer(position, loop_offset, asked_by)
        finally:
            self._lock.release()

    def _ignores(self) -> bool:
        """Whether a question comes so early that it is not heard."""
        if not thresholds.INTERPRETER_IS_PATIENT or self._is_heard:
            return False
        now = time.process_time()  # others may want the processor, too
        if self._num_ignored == 0:
            self._heard_at = now + (thresholds.PATIENCE_ALONE_SECONDS if num_processors() == 1 else 0.0)
        if self._num_ignored >= thresholds.IGNORED_QUESTIONS and now >= self._heard_at:
            self._is_heard = True
            return False
        self._num_ignored += 1
        return True

    def _answer(self, position: int, loop_offset: int, asked_by: int) -> int:
        """As `hot`: of code that there is. Asks for code that is missing."""
        if not thresholds.INTERPRETER_IS_PATIENT and not _imports.are_done():  # else the thread that asks does them
            return 0
        function = position + self._first
        address = None
        if asked_by != abi.ASKED_BY_WATCH:
            address = self._loops.get((function, loop_offset, True))
        if asked_by == abi.ASKED_BY_INTERPRETER:
            address = address or self._loops.get((function, loop_offset, False))
        is_native = asked_by in (abi.ASKED_BY_STENCILS, abi.ASKED_BY_WATCH)
        # Code from stencils counts calls only: if there were hardly any, the function is in a loop.
        stays = is_native and loop_offset != 0 and self.tiers.count(position) < thresholds.FEW_CALLS
        # What runs now first, then what is called: later calls are not to begin in slower code. But what is called
        # again and again leaves its loops soon, too, if it is in code from stencils.
        group = self._groups.get(function)
        wants_function = not stays and group is None and not self.tiers.is_optimized(position)
        is_made = not wants_function and (group is None or group.pending is None)
        wants_function = wants_function and self._pays(position)
        wants_loop = loop_offset != 0 and not address and self._pays(position)
        wants_loop = wants_loop and (stays or is_made or not is_native or function in self._recurring)
        answer = address or 0
        if asked_by == abi.ASKED_BY_STENCILS and wants_loop:
            found = self._loop_to_enter(function, loop_offset)
            if found == abi.ANSWER_WATCH or found & abi.ANSWER_AWAIT:
                answer, wants_loop = found, False
            loop_offset = found
        loop = (function, loop_offset, asked_by != abi.ASKED_BY_INTERPRETER)
        wants_loop = wants_loop and loop not in self._loops and self._has_room(loop)
        # A thread is not to begin for nothing.
        if wants_loop or wants_function:
            if self._is_asking or self._is_compiler_busy():
                self._refused = position
            else:
                self._ask(loop if wants_loop else None, function if wants_function else None, optimised=is_native)
        return answer

    def _is_compiler_busy(self) -> bool:
        """Whether nobody is to be asked now."""
        if self._compiler is None:
            return False
        if thresholds.INTERPRETER_IS_PATIENT and self._pending and num_processors() == 2:
            age_seconds = time.monotonic() - self._pending[-1].begun_at
            if age_seconds < thresholds.SECOND_WORKER_PATIENCE_SECONDS:
                return True
        return self._compiler.is_busy

    def _pays(self, position: int) -> bool:
        """Whether the program, on one processor, has been in a function for as long as making code of it takes.

        Who asks how often says where it was.
        """
        if not thresholds.INTERPRETER_IS_PATIENT or num_processors() > 1:
            return True
        used_seconds = time.process_time() - (self._heard_at - thresholds.PATIENCE_ALONE_SECONDS)
        if self._invested_seconds > thresholds.INVESTED_SHARE * used_seconds:
            return False
        return used_seconds * self.reports[position] >= self._cost_seconds([position + self._first]) * self._num_reports

    def _cost_seconds(self, functions: Sequence[int]) -> float:
        """About what making their code takes."""
        bodies = [self._module.bodies[function - self._first] for function in functions]
        size_bytes = sum(body.end - body.start for body in bodies)
        return thresholds.REQUEST_SECONDS + thresholds.REQUEST_SECONDS_A_BYTE * size_bytes

    def _ask(self, loop: _Loop | None, function: int | None, *, optimised: bool) -> None:
        """Has code of a loop made, and of a function. By a thread, where it is not for tests: generating the text of a
        large function takes some tenths of a second, in which the program runs on."""
        asked_of = loop[0] if loop is not None else function
        assert asked_of is not None

        def ask() -> None:
            compiler = self._compiler_of_groups()
            if loop is not None and not compiler.is_busy:
                self._begin_loop(loop)
            has_room = len(self._pending) < thresholds.MOST_PENDING_GROUPS
            if function is not None and has_room and not compiler.is_busy:
                self._begin(function, optimised=optimised)
            self._num_failures = 0

        def ask_beside() -> None:
            try:
                self._machine.hold_questions(thresholds.LONGEST_HOLD_SECONDS)
                time.sleep(thresholds.BEFORE_ASKING_SECONDS)
                _imports.finish()
                end_at = time.thread_time() + thresholds.MOST_TEXT_SECONDS
                with deadline.until(lambda: time.thread_time() > end_at):
                    ask()
                import_linker()  # for what the compiler makes meanwhile
            except deadline.NotWantedError:
                self._left.add(asked_of)  # it would take as long each time
            except CompileError as error:  # else of this function or loop: it goes on as it is
                if isinstance(error, NoCompilerError):
                    self._fail(error)
            except BaseException as error:
                self._fail(error)
            finally:
                self._is_asking = False
                self._machine.hold_questions(0)
            self._await_code()

        if thresholds.INTERPRETER_IS_PATIENT:
            self._is_asking = True
            try:
                return start_thread(ask_beside)
            except BaseException:
                self._is_asking = False
                raise
        try:
            with deadline.until(self._machine.is_interrupted):
                ask()
        except deadline.NotWantedError:
            pass  # the call ends
        except NoCompilerError:
            raise
        except CompileError:
            pass

    def _await_code(self) -> None:
        """Has a thread take into use what is made, as soon as it is: the program asks at intervals only."""
        with self._lock:
            if self._is_awaiting or not self._pending:
                return
            self._is_awaiting = True
        reference, pid = weakref.ref(self), self._pid
        try:
            start_thread(lambda: _await_code_of(reference, pid))
        except (RuntimeError, MemoryError):
            self._is_awaiting = False

    def take_ready(self) -> list[int] | None:
        """Takes code into use that is there; returns what to wait for: descriptors. None: there is nothing to wait for.

        For the thread that waits.
        """
        told: list[int | None] = []
        with self._lock:
            try:
                for group in self._ready(0) if self._pending else ():
                    self._finish(group)
                    if group.loop is not None:
                        told.append(group.loop[0] - self._first)
                    told.append(self._refused)
                    self._refused = None
            except Exception as error:  # the program goes on in the code that it has
                self._fail(error)
            pending = [group.pending.fileno() for group in self._pending if group.pending is not None]
            self._is_awaiting = bool(pending)
        for position in told:  # with the lock free: else nothing would be answered
            if position is not None:
                self.tiers.tell(position)
        return [descriptor for descriptor in pending if descriptor is not None] if pending else None

    def _loop_to_enter(self, function: int, loop_offset: int) -> int:
        """The offset of the loop to have code made for, where this one runs: itself or one around it. Or what the
        thread is to do to find one out, or to get there."""
        if function not in self._recurring:
            self._recurring[function] = loop_offset
            if thresholds.WATCHES_LOOPS:
                return abi.ANSWER_WATCH
        found = self._recurring[function]
        address = self._loops.get((function, found, True))
        if found == loop_offset or address is None:
            return found
        self._num_awaited[function] += 1
        if not address or self._num_awaited[function] > thresholds.MOST_AWAITED:  # refused, or it never begins again
            self._recurring[function] = loop_offset
            return loop_offset
        return abi.ANSWER_AWAIT | found

    def _bring_trampolines(self) -> None:
        """Speeds up calls between Python and the module. By a thread: functions that have code may ask nothing more."""
        if self._has_trampolines:
            return
        self._has_trampolines = True

        reference = weakref.ref(self)  # what nobody has any more gets none

        def bring() -> None:
            if thresholds.INTERPRETER_IS_PATIENT:
                times = thresholds.TRAMPOLINES_PATIENCE_ALONE if num_processors() == 1 else 1
                time.sleep(times * thresholds.TRAMPOLINES_PATIENCE_SECONDS)
            code = reference()
            if code is not None:
                # Calls without them take a little longer.
                with contextlib.suppress(WasmError, MemoryError, RuntimeError, OSError):
                    code._trampolines = code._machine.install(code._lazy_module.begin_trampolines().finish())

        with contextlib.suppress(RuntimeError, MemoryError):
            start_thread(bring)

    def _has_room(self, loop: _Loop) -> bool:
        """Whether to begin with the code of a loop now. Optimising takes long: there is one at most, which leaves room
        for baseline code, that more wait for."""
        if len(self._pending) >= thresholds.MOST_PENDING_GROUPS:
            return False
        function, _, is_optimised = loop
        if not is_optimised:
            return True
        body = self._module.bodies[function - self._first]
        now = time.monotonic()
        patience = thresholds.LOOP_PATIENCE_SECONDS_A_BYTE * (body.end - body.start)
        is_time = now - self._asked_at.setdefault(loop, now) >= patience
        return is_time and not any(group.loop is not None and group.loop[2] for group in self._pending)

    def _begin_loop(self, loop: _Loop) -> None:
        function, loop_offset, is_optimised = loop
        loops = self._loops
        loops[loop] = None
        try:
            pending = self._compiler_of_groups().begin_loop(function, loop_offset, optimised=is_optimised)
        except BaseException as error:
            loops[loop] = 0
            if not isinstance(error, CompileError) or isinstance(error, NoCompilerError):
                del loops[loop]  # another time it can be entered
            raise
        self._invested_seconds += self._cost_seconds([function])
        with self._lock:
            self._pending.append(_Group(pending, loop))

    def _come_along(self) -> None:
        """After a fork: the parent's compilers are not ours, and its threads may have held locks."""
        done = {function: group for function, group in self._groups.items() if group.pending is None}
        codes = self.codes
        self._compiler = None
        self._reset()
        self._groups, self.codes = done, codes

    def _begin(self, function: int, *, optimised: bool = False, at_once: bool = False) -> _Group:
        """Has a group with this function compiled; `at_once` if the function cannot run until it is."""
        try:
            compiler = self._compiler_of_groups()
            pending, reached = compiler.begin(
                function,
                self._is_wanted,
                optimised=optimised,
                at_any_price=at_once,
                others=self._hot_ones() if optimised else (),
            )
        except FunctionLeftError:
            self._left.add(function)
            raise
        group = _Group(pending, is_optimised=optimised)
        self._invested_seconds += self._cost_seconds(group.functions)
        with self._lock:
            self._pending.append(group)
            self._left |= group.left
            for member in group.functions:
                if member not in group.left:
                    self._groups[member] = group
            if not self.interprets:
                self._reached.extend(reached)
        return group

    def _compiler_of_groups(self) -> GroupCompiler:
        if self._compiler is None:
            with importing():
                from ..compile.pipeline import GroupCompiler
            self._compiler = GroupCompiler(
                self._module,
                self._config,
                opt_level="quick" if self.interprets else None,
                optimised_opt_level=self._final_opt_level,
                interprets=self.interprets,
            )
        return self._compiler

    def _is_wanted(self, function: int) -> bool:
        """Whether a function is to be compiled with one that calls it."""
        if function in self._groups or function in self._left:
            return False
        if not self.interprets:
            return True
        position = function - self._first
        if self.tiers.is_optimized(position) or self.tiers.count(position) < thresholds.LUKEWARM_COUNT:
            return False
        body = self._module.bodies[position]
        return body.end - body.start <= thresholds.UNWEIGHED_BODY_BYTES or self._pays(position)

    def _hot_ones(self) -> list[int]:
        """Functions that are called often, and have no code to stay in: the most used first."""
        often = [
            (-count, position) for position, count in enumerate(self.tiers.counts()) if count >= thresholds.HOT_COUNT
        ]
        return [function for _, position in sorted(often) if self._is_wanted(function := position + self._first)]

    def _speculate(self) -> bool:
        """Begins with functions that compiled code calls: most of these will be called. False if there are none."""
        while self._reached:
            function = self._reached.pop()
            if function not in self._groups:
                try:
                    self._begin(function)
                except Exception as error:
                    if is_of_the_program(error):
                        raise
                    continue  # whoever calls it will be told
                return True
        return False

    def _progress(self) -> None:
        """Finishes groups that are ready; if none is, begins another one, or waits."""
        ready = self._ready(0)
        if not ready and (len(self._pending) >= thresholds.MOST_PENDING_GROUPS or not self._speculate()):
            ready = self._ready(thresholds.LOOK_AGAIN_SECONDS)
        for group in ready:
            self._finish(group)

    def _ready(self, timeout_seconds: float) -> list[_Group]:
        with importing():
            import select

        ready = [group for group in self._pending if group.pending is None or group.pending.fileno() is None]
        if ready:
            return ready
        poll = select.poll()  # select() refuses descriptors from 1,024 on
        descriptors: dict[int, _Group] = {}
        for group in self._pending:
            descriptor = group.pending.fileno() if group.pending is not None else None
            if descriptor is not None:
                descriptors[descriptor] = group
                poll.register(descriptor, select.POLLIN)
        return [descriptors[descriptor] for descriptor, _ in poll.poll(timeout_seconds * 1000)]

    def _forget(self, group: _Group) -> None:
        """It was not begun."""
        if group.loop is not None:
            self._loops.pop(group.loop, None)
            return
        for member in group.functions:
            self._groups.pop(member, None)

    def _finish(self, group: _Group) -> None:
        pending, group.pending = group.pending, None
        if pending is None:
            return
        self._pending.remove(group)
        try:
            grouped = GroupCode(self._module, pending.result(), group.functions)
            code = self._machine.load(grouped)
        except CompileError as error:
            group.error = error.reason
            if isinstance(error, NoCompilerError):
                self._no_compiler = error
            # What is not the code's fault can be asked for again; in the interpreter that is often.
            if isinstance(error, NoCompilerError) or (isinstance(error, CompilerDiedError) and not self.interprets):
                self._forget(group)
            elif group.loop is not None:
                self._loops[group.loop] = 0
            return
        except BaseException as error:
            self._forget(group)  # interrupted, or out of memory: the next call tries again
            group.error = f"making the code was interrupted ({type(error).__name__})"
            raise
        if group.loop is not None:
            self.codes.append(code)
            self._loops[group.loop] = code.function_addresses[0]
            return
        addresses = zip(group.functions, code.function_addresses, strict=True)
        group.addresses = {function: address for function, address in addresses if function not in group.left}
        self.codes.append(code)
        self._machine.announce(code)
        words = table_words(self._module, group.addresses, code.register_entries, self._register_entries)
        if group.is_optimised:  # but not in place of code that calls functions directly
            self.tiers.raise_to(Tier.OPTIMIZED, words, grouped.made, highest=Tier.BASELINE)
        else:
            self.tiers.raise_to(Tier.BASELINE, words, grouped.made)
        if self.interprets:
            self._bring_trampolines()


def _await_code_of(reference: weakref.ref[LazyCode], pid: int) -> None:
    """As long as somebody has the module: the thread does not."""
    from ..compile.workers import readable  # imported already

    while (code := reference()) is not None and os.getpid() == pid:
        descriptors = code.take_ready()
        del code
        if descriptors is None:
            return
        if descriptors:
            readable(descriptors, thresholds.LOOK_AT_CODE_SECONDS)
