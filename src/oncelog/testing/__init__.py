"""What a test of a Kafka application needs: a broker, a topic of its own, and faults.

`plugin` is found by pytest; `factories` makes fixtures of other names and settings; `faults` works without
pytest on any `oncelog.Broker`. Importing it is cheap: the broker is loaded when a fixture starts one.
"""
