"""The version of this package: part of every artifact and of every cache key."""

from __future__ import annotations

VERSION = "0.1.0"
