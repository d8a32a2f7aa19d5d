"""The contents of a file in memory. What was never written takes none, and growing copies nothing."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK_BYTES = 1 << 16


class SparseBytes:
    """Bytes in blocks, as many as were written; what is missing, and what lies behind a block's end, is zeros."""

    __slots__ = ("_blocks", "size_bytes")

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self.size_bytes = 0

    def read_into(self, target: memoryview, offset: int) -> int:
        """Fills `target` from `offset` on; how many bytes, fewer only at the end."""
        count = max(0, min(len(target), self.size_bytes - offset))
        done = 0
        while done < count:
            number, start = divmod(offset + done, BLOCK_BYTES)
            length = min(BLOCK_BYTES - start, count - done)
            with memoryview(self._blocks.get(number, b"")) as block:  # a slice of a bytearray would be a copy
                part = block[start : start + length]
                target[done : done + len(part)] = part
                if len(part) < length:
                    target[done + len(part) : done + length] = bytes(length - len(part))
                part.release()
            done += length
        return count

    def write(self, source: memoryview, offset: int) -> None:
        """Writes all of `source`, which ends inside of the size."""
        done = 0
        while done < len(source):
            number, start = divmod(offset + done, BLOCK_BYTES)
            length = min(BLOCK_BYTES - start, len(source) - done)
            block = self._blocks.get(number)
            if block is None:
                block = self._blocks[number] = bytearray()
            part = source[done : done + length]
            if start == len(block):
                block += part
            else:
                if start + length > len(block):
                    block.extend(bytes(start + length - len(block)))
                with memoryview(block) as view:  # a bytearray would make a copy first
                    view[start : start + length] = part
            done += length

    def set_size(self, size_bytes: int) -> None:
        """Cuts it, or appends zeros."""
        if size_bytes < self.size_bytes:
            number, rest = divmod(size_bytes, BLOCK_BYTES)
            first_gone = number + (rest > 0)
            if len(self._blocks) <= self.size_bytes // BLOCK_BYTES - first_gone:  # few blocks in many holes
                gone = [each for each in self._blocks if each >= first_gone]
            else:
                gone = [*range(first_gone, self.size_bytes // BLOCK_BYTES + 1)]
            for each in gone:
                self._blocks.pop(each, None)
            if rest and number in self._blocks:
                del self._blocks[number][rest:]
        self.size_bytes = size_bytes

    def to_bytes(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes | bytearray]:
        zeros = bytes(BLOCK_BYTES)
        for start in range(0, self.size_bytes, BLOCK_BYTES):
            length = min(BLOCK_BYTES, self.size_bytes - start)
            block = self._blocks.get(start // BLOCK_BYTES, b"")
            yield block
            yield zeros[: length - len(block)]
