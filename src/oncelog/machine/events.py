"""Events: facts as they are journaled, each with everything spelled out.

Declared in the definition form of `oncelog.wire`, so that their codecs are made from the declarations.
A changed event is a new version of its kind; a retired kind number is never used again.
Must not know where an entry lies or how it becomes durable.
"""

from __future__ import annotations

# --- topics, configs, features: kinds 1 to 9 ---

# --- producers and transactions: kinds 10 to 29 ---

# --- groups and committed offsets: kinds 30 to 49 ---
