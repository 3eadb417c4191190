"""Kafka's protocol as values and bytes: messages and their codecs, frames, record batches, error codes.

Does no I/O and knows nothing of oncelog's broker: others may build on it. See docs/wire.md.
"""
