"""Runs the pip that comes with this Python, which needs not be installed for that.

    python tools/bundled_pip.py install ...

`venv` would have `ensurepip` install it, to be replaced by a newer one at once: half of the time until there is an
environment, in which nothing else can be done.
"""

from __future__ import annotations

import ensurepip
import importlib
import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path


def wheels() -> list[Path]:
    """Those of pip. Debian has them elsewhere, in a package that ensurepip needs, too."""
    bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
    directories = [sysconfig.get_config_var("WHEEL_PKG_DIR"), bundled, "/usr/share/python-wheels"]
    return [wheel for directory in directories if directory for wheel in sorted(Path(directory).glob("pip-*.whl"))]


if __name__ == "__main__":
    found = wheels()
    if found:
        sys.path.insert(0, str(found[0]))
    else:
        subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade"], check=True, stdout=subprocess.DEVNULL)
        importlib.invalidate_caches()
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
