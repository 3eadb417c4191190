"""What no client library does: raw frames, resent sequences, stale epochs, transactions by hand.

Each test holds for Apache Kafka too (see tests/support/fixtures.py on how to ask it), save those that are
marked `deliberate_difference` with the reason.
"""
