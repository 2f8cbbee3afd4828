"""`python -m kmirror` is `kmirror`."""

import sys

from kmirror.cli.app import main

sys.exit(main())
