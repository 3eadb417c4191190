"""Command-line tools that people use with Kafka, run against this broker."""
