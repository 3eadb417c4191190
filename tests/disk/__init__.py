"""Tests of oncelog.disk."""
