"""Commands: intentions as plain values, and the replies that decide gives to them.

A command carries all that its decision needs, what its sender expects of the state included, and only
hashable values: no buffer, no connection, no future. Must not know sockets, the journal or the clock.
"""

from __future__ import annotations

# --- producers and transactions ---

# --- topics, configs, features ---

# --- groups and committed offsets ---
