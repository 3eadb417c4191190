"""The tests of oncelog."""
