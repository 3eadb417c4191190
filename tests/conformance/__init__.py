"""docs/conformance.md: that its tests exist, and what stock clients make of the differences."""
