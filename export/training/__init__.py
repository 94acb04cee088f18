"""What all training shares: corpora, splits, runs, metrics, reports."""
