"""oncelog: an exactly-once event log that speaks the Kafka protocol.

This module names the version and nothing else; importing it must stay cheap and free of side effects.
"""

__version__ = "0.1.0"
