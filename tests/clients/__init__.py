"""What real Kafka clients do with a broker: each scenario written once, run with every client."""
