"""Input that no honest client sends: single cases, mutated frames by the million, idle connections."""
