"""Entry point of `python -m realtime_ser_export`."""

import sys

from .cli import main

sys.exit(main())
