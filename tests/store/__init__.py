"""Tests of oncelog.store."""
