"""Tests of oncelog.wire: against independent implementations, and against bytes that nobody should send."""
