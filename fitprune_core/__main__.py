"""`python -m fitprune_core COMMAND`: the command line of `cli.main`."""

import sys

from fitprune_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
