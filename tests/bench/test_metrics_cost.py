"""The figures of `python -m bench.metrics_cost` can be had; how large they are is not judged."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.docs.blocks import ROOT


def test_it_tells_its_three_figures() -> None:
    command = (sys.executable, "-m", "bench.metrics_cost", "--requests", "20", "--turns", "2")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    cost, share, scrape = done.stdout.splitlines()
    assert re.match(r"a Produce of 1 record\(s\) without counting: [\d.]+ us", cost)
    assert re.match(r"counting adds [+-][\d.]+%", share)
    assert re.match(r"a scrape with \d+ topics: [\d.]+ ms", scrape)
