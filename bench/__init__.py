"""Benchmarks: `python -m bench` runs them all, `python -m bench.compile` one."""

import os

# What is measured is optimised code, where a benchmark names no other tier; processes that it starts get this, too.
os.environ["WASMJIT_TIER"] = "optimized"
