"""The store turns locations into bytes: level 0 is the journal's payload as it was written."""
