# `make demo` and `make test` need nothing installed by hand: every target makes .venv first.
# A second run does nothing that is done already; an edited C file is rebuilt.

VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest

NATIVE_SOURCES := setup.py $(wildcard runtime_c/*.c runtime_c/*.h runtime_c/*.S runtime_c/*.py) \
	$(wildcard wasmjit/stencils/*.py) wasmjit/abi.py $(addprefix wasmjit/compile/,lower.py simd.py simd_templates.py) \
	$(addprefix wasmjit/wasm/,types.py ops.py body_facts.py first_tier.py validator_rows.py)
C_FILES := $(filter-out runtime_c/_%,$(wildcard runtime_c/*.c))
C_HEADERS := $(filter-out runtime_c/_%,$(wildcard runtime_c/*.h))
# What is generated into build/ is nobody's to check, and large.
C_FLAGS := -std=gnu11 -Iruntime_c -isystem build
C_CHECKS := build/check
C_CHECKED := $(C_FILES:runtime_c/%.c=$(C_CHECKS)/%.checked)
# How many states clang's analyser goes through from a function: a fortieth of what it would itself.
# `make check-slow` gives it the whole.
STATES := 5000
# Looked up only where it is used: the environment is made by then.
PYTHON_HEADERS = -isystem $(shell $(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))')
PROCESSORS := $(shell nproc)
# One more than there are processors: tests wait for other processes a fifth of their time.
PARALLEL := -n $(shell expr $(PROCESSORS) + 1) --dist worksteal

FUZZ_CASES := 10000
SCHEDULES := 10000
# For example `make bench BENCH="--quick compare"`.
BENCH :=
REALWORLD :=
# For example `make soak SOAK="--cycles 4000 --minutes 1"`.
SOAK :=
# For example `make mutate MUTATE="interpreter bulk-copy"`.
MUTATE :=

# For example `make fuzz-loops LOOPS="--count 20000 --seed 7"`; `make fuzz-csmith CSMITH="--count 50 --levels O0,O2"`.
LOOPS :=
CSMITH :=
VALIDATORS :=
# For example `make limits LIMITS="--tiers auto,optimized --limits descriptors"`.
LIMITS :=

# Stamps: when each step was last done.
MADE := $(VENV)/.made
TOOLS := $(VENV)/.tools
CLANG_TIDY := $(VENV)/.clang-tidy
DEPENDENCIES := $(VENV)/.dependencies
NATIVE := $(VENV)/.native

.PHONY: help venv demo test test-slow test-stencils test-words check check-slow format bench realworld docs examples abi spec spec-matrix fuzz fuzz-loops fuzz-csmith fuzz-validators schedules limits mutate asan tsan soak test-aarch64 clean distclean

help:
	@echo "make venv         the environment: dependencies and the C runtime, built in place"
	@echo "make demo         compile and run the example programs on real input"
	@echo "make test         all tests but the slow ones (conformance suite included where it is found)"
	@echo "make test-slow    the slow ones: long forms of tests that 'make test' has a short form of"
	@echo "make check        formatting, lint, types, C warnings, generated files, whether tests can be collected"
	@echo "make check-slow   C with all that clang's analyser has, which takes a minute more"
	@echo "make format       let ruff rewrite what 'make check' refuses"
	@echo "make bench        benchmarks beside wasmtime, V8, wasm2c and native code (BENCH=\"--quick compare\")"
	@echo "make realworld    programs of the registries, beside wasmtime (REALWORLD=\"sqlite php\")"
	@echo "make docs         the documentation, into build/docs"
	@echo "make examples     rebuild examples/*.wasm from their sources"
	@echo "make abi          regenerate the headers of runtime_c that are made from Python"
	@echo "make spec         conformance scripts, one configuration"
	@echo "make spec-matrix  conformance scripts at every opt level, memory policy, and through .cwasm"
	@echo "make shapes       time and memory of compiling against size, for each shape of module (hours)"
	@echo "make fuzz         mutated modules, accepted or refused as wasm-tools does (FUZZ_CASES=10000)"
	@echo "make fuzz-loops   random loops, run as wasmtime does, in all tiers and for four processors (LOOPS=\"--count 20000\")"
	@echo "make test-stencils  suites, hazards and random loops in native code from stencils; make test-words: in the interpreter"
	@echo "make fuzz-csmith  programs of csmith, and loops in C, compiled by clang at each level (CSMITH=\"--count 50\")"
	@echo "make fuzz-validators  mutated bodies: C takes what the Python walker takes (VALIDATORS=\"--count 5000000\")"
	@echo "make mutate       each check of addresses taken away: its test has to fail (MUTATE=\"interpreter --jobs 2\")"
	@echo "make schedules    two threads and finalizers on every method of every handle (SCHEDULES=10000 rounds)"
	@echo "make limits       descriptors, processes, memory, stack, disk ... run out at each point (LIMITS=\"--tiers auto --phases hot\")"
	@echo "make asan         tests of the boundary with the C runtime under AddressSanitizer"
	@echo "make tsan         tests of threads with the C runtime under ThreadSanitizer"
	@echo "make soak         100,000 runs of a small WASI program in 30 minutes: memory and descriptors stay flat (SOAK=\"--cycles 4000 --minutes 1\")"
	@echo "make test-aarch64 what is particular to AArch64, under qemu; ARGS='tests/api -k trap' for other tests"
	@echo "make clean        remove build outputs (distclean: the environment too)"

# Everything at once, on all processors.
AT_ONCE := $(MAKE) --no-print-directory --jobs=$(PROCESSORS) --keep-going --output-sync=target

venv:
	@$(AT_ONCE) $(NATIVE) $(DEPENDENCIES)

$(MADE): tools/find_python.sh
	python=$$(tools/find_python.sh) && "$$python" -m venv --without-pip $(VENV)
	@touch $@

# What is not imported is never compiled, and what is, once: also where the environment is against it.
$(TOOLS) $(CLANG_TIDY) $(DEPENDENCIES): export PYTHONDONTWRITEBYTECODE :=
INSTALL := install --quiet --disable-pip-version-check --no-compile

# What builds the C runtime. The rest is installed while that is built.
$(TOOLS): $(MADE) pyproject.toml
	$(PY) tools/bundled_pip.py $(INSTALL) --upgrade pip 'setuptools>=77' 'cffi>=1.17' 'llvmlite>=0.48'
	@touch $@

# What looks at C needs nothing else, and takes longest.
$(CLANG_TIDY): $(MADE) pyproject.toml
	$(PY) tools/bundled_pip.py $(INSTALL) --no-deps clang-tidy
	@touch $@

$(DEPENDENCIES): $(TOOLS) $(CLANG_TIDY)
	WASMJIT_RUNTIME_IS_BUILT=1 $(PY) -m pip $(INSTALL) --no-build-isolation --editable '.[test,lint,docs]'
	@touch $@

$(NATIVE): $(TOOLS) $(NATIVE_SOURCES)
	$(PY) runtime_c/build.py
	@touch $@

demo: venv
	$(PY) examples/demo.py

# Each process has caches of its own (tests/conftest.py), and takes over what is left of another's. Modules of ours and
# asserts that pytest rewrites are kept as bytecode, also where the environment is against it.
test test-slow spec spec-matrix: export PYTHONDONTWRITEBYTECODE :=

test: venv
	$(PYTEST) $(PARALLEL)

test-slow: venv
	$(PYTEST) $(PARALLEL) -m slow -o faulthandler_timeout=3600

# The compiler's warnings are errors where the runtime is built. The C files have a stamp each: one that has not changed is
# not looked at again.
check:
	@$(AT_ONCE) check-python check-tests check-generated check-c

check-slow:
	@$(AT_ONCE) check-c C_CHECKS=build/check-slow STATES=

.PHONY: check-python check-tests check-generated check-c
check-python: $(DEPENDENCIES)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# All tests can be collected. Their asserts are rewritten for that, once for all processes of `make test`.
check-tests: export PYTHONDONTWRITEBYTECODE :=
check-tests: $(NATIVE) $(DEPENDENCIES)
	@mkdir -p build
	@$(PYTEST) --collect-only -qq > build/collected.txt || { cat build/collected.txt; exit 1; }
	@echo "tests: collected"

check-generated: $(NATIVE) $(DEPENDENCIES)
	$(PY) tools/abi.py --check

check-c: $(C_CHECKED)
	@echo "C: no warnings"

# These have what is generated, the others need no more than the sources.
$(patsubst runtime_c/%.c,$(C_CHECKS)/%.checked,$(shell grep -l wj_stencils.h $(C_FILES))): | $(NATIVE)

$(C_CHECKED): $(C_CHECKS)/%.checked: runtime_c/%.c $(C_HEADERS) .clang-tidy Makefile $(CLANG_TIDY)
	@mkdir -p $(C_CHECKS)
	@$(VENV)/bin/clang-tidy --quiet --warnings-as-errors='*' $< -- $(C_FLAGS) $(PYTHON_HEADERS) \
		$(if $(STATES),-Xclang -analyzer-config -Xclang max-nodes=$(STATES))
	@touch $@

format: venv
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: venv
	$(PY) -m bench $(BENCH)

# Downloads some 170 MB into build/realworld at first use.
realworld: venv
	$(PY) -m tests.realworld $(REALWORLD)

# The variable silences an advertisement for another tool; warnings of mkdocs itself fail the build (strict).
docs: venv
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet

examples: venv
	$(PY) examples/rebuild.py

abi: venv
	$(PY) tools/abi.py

spec: venv
	$(PYTEST) $(PARALLEL) tests/spec

# What runs in code from stencils: the suites, random loops, all registers of all operations.
test-stencils: venv
	$(PYTEST) $(PARALLEL) tests/spec -k auto
	WASMJIT_TEST_TIER=auto $(PYTEST) $(PARALLEL) tests/hazards
	$(PYTEST) $(PARALLEL) -m "slow or not slow" tests/unit/test_stencils.py tests/unit/test_first_tier.py
	$(PY) -m tests.fuzz.loops --tiers stencils --count 1000

# The same in the interpreter, which is left where there can be no such code.
test-words: venv
	WASMJIT_STENCILS=0 $(PYTEST) $(PARALLEL) tests/spec -k auto
	WASMJIT_STENCILS=0 WASMJIT_TEST_TIER=auto $(PYTEST) $(PARALLEL) tests/hazards

spec-matrix: venv
	WASMJIT_SPEC=matrix $(PYTEST) $(PARALLEL) tests/spec

shapes: venv
	$(PY) -m tests.fuzz.run_shapes --output bench/results/shapes

fuzz: venv
	$(PY) -m tests.fuzz.run_mutations --count $(FUZZ_CASES)
	$(PY) -m tests.fuzz.signatures --count 1000
	$(PY) -m tests.fuzz.signatures --count 1000 --seed 2 --opt-level speed
	$(PY) -m tests.fuzz.differential --count 1000 --tiers speed,exact,artifact,auto,hot,stencils
	$(PY) -m tests.fuzz.address_forms

# Every row of tools/check_mutations.toml: half an hour (MUTATE="interpreter bulk-copy --jobs 2").
mutate: venv
	$(PY) tools/mutate_checks.py $(MUTATE)

fuzz-loops: venv
	$(PY) -m tests.fuzz.loops --tiers exact,baseline,auto,explicit,fuel,epoch,artifact,canonical,size,hot,shared,shared_exact --count 1000 $(LOOPS)
	$(PY) -m tests.fuzz.loops --cpu x86-64-v2,haswell,skylake-avx512,znver4 --count 5000 $(LOOPS)
	$(PY) -m tests.fuzz.loops --triple aarch64-unknown-linux-gnu --count 500

# For example `make fuzz-validators VALIDATORS="--count 5000000 --seed 3"`.
fuzz-validators: venv
	$(PY) -m tests.fuzz.validators --count 1000000 $(VALIDATORS)

# Programs need Debian's csmith and libcsmith-dev.
fuzz-csmith: venv
	$(PY) -m tests.fuzz.csmith --kernels --tiers speed,baseline,auto --count 400 $(CSMITH)
	$(PY) -m tests.fuzz.csmith --tiers speed,baseline,auto --count 100 $(CSMITH)
	$(PY) -m tests.fuzz.csmith --kernels --levels O2 --triple aarch64-unknown-linux-gnu --count 40

schedules: venv
	$(PY) -m tests.fuzz.schedules --rounds $(SCHEDULES)

limits: venv
	$(PY) -m tests.fuzz.limits $(LIMITS)

asan: venv
	$(PY) tools/asan.py
	$(PY) tools/asan.py -m tests.fuzz.signatures --count 1000
	$(PY) tools/asan.py -m tests.fuzz.schedules --rounds 300
	$(PY) tools/asan.py -m tests.fuzz.validators --count 100000

# Minutes. What is looked at is the C runtime, not the code that it runs.
tsan: venv
	$(PY) tools/tsan.py
	$(PY) tools/tsan.py -m tests.threads.growth --seconds 20

soak: venv
	$(PY) tools/soak.py $(SOAK)

# Needs apt-get and dpkg-deb; downloads some 200 MB into build/aarch64 at first use.
test-aarch64: venv
	$(PY) tools/aarch64.py $(ARGS)
	$(if $(ARGS),,WASMJIT_SPEC=matrix $(PY) tools/aarch64.py tests/spec -k "proposals-threads and (none-guard-prop or auto-guard-prop)")

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name $(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
	find wasmjit runtime_c -name '*.so' -delete -o -name '*.o' -delete
	rm -f $(NATIVE)

distclean: clean
	rm -rf $(VENV)
