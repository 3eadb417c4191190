"""kafka-python's own integration tests, fetched when asked for and run against a broker (run.py)."""
