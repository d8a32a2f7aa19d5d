"""Runs tests as AArch64 code on another machine, under qemu's user emulation.

    python tools/aarch64.py [pytest arguments]
    python tools/aarch64.py -m tests.fuzz.signatures --count 100
    python tools/aarch64.py -c 'import platform; print(platform.machine())'

Everything is made in build/aarch64/ at first use; nothing is installed on the machine, and root is not needed. From
Debian's archive (apt-get with a configuration of its own) come qemu, and Python for arm64 with its libraries and
headers; from PyPI wheels, in the versions that this environment has. The C runtime is compiled by ziglang; it lies
beside the native one, under a name that says for which machine it is. `build/aarch64/python/bin/python` starts all
that: it is what tests see as `sys.executable`, so processes that they start are emulated too. The text format is parsed
by this machine's own wasm-tools, which emulated programs can start like any other program.

Emulation does not show what depends on the weak order of memory accesses or on stale instruction caches, and not speed.
QEMU_CPU in the environment says which processor is emulated: cortex-a53 has no LSE, so atomic instructions are loops.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import ModuleType

from wasmjit.wasm.text import find_wasm_tools

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build" / "aarch64"
SYSTEM = BUILT / "root"  # the arm64 system: qemu looks for absolute paths in there first
QEMU = BUILT / "qemu" / "usr" / "bin" / "qemu-aarch64"
PREFIX = BUILT / "python"  # laid out like a virtual environment
PYTHON = PREFIX / "bin" / "python"
SITE = PREFIX / "lib" / "python3.11" / "site-packages"
EXTENSION = Path("wasmjit") / "runtime" / "_native.cpython-311-aarch64-linux-gnu.so"

# Before qemu 8 a reservation of 4 GiB costs a record per page; bookworm has 7.2, and the last Python 3.11.
SOURCES = "".join(
    f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {suite} main\n"
    for suite in ("bookworm", "trixie")
)
QEMU_PACKAGE = "qemu-user"
DEBIAN_PACKAGES = {
    "bookworm": (
        "python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libpython3.11-dev libc6 libgcc-s1 libstdc++6 "
        "zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libncursesw6 libtinfo6 "
        "libreadline8 libcrypt1 libdb5.3"
    ).split(),
}
WHEELS = ("llvmlite", "cffi", "pytest", "numpy", "hypothesis", "wasmtime", "cloudpickle")
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")

# As distributions compile (-mbranch-protection=standard), so that emulation sees what it forbids: indirect branches to
# where no BTI instruction is; return addresses in frame records are signed. Not gcs, which no unwinding survives.
FLAGS = ["-Werror", "-mbranch-protection=bti+pac-ret"]
# What a linker driver would take from static libraries; zig's does not know "-z force-bti", without which the loader
# maps the extension unprotected.
STATIC_PARTS = """
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);
int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return __register_atfork(prepare, parent, child, (void *)0);
}
void clear_cache(char *start, char *end) __asm__("__clear_cache");
void clear_cache(char *start, char *end) /* for qemu, which sees what was written */
{
    (void)start;
    (void)end;
}
"""

# Without arguments: what is written by hand for AArch64, and code of every kind; a quarter of an hour or so.
TESTS = (
    "tests/unit/test_native_*.py",
    "tests/api/test_func.py",
    "tests/api/test_calls.py",
    "tests/api/test_tail_calls.py",
    "tests/api/test_v128.py",
    "tests/api/test_exceptions.py",
    "tests/api/test_objects.py",
    "tests/hazards/test_collector.py",
    "tests/unit/test_first_tier.py",
    "tests/unit/test_first_tier_vectors.py",
    "tests/api/test_interpreter.py",
    "tests/api/test_hot_loops.py",
    "tests/hazards/test_stencils.py",
    "tests/hazards/test_stencil_checks.py",
    "tests/hazards/test_vector_traps.py",
    "tests/hazards/test_litmus.py",
    "tests/unit/test_atomics.py",
    "tests/api/test_interrupt.py",
    "tests/api/test_threads.py",
    "tests/threads/test_*.py",
    "tests/spec",
)
# Of the conformance scripts the representative ones, unoptimised, and in code from stencils.
SPEC = "(none-guard- and not none-guard-artifact)"
FIRST_TIER = "(auto-guard- and not auto-guard-replaced)"
# What fails by the emulation, or takes too long in it. A -k of one's own takes the place of this.
LEFT_OUT = {
    "reservation_that_fails": "RLIMIT_AS is not applied to the emulated program",
    "huge_pages": "madvise is not passed on",
    "fault_outside_of_every_memory": "a fault at a non-canonical address is reported as one at 0",
    "stray_signals": "/proc/self/status shows the numbers that signals have outside",
    "our_signal_is_noticed or signal_that_is_in_use": "they are signals that it has not",
    "store and buffering": "a load (ldar) may come before a store (stlr) there, which no processor may do",
    "every_address_form or canary_sees": "what lies around a memory is not free to be mapped",
    "a_program_ends_with or a_child_that or a_child_uses": "they start Python, which takes longer than they wait",
    "leads_nowhere and optimized": "objdump is this machine's",
    "array_of_most_of_the_heap": "a word that is left on the stack there keeps the array longer, which may be",
    "million": "takes minutes",
    "100000000": "takes minutes",
}


def output(command: Sequence[str | Path], **settings: object) -> None:
    """Runs a command; shows what it printed, and raises SystemExit, only if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        sys.exit(f"failed: {' '.join(map(str, command))}")


