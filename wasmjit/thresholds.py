"""When, where and how much is compiled: every number that decides it, which any part may import.

Read them as ``thresholds.NAME`` where they are used: whoever changes one here (a test, an experiment) changes it for
all that happens from then on in this process, but for what C knows of them, which `render_header` writes. What keeps
LLVM's time in proportion to its input is another matter (compile/limits.py).
"""

from __future__ import annotations

import os

# ---- the interpreter, where functions of tier "auto" begin ----

# For tests: whether there is one.
INTERPRETS = True
# Whether what begins there is translated to native code instead, where that can be (runtime_c/stencil.h).
STENCILS = os.environ.get("WASMJIT_STENCILS") != "0"
# For tests: not 0: which locals and operands are in registers does not depend on their use, but on this.
REGISTER_SEED = 0
# Where the system gives no memory for that, it is asked again after a pause, twice as long each time. (In C.)
CODE_MEMORY_FIRST_PAUSE_NS = 50_000_000
CODE_MEMORY_LONGEST_PAUSE_NS = 10_000_000_000
# How often a function or a loop begins before somebody is told of it. Compiling a function takes as long as running it
# a few thousand times here.
INTERPRETER_BUDGET = 5000
# Whether it waits between two questions (below). Tests cannot.
INTERPRETER_IS_PATIENT = True
# Questions of a thread about better code are asked at most so often, and after so many times what the last one took:
# what answers them generates code, and the program waits for that. But code that is ready is not left lying for longer
# than the longest interval. (In C.)
QUESTION_INTERVAL_NS = 10_000_000
QUESTION_COST_SHARE = 8
LONGEST_QUESTION_INTERVAL_NS = 40_000_000
# The first questions about a module are not heard: code that runs all the time asks at each interval, and what ends
# before so many of them is done by then as quickly as a compiler starts.
IGNORED_QUESTIONS = 1
# On two processors, one for the program and one for a compiler, a request waits so long for the one that another
# occupies, before it starts a second: which takes 0.1 s of processor time, as much as ten small functions do.
SECOND_WORKER_PATIENCE_SECONDS = 0.25
# While a thread imports what asking takes, and generates text, there is no answer, but each question waits for the GIL
# (5 ms): for so long nobody asks.
LONGEST_HOLD_SECONDS = 1.0
# The thread does nothing at first: the program is to have the GIL back, which this would not let go of for 5 ms, and to
# have watched its loops (1 ms).
BEFORE_ASKING_SECONDS = 0.002
# How often a thread that waits for code looks whether anybody still has the module.
LOOK_AT_CODE_SECONDS = 0.25
# On one processor, where the compiler takes from the program what it needs, more: until the process has used about as
# much processor time as better code saves.
PATIENCE_ALONE_SECONDS = 0.5

# There, what code of a function takes is weighed against the program's processor time in that function, as far as its
# questions tell. What comes along with another is weighed if it is longer than this.
REQUEST_SECONDS = 0.02
REQUEST_SECONDS_A_BYTE = 100e-6
UNWEIGHED_BODY_BYTES = 500
# And all together are to take no more than so much of the program's processor time: a large program has hundreds of
# functions that are a little hot.
INVESTED_SHARE = 0.25

# Generating the text of a function takes a thread of the program's process at most so much processor time: others wait
# for the GIL meanwhile, and the call that it is for may have ended. 20 times what one of 60 kB takes.
MOST_TEXT_SECONDS = 5.0

# ---- baseline code, made a group of functions at a time ----

# Of functions that are compiled when first called: a request has a price of its own, and what is not called is waste.
GROUP_INSTRUCTIONS = 2000
# What comes along in a group that is shorter, called or not: functions that began so often.
SHORT_GROUP_INSTRUCTIONS = 500
HOT_COUNT = INTERPRETER_BUDGET // 2  # what is called in turns with one that is hot is nearly so
# Groups that compilers work on at a time: one that is waited for, and others that probably will be.
MOST_PENDING_GROUPS = 2
# Functions that began less often are not compiled with a hot one that calls them.
LUKEWARM_COUNT = 500
# A function in code from stencils that was called less often is in a loop: code that is entered there comes first.
FEW_CALLS = 2
# For tests: whether the loop to be entered is found out by watching; else it is the one that asks.
WATCHES_LOOPS = True
# How often the loop that code was made for is waited for, where another one runs.
MOST_AWAITED = 5
# How long the program goes on after its first better code until calls from Python get trampolines: they save 40 ns
# each, and take as long to make as a small function.
TRAMPOLINES_PATIENCE_SECONDS = 1.0
# On one processor so many times as long: most programs of a few seconds never make so many calls.
TRAMPOLINES_PATIENCE_ALONE = 10
# Of larger functions, O0 code is made where better code could be ("quick"): register allocation takes seconds for some.
QUICK_BODY_BYTES = 8 * 1024

# ---- loops, in which an activation goes on in better code ----

