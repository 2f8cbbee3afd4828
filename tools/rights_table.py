"""The table of least rights in docs/security.md, from the one in the program."""

from kmirror.model.rights import RIGHTS, Right

BEGIN = "<!-- Made by `make docs` from src/kmirror/model/rights.py. -->\n"
END = "<!-- End of what is made. -->\n"
HEAD = """\
| side | on | right | needed | without it |
| --- | --- | --- | --- | --- |
"""


def in_page(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + HEAD + "".join(map(_row, RIGHTS)) + END + rest.partition(END)[2]


def _row(right: Right) -> str:
    when = f" (`{right.when}`)" if right.when else ""
    return f"| {right.side} | {right.resource} | {right.operation} | {right.needed_for}{when} | {right.without} |\n"
