"""Tests of what oncelog brings for testing other services."""