def host_architecture() -> str:
    """Debian's name for this machine."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def download_system() -> None:
    """Unpacks qemu and the arm64 system. No package is installed: no script of a package runs."""
    apt = BUILT / "apt"
    for directory in ("lists/partial", "archives/partial", "parts", "debs"):
        (apt / directory).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(SOURCES)
    settings = {
        "APT::Architecture": host_architecture(),
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt,
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": apt / "parts",
    }
    options = [f"-o{name}={value}" for name, value in settings.items()]
    options += [f"-oAPT::Architectures::={name}" for name in {host_architecture(), "arm64"}]
    output(["apt-get", *options, "update"])
    wanted = [(f"{QEMU_PACKAGE}:{host_architecture()}/trixie", BUILT / "qemu")]
    for suite, names in DEBIAN_PACKAGES.items():
        wanted += [(f"{name}:arm64/{suite}", SYSTEM) for name in names]
    output(["apt-get", *options, "download", *(name for name, _ in wanted)], cwd=apt / "debs")
    for package in (apt / "debs").glob("*.deb"):
        into = BUILT / "qemu" if package.name.startswith(QEMU_PACKAGE + "_") else SYSTEM
        output(["dpkg-deb", "-x", package, into])
        package.unlink()
    for program in QEMU.parent.iterdir():
        if program != QEMU:
            program.unlink()  # 450 MB of other processors


def install_python() -> None:
    """Lays out the environment: the start script, wheels, wasm-tools."""
    PYTHON.parent.mkdir(parents=True, exist_ok=True)
    program = SYSTEM / "usr" / "bin" / "python3.11"
    PYTHON.write_text(f'#!/bin/sh\nexec "{QEMU}" -L "{SYSTEM}" -0 "$0" "{program}" "$@"\n')
    PYTHON.chmod(0o755)
    (PREFIX / "pyvenv.cfg").write_text(f"home = {program.parent}\ninclude-system-site-packages = false\n")
    tools = PYTHON.parent / "wasm-tools"
    tools.unlink(missing_ok=True)
    tools.symlink_to(find_wasm_tools())
    shutil.rmtree(SITE, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", SITE]
    pip += [f"--platform={name}" for name in PLATFORMS]
    pip += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    output([*pip, *(f"{name}=={metadata.version(name)}" for name in WHEELS)])


def build_script(root: Path) -> ModuleType:
    """runtime_c/build.py, which knows the sources."""
    spec = importlib.util.spec_from_file_location("runtime_c_build", root / "runtime_c" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_extension(root: Path = ROOT) -> None:
    """Cross-compiles the C runtime of this tree, or a copy of it, unless it is newer than every source."""
    runtime, built, extension = root / "runtime_c", root / "build" / "aarch64", root / EXTENSION
    sources = [Path(__file__), *(path for path in runtime.iterdir() if path.is_file())]
    script = build_script(root)
    vectors = script.make_code("aarch64")
    stencils = vectors.with_name("wj_stencils_aarch64.h")
    newest = max(path.stat().st_mtime for path in [*sources, vectors, stencils])
    if extension.exists() and extension.stat().st_mtime > newest:
        return
    (built / "objects").mkdir(parents=True, exist_ok=True)
    generated = built / "_native.c"
    script.make_ffibuilder(str(runtime), []).emit_c_code(str(generated))
    static_parts = built / "static_parts.c"
    if not static_parts.exists() or static_parts.read_text() != STATIC_PARTS:
        static_parts.write_text(STATIC_PARTS)
    sources = [generated, static_parts, *(runtime / name for name in script.SOURCES)]
    headers = SYSTEM / "usr" / "include"
    options = [*script.FLAGS, *FLAGS, "-DNDEBUG", "-fPIC", "-I", runtime, "-I", stencils.parent]
    options += ["-isystem", headers / "python3.11", "-isystem", headers]
    zig = [sys.executable, "-m", "ziglang"]
    objects = [built / "objects" / f"{source.stem}.o" for source in sources]
    compiler = [*zig, "cc", "-target", "aarch64-linux-gnu.2.36", *options]
    included = max(path.stat().st_mtime for path in [Path(__file__), stencils, *runtime.glob("*.h")])
    commands = [
        [*compiler, "-c", source, "-o", made]
        for source, made in zip(sources, objects, strict=True)
        if not made.exists() or made.stat().st_mtime <= max(included, source.stat().st_mtime)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(output, commands))
    linked = built / extension.name
    libraries = [SYSTEM / "lib" / "aarch64-linux-gnu" / name for name in ("libc.so.6", "libm.so.6")]
    lld = [*zig, "ld.lld", "-m", "aarch64linux", "-shared", "-z", "force-bti"]
    output([*lld, *objects, vectors, *libraries, "-o", linked])
    os.replace(linked, extension)


def set_up() -> None:
    """Makes what is missing in build/aarch64."""
    BUILT.mkdir(parents=True, exist_ok=True)
    made = BUILT / "made"
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        recipe = repr((SOURCES, QEMU_PACKAGE, DEBIAN_PACKAGES, [(name, metadata.version(name)) for name in WHEELS]))
        if not made.exists() or made.read_text() != recipe:
            download_system()
            install_python()
            made.write_text(recipe)
        build_extension()


def tests() -> list[str]:
    """The files that TESTS names."""
    return [str(path.relative_to(ROOT)) for pattern in TESTS for path in sorted(ROOT.glob(pattern))]


def main(arguments: list[str]) -> int:
    """Sets up, then runs pytest, a module or a program."""
    set_up()
    if arguments[:1] in (["-m"], ["-c"]):
        command = [PYTHON, *arguments]
    else:
        wanted = f"not ({' or '.join(f'({names})' for names in LEFT_OUT)})"
        if not arguments:
            wanted += f" and (not test_script or {SPEC} or {FIRST_TIER})"
        command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-k", wanted, *(arguments or tests())]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=settings, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