# Counts of a function's counter between two questions of baseline code, a power of two: a question costs as much as
# about a thousand iterations of a short loop.
HAND_OVER_PERIOD = 1 << 14
# The frame takes as much of the stack again as the locals do, in all activations of the function.
MOST_HAND_OVER_LOCALS = 200
# How long a loop runs in baseline code before optimised code is made for it, per byte of its function's body: a part of
# the time that making it takes. That competes with what runs, and is for nothing if the loop ends before.
LOOP_PATIENCE_SECONDS_A_BYTE = 20e-6
# After a failure nobody asks for better code for some time, twice as long each time.
HOT_FIRST_PAUSE_SECONDS = 0.05
HOT_LONGEST_PAUSE_SECONDS = 60.0

# ---- the optimiser, a process that makes optimised code beside the program ----

# Programs that end sooner would only be kept from ending by it.
OPTIMISER_PATIENCE_SECONDS = 2.0
# On one processor so many times as long, and in the program's processor time: what is hot is optimised by then, and the
# rest would take a tenth of its time.
OPTIMISER_PATIENCE_ALONE = 5
# What is smaller is made if something in it is hot: else the next run, too, does without.
LARGE_MODULE_BYTES = 64 << 10
# Without work it ends.
OPTIMISER_IDLE_SECONDS = 20.0
OPTIMISER_NICENESS = 10
# What fails for a reason that may go away is tried again, after twice as long each time.
OPTIMISER_FIRST_PAUSE_SECONDS = 1.0
OPTIMISER_LONGEST_PAUSE_SECONDS = 300.0
# What goes on after a program's end. What is handed over is bounded: requests beyond are made another time.
MOST_LEFT_REQUESTS = 16
MOST_LEFT_REQUEST_BYTES = 64 << 20
# Others may keep the processor, and with it the end, from a process that gives way to everyone.
BACKGROUND_WALL_SECONDS_A_CPU_SECOND = 10
BACKGROUND_NICENESS = 19

# ---- validation ----

# Code from this size on is validated by several threads: less takes C as long as a few threads take to begin.
SHARED_CODE_BYTES = 512 * 1024
# What one of them takes at a time.
SHARED_PART_BYTES = 64 * 1024

# ---- units: how modules are cut for LLVM ----

# Small enough that units compile side by side and LLVM's passes stay near linear, large enough that most calls stay
# direct. Counted in bytes of wasm code.
UNIT_BODY_BYTES = 96 * 1024
# LLVM takes 8 kB for each function, however short. Ten times as many as units of real programs have.
MOST_UNIT_FUNCTIONS = 4_000
# Far above what the text of compilers' functions is for so many bytes of them, where there is more than one.
MOST_UNIT_TEXT_BYTES = 8_000_000
MOST_TANGLED_UNIT_TEXT_BYTES = 2_000_000
# Functions whose text is longer get less (docs/rationale.md): the passes of O1; then next to none, in O0 code; and even
# longer ones none (compile/limits.py).
HUGE_FUNCTION_TEXT_BYTES = 3_000_000  # some 50,000 instructions of wasm
ENORMOUS_FUNCTION_TEXT_BYTES = 12_000_000

# ---- processes that compile ----

# What is compiled while the program runs in other code, which is not to be slower for it. Its share of a processor that
# both want is a quarter: less would have long programs wait too long for better code.
BESIDE_NICENESS = 5
# On one processor, what is being made takes from the program what it takes, and the sooner it is there the better.
BESIDE_NICENESS_ALONE = 0
# Requests beyond what the pool's workers can do wait so long for one of them, and then start another: who is waited
# for may be the one who waits.
WORKER_PATIENCE_SECONDS = 1.0
# Without requests they end; the next one starts another.
WORKER_IDLE_SECONDS = 60.0
# A signal handler that calls wasm may have finished what is waited for, and another thread given back a worker: Python
# goes on waiting then.
LOOK_AGAIN_SECONDS = 0.02


def render_header() -> str:
    """The text of ``runtime_c/wj_thresholds.h``: they are no part of the contract of `wasmjit.abi`, so that artifacts
    outlive a change of them."""
    return (
        "/* Generated by wasmjit.thresholds.render_header(): do not edit. `make abi` rewrites it; a test compares. */\n"
        "#ifndef WJ_THRESHOLDS_H\n#define WJ_THRESHOLDS_H\n"
        f"#define WJ_QUESTION_INTERVAL_NS {QUESTION_INTERVAL_NS}\n"
        f"#define WJ_QUESTION_COST_SHARE {QUESTION_COST_SHARE}\n"
        f"#define WJ_LONGEST_QUESTION_INTERVAL_NS {LONGEST_QUESTION_INTERVAL_NS}\n"
        f"#define WJ_CODE_MEMORY_FIRST_PAUSE_NS {CODE_MEMORY_FIRST_PAUSE_NS}\n"
        f"#define WJ_CODE_MEMORY_LONGEST_PAUSE_NS {CODE_MEMORY_LONGEST_PAUSE_NS}\n"
        "#endif\n"
    )
