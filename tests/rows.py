"""Tests of one row after the other: what takes a tenth of a millisecond is not worth five of a test by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")


def for_each(
    rows: Sequence[T], name: Callable[[T], object] = str
) -> Callable[[Callable[[T], object]], Callable[[], None]]:
    """A decorator that makes one test of a check: it looks at all rows, and names those that fail."""

    def decorate(check: Callable[[T], object]) -> Callable[[], None]:
        def test() -> None:
            failed: list[tuple[object, BaseException]] = []
            for row in rows:
                try:
                    check(row)
                except (Exception, pytest.fail.Exception) as error:
                    failed.append((name(row), error))
            assert rows
            if failed:
                said = "\n".join(f"{row}: {type(error).__name__}: {error}" for row, error in failed)
                raise AssertionError(f"{len(failed)} of {len(rows)}:\n{said}") from failed[0][1]

        test.__name__, test.__qualname__, test.__doc__ = check.__name__, check.__qualname__, check.__doc__
        test.__module__ = check.__module__
        return test

    return decorate
