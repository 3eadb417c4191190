"""The demonstration: 336,776 flights through an exactly-once pipeline, while broker and workers are killed.

`make demo` runs it (demo.run). What is worth copying into a service of one's own is demo.worker; demo.loader
is a plain idempotent producer. Nothing here knows which Kafka broker it talks to.
"""
