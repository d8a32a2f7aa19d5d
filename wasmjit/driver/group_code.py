"""The code of some functions of a module, in place of an artifact: what compilers make while the module runs."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from .. import abi
from ..processes import importing
from ..target import host_machine
from ..wasm.module import Module

if TYPE_CHECKING:
    from ..link import Unit


def register_entries(module: Module) -> list[int]:
    """The positions of functions that have a register entry whatever they run in (compile/tail_calls.py). All bodies
    have been validated."""
    first, machine = module.num_imported_functions, host_machine()
    return [
        function - first
        for function in sorted(module.tail_callers or ())
        if not abi.fits_in_registers(module.function_type(function), machine)
    ]


def table_words(
    module: Module, addresses: Mapping[int, int], entries: Mapping[int, int], having: AbstractSet[int]
) -> dict[int, int]:
    """What the function table gets, by word: of functions `addresses`, and `entries`, their register entries.

    Those at the positions `having` have to be among these: what jumps there would not be told of the code.
    """
    first, count = module.num_imported_functions, len(module.bodies)
    words = {function - first: address for function, address in addresses.items()}
    for position in having & words.keys():
        words[abi.function_word(abi.REGISTER_ENTRIES, count, position)] = entries[position + first]
    return words


def import_linker() -> None:
    """What the first `GroupCode` would wait for."""
    with importing():
        from .. import link  # noqa: F401


class GroupCode:
    """The code of some functions of a module, as `runtime.code.load` takes it."""

    def __init__(self, module: Module, unit: Unit, functions: Sequence[int]) -> None:
        """Raises CompileError if the unit's object is not what it should be."""
        with importing():
            from ..link import IMAGE_ALIGNMENT_BYTES, GroupImage  # not needed where compiled code is run

        image = GroupImage(unit, functions)
        self.module = module
        self.functions = functions
        self.made: Sequence[tuple[Sequence[int], float]] = [(functions, unit.seconds)]
        self.text = memoryview(image.text)
        self.rodata = memoryview(image.rodata)
        self.rodata_offset = image.rodata_offset
        self.image_alignment = IMAGE_ALIGNMENT_BYTES[image.machine]
        self.function_offsets: array[int] = image.function_offsets
        # As of an artifact: the code of functions that have a register entry is behind that.
        self.register_entries = {function: offset for function, offset, _ in image.register_entries}
        bodies = {function: (offset, size) for function, offset, size in image.register_entries}
        placed = zip(functions, image.function_offsets, image.function_sizes, strict=True)
        ranges = [bodies.get(function, (offset, size)) for function, offset, size in placed]
        self.code_offsets: Sequence[int] = [offset for offset, _ in ranges]
        self.code_sizes: Sequence[int] = [size for _, size in ranges]
        self._image = image
        self._address_map: tuple[Sequence[int], Sequence[int]] | None = None

    def check_compatible(self) -> None:
        """It was made here and now."""

    def take_file_mapping(self) -> None:
        """It is in no file."""

    def function_at(self, text_offset: int) -> int | None:
        """The index of the function whose code holds `text_offset`, None if there is none.

        None also where it goes on in other code: it is no activation of its own.
        """
        if self.wasm_offset_at(text_offset) == abi.HAND_OVER_OFFSET:
            return None
        for function, start, size in zip(self.functions, self.code_offsets, self.code_sizes, strict=True):
            if start <= text_offset < start + size:
                return function
        return None

    def address_map(self) -> tuple[Sequence[int], Sequence[int]]:
        """Code offsets, ascending, and the wasm module offset (0: unknown) that holds from each up to the next."""
        if self._address_map is None:
            self._address_map = self._image.address_map()
        return self._address_map

    def wasm_offset_at(self, text_offset: int) -> int | None:
        """The offset in the wasm module of the instruction that the code at `text_offset` belongs to, if known."""
        offsets, lines = self.address_map()
        i = bisect_right(offsets, text_offset) - 1
        return (lines[i] or None) if i >= 0 else None
