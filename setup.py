"""Only what pyproject.toml cannot say: the C runtime is built by cffi from runtime_c/build.py."""

import os

from setuptools import setup

# The Makefile builds it in place itself, while the rest is installed.
IS_BUILT = os.environ.get("WASMJIT_RUNTIME_IS_BUILT") == "1"

setup(cffi_modules=[] if IS_BUILT else ["runtime_c/build.py:ffibuilder"])
