"""The `oncelog` command."""
