"""CRC-32C of a batch whose first bytes change: what follows them need not be read again.

A CRC is linear: where two messages differ only before their last n bytes, their CRCs differ by what n zero bytes make
of the difference so far. So the source's checksum is carried over to the batch that is sent, and a byte that is damaged
in between, in our memory too, is refused by the destination's broker.
"""

from typing import Final

from crc32c import crc32c

_ONES: Final = 0xFFFFFFFF
_PAGE_BITS: Final = 12
_PAGE: Final = 1 << _PAGE_BITS
_MOST_PAGES: Final = 256  # a batch of more than 1 MB is seldom, and a table for each size is not worth its memory
_ZEROS: Final = memoryview(bytes(_PAGE))

_Table = tuple[tuple[int, ...], ...]
_tables: dict[int, _Table] = {}


def crc_after(crc: int, before: bytes | bytearray | memoryview, after: bytes | memoryview, rest_bytes: int) -> int:
    """The CRC of `after` and so many bytes more, where `crc` is that of `before` and the same bytes.

    Both beginnings are of one length.
    """
    pages, bytes_left = rest_bytes >> _PAGE_BITS, rest_bytes & (_PAGE - 1)
    difference = crc32c(before) ^ crc32c(after)
    if pages > _MOST_PAGES:
        for _ in range(pages):
            difference = _behind_zeros(difference, _PAGE)
    elif pages:
        a, b, c, d = _tables.get(pages) or _make_table(pages)
        difference = a[difference & 255] ^ b[difference >> 8 & 255] ^ c[difference >> 16 & 255] ^ d[difference >> 24]
    return crc ^ _behind_zeros(difference, bytes_left)


def _behind_zeros(difference: int, count: int) -> int:
    """What `count` zero bytes, one page at most, make of a difference between two CRCs."""
    return int(crc32c(_ZEROS[:count], difference ^ _ONES) ^ _ONES)


def _make_table(pages: int) -> _Table:
    """What `pages` pages of zeros make of each byte of a difference."""

    def shifted(difference: int) -> int:
        for _ in range(pages):
            difference = _behind_zeros(difference, _PAGE)
        return difference

    bits = [shifted(1 << bit) for bit in range(32)]
    table = []
    for first in range(0, 32, 8):
        row = [0]
        for bit in bits[first : first + 8]:
            row += [value ^ bit for value in row]
        table.append(tuple(row))
    _tables[pages] = tuple(table)
    return _tables[pages]
