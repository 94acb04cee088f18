"""The audio encoder that is trained from scratch."""
