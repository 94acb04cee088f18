"""Real-time speech emotion recognition."""

from realtime_ser.version import __version__

__all__ = ["__version__"]
