"""The machine, searched: drawn commands against a reference model, and a small world walked to its end."""
