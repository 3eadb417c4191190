"""The deterministic core: commands, events, decide, evolve, and the state that they act on.

Knows `oncelog.wire` only: no clock, no randomness, no files, no sockets, no logging.
"""
