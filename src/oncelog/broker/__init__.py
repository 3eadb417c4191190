"""Sockets in, requests out: the server, its connections, the engine and one file per Kafka API."""
