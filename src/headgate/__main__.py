"""``python -m headgate``: the same as the command ``headgate``."""

import sys

from headgate.cli.main import main

sys.exit(main())
