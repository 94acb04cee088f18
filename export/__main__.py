"""Entry point of `python -m realtime_ser_export`."""

from .cli import main

main()
