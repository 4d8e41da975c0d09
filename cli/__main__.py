"""``python -m slfac.cli``: the command ``slfac`` without its script."""

import sys

from slfac.cli.main import main

sys.exit(main())
