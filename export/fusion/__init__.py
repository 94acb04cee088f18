"""Heads that join a speech encoder and a text encoder, trained on what the served graphs answer."""
