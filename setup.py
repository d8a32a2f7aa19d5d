"""Only what pyproject.toml cannot say: the C runtime is built by cffi from runtime_c/build.py."""

from setuptools import setup

setup(cffi_modules=["runtime_c/build.py:ffibuilder"])
