"""One file per Kafka API: its declaration and its handler. The registry finds them by walking this folder."""
