"""What goes wrong when models are trained or exported and the user can do something about it."""

from __future__ import annotations


class ExportError(ValueError):
    """A model, recipe or folder cannot be used; the message names it and says what to do next."""
