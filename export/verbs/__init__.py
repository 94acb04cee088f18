"""The verbs of `realtime-ser-export`, one module for each group of them; see `cli`."""
