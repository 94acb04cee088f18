"""The text encoder of the default bundle, trained from scratch on labelled sentences alone."""
