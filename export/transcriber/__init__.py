"""The small transcriber: its corpora, its training, its word errors."""
