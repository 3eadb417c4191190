"""The only door to files: everything that touches the data directory goes through a `Disk`."""
