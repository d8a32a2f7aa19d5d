"""What a further thread of a program runs in: a Store, an instance of the module, and what WASI has for it.

All but the end of it can be made before there is a thread to run it: nothing of that is seen outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import native
from .thread_descriptors import context_of_thread

if TYPE_CHECKING:
    from ..runtime.linker import Blueprint
    from ..runtime.store_settings import StoreSettings
    from .context import WasiContext

ENTRY = "wasi_thread_start"


class ThreadInstance:
    """What one thread runs in."""

    __slots__ = ("_blueprint", "_context", "_entry", "_is_set", "_limits", "_prepared", "record", "store")

    def __init__(
        self, settings: StoreSettings, context: WasiContext, blueprint: Blueprint, *, in_advance: bool = False
    ) -> None:
        """`context` is that of any other thread. Raises what instantiating the module raises."""
        self._blueprint = blueprint
        self._limits = settings.limits
        self.store = settings.make_store()
        self._is_set = not in_advance
        if self._is_set:
            settings.apply(self.store)
        record = self.record = self.store._record
        self._context = context_of_thread(context)
        if native.enabled:
            self._context.known_to_c = native.HostTable(self._context)
        record.set_wasi(self._context, self._context.known_to_c)
        self._prepared = blueprint.prepare(record)
        self._entry: Any = self._prepared.instance.export(record, ENTRY)

    @staticmethod
    def can_be_made_in_advance(settings: StoreSettings, blueprint: Blueprint) -> bool:
        """Whether neither code of the module nor the user's is asked."""
        return settings.limiter is None and blueprint.runs_no_code

    def fits(self, settings: StoreSettings, context: WasiContext, blueprint: Blueprint) -> bool:
        """Whether it is as one that were made of these."""
        same_program = context.threads is not None and self._context.threads.has_table_of(context.threads)
        return (
            same_program
            and self._blueprint is blueprint
            and self._limits == settings.limits
            and self.can_be_made_in_advance(settings, blueprint)
        )

    def finish(self, settings: StoreSettings) -> None:
        """Ends the instantiation, by the thread that runs it."""
        if not self._is_set:
            settings.apply(self.store)
        self._blueprint.finish(self.record, self._prepared)

    def run(self, number: int, argument: int) -> None:
        """Calls the thread's function. Raises what it raises."""
        self._entry(self.store, number, argument)
