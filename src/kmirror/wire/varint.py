"""Kafka's variable-length integers: unsigned for compact lengths, zigzag inside records."""


def encode_unsigned(value: int) -> bytes:
    if value <= 0x7F:
        return value.to_bytes()
    if value >> 14 and not value >> 21:  # three bytes, as most batches have: at once
        spread = value & 0x7F | (value & 0x3F80) << 1 | (value & 0x1FC000) << 2
        return (spread | 0x8080).to_bytes(3, "little")
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_unsigned(data: bytes | bytearray | memoryview, position: int) -> tuple[int, int]:
    """(value, position behind it); raises IndexError at the end of data, ValueError over 35 bits."""
    value = data[position]
    position += 1
    if value < 0x80:
        return value, position
    value &= 0x7F
    for shift in (7, 14, 21, 28):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a variable-length integer of more than five bytes")


def skip_tags(data: bytes | bytearray | memoryview, position: int) -> int:
    """The position behind a tagged-field section (KIP-482)."""
    if not data[position]:
        return position + 1
    count, position = read_unsigned(data, position)
    for _ in range(count):
        _, position = read_unsigned(data, position)
        size, position = read_unsigned(data, position)
        position += size
    return position


def encode_signed(value: int) -> bytes:
    """Zigzag, as inside records: small numbers of either sign are short."""
    return encode_unsigned((value << 1) ^ (value >> 63))


def read_signed(data: bytes | bytearray | memoryview, position: int) -> tuple[int, int]:
    """(value, position behind it) of up to 64 bits; raises IndexError at the end of data, ValueError over ten bytes."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > 63:
            raise ValueError("a variable-length integer of more than ten bytes")
