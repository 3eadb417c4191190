"""Kafka's messages, one module per API: names, types and versions of their fields, in our own form."""
