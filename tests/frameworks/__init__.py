"""Frameworks that people use with Kafka, run against `oncelog serve` by `make frameworks`."""
