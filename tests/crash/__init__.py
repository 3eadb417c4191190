"""Crash tests: acknowledged work survives, whenever the broker ends."""
