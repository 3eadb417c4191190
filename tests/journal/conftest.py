"""ONCELOG_TEST_SYSTEM=windows (or macos) has that system's disk code run by the journal's tests too."""

from __future__ import annotations

import os

if system := os.environ.get("ONCELOG_TEST_SYSTEM"):
    # Before any test module asks for the disk.
    from tests.journal.mirrored import mirror_on

    mirror_on(system)
