"""Measurements against any Kafka broker, and what they are compared with; no part of the package."""
