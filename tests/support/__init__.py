"""What several test packages share: broker processes, raw connections, topics with names of their own."""
