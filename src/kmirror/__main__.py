"""The start of `kmirror` and `python -m kmirror`: Ctrl-C is answered from the first moment on."""

import sys


def main() -> int:
    try:
        from kmirror.cli.app import main as run  # noqa: PLC0415  # the imports take a moment themselves

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
