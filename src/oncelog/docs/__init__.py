"""The documentation that is made from the code: tables of APIs, options and configs, formats, diagrams.

Each generator is a function without arguments that returns Markdown; `python -m oncelog.docs` writes what
they return into `docs/`. Generators read declarations only: they must not start, open or ask anything.
"""
