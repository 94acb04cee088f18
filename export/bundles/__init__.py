"""Recipes and encoder folders become bundles, the folders that `realtime-ser` serves."""
