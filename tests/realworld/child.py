"""Runs a program in a process of its own, through the Python API of wasmjit or of wasmtime.

    python child.py {wasmjit,wasmtime} MODULE --dir HOST --export NAME [--tier TIER --cache DIRECTORY] -- ARGUMENT...

Standard streams are inherited, and the exit code is the program's.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("api", choices=["wasmjit", "wasmtime"])
    parser.add_argument("module")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--export", required=True)
    parser.add_argument("--tier")
    parser.add_argument("--cache")
    parser.add_argument("--max-wasm-stack", type=int)
    ours, arguments = sys.argv[1:], []
    if "--" in ours:
        ours, arguments = ours[: ours.index("--")], ours[ours.index("--") + 1 :]
    options = parser.parse_args(ours)
    api = importlib.import_module(options.api)
    config = api.Config()
    if options.api == "wasmjit":
        config.tier = options.tier
        config.cache = options.cache
    elif options.cache:
        config.cache = options.cache
    if options.max_wasm_stack:
        config.max_wasm_stack = options.max_wasm_stack
    engine = api.Engine(config)
    module = api.Module.from_file(engine, options.module)
    wasi = api.WasiConfig()
    wasi.argv = [os.path.basename(options.module).removesuffix(".wasm"), *arguments]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    wasi.preopen_dir(options.dir, "/")
    store = api.Store(engine)
    store.set_wasi(wasi)
    linker = api.Linker(engine)
    linker.define_wasi()
    try:
        exports = linker.instantiate(store, module).exports(store)
        if options.export != "_start":  # a reactor
            exports["_initialize"](store)
        return int(exports[options.export](store) or 0)
    except api.ExitTrap as exit_trap:
        return int(exit_trap.code)


if __name__ == "__main__":
    sys.exit(main())
