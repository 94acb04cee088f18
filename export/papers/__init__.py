"""Every system of five papers on emotion from speech and text; README.md maps sections to files."""
