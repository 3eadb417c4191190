"""One adapter per Kafka client library, all with the same few verbs (adapters/base.py)."""
