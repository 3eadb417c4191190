"""In the way of uvloop: with this directory in PYTHONPATH, brokers and tests run on asyncio's own loop."""

raise ImportError("uvloop is left out")
