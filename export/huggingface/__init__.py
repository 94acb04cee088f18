"""Hugging Face models of speech and text as modules that can be exported, and random ones."""
