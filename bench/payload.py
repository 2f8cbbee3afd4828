"""Records that look like records: JSON orders of exactly 1,000 bytes, or parts of them, drawn from a fixed seed.

Names, streets and articles repeat as they do in real data, ids, prices and tokens don't: lz4 leaves about half of
them in batches of 128 KB. Random bytes would not compress at all, repeated ones by a hundred.
"""

import json
import random
from pathlib import Path
from typing import Final

from bench.loads import RECORD_BYTES

_DIFFERENT: Final = 10_000
_FIRST = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Niklaus", "Radia", "Leslie", "Margaret")
_LAST = ("Lovelace", "Hopper", "Dijkstra", "Liskov", "Knuth", "Allen", "Wirth", "Perlman", "Lamport", "Hamilton")
_STREET = ("High Street", "Station Road", "Main Street", "Park Avenue", "Church Lane", "Mill Road", "Market Square")
_ARTICLE = ("keyboard", "monitor 27 inch", "desk lamp", "office chair", "notebook", "headphones", "usb cable 2 m")


def payloads_of(directory: Path, size: int) -> Path:
    """The file of payloads of that size, written once for a directory."""
    path = directory / f"payloads-{size}.txt"
    if not path.exists():
        _write(path, size)
    return path


def _write(path: Path, size: int) -> None:
    """One payload a line, as ProducerPerformance reads them; of smaller ones an order makes several."""
    chance = random.Random(20_240_601)
    orders = [_order(chance) for _ in range(_DIFFERENT)]
    parts = (order[at : at + size] for order in orders for at in range(0, len(order) - size + 1, size))
    path.write_text("".join(f"{part}\n" for part in parts), "ascii")


def _order(chance: random.Random) -> str:
    order = {
        "order_id": f"{chance.getrandbits(96):024x}",
        "created_at": f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T{chance.randint(0, 23):02}:00:00Z",
        "customer": {
            "id": chance.randrange(10**9),
            "name": f"{chance.choice(_FIRST)} {chance.choice(_LAST)}",
            "street": f"{chance.choice(_STREET)} {chance.randint(1, 200)}",
            "token": f"{chance.getrandbits(192):048x}",
        },
        "status": chance.choice(("NEW", "PAID", "SHIPPED")),
        "items": [_item(chance) for _ in range(7)],
        "note": "",
    }
    bare = json.dumps(order, separators=(",", ":"))
    order["note"] = f"{chance.getrandbits(2048):0512x}"[: RECORD_BYTES - len(bare)]
    line = json.dumps(order, separators=(",", ":"))
    assert len(line) == RECORD_BYTES, f"the orders leave no room for a note: {len(line)} bytes"
    return line


def _item(chance: random.Random) -> dict[str, object]:
    return {
        "sku": f"{chance.randrange(10**8):08}",
        "title": chance.choice(_ARTICLE),
        "quantity": chance.randint(1, 5),
        "price_cents": chance.randrange(100, 100_000),
    }
