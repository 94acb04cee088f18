"""`python -m realtime_ser_client`."""

import sys

from realtime_ser_client.cli import main

sys.exit(main())
