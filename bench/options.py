"""What several of the benchmark's command lines need."""

import argparse
from collections.abc import Callable


def some(names: list[str]) -> Callable[[str], list[str]]:
    """Some of these names, with commas between them."""

    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        for name in wanted:
            if name not in names:
                raise argparse.ArgumentTypeError(f'there is no "{name}"; there are {", ".join(names)}')
        return [name for name in names if name in wanted]

    return parse
