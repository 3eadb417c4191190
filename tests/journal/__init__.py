"""Tests of oncelog.journal."""
