"""docs/wire.md: its program runs, and what it says of the package is so."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.blocks import ROOT, blocks


def test_the_blocks_are_one_program_that_runs() -> None:
    program = "\n".join(blocks("docs/wire.md", "python"))
    assert program.count("assert") > 10
    exec(compile(program, "docs/wire.md", "exec"), {"__name__": "wire_document"})


def test_the_package_needs_nothing_else_of_oncelog_and_does_no_io() -> None:
    """Imported alone, with every module in it."""
    program = """
import importlib, pkgutil, sys
import oncelog.wire
for found in pkgutil.walk_packages(oncelog.wire.__path__, "oncelog.wire."):
    importlib.import_module(found.name)
others = [name for name in sys.modules if name.startswith("oncelog.") and not name.startswith("oncelog.wire")]
print(others, [name for name in ("asyncio", "socket", "logging") if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert result.stdout.strip() == "[] []"
