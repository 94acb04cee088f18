"""Drivers: they connect a pure session to real sources, models and clocks."""
