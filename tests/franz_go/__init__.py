"""franz-go, a client of second-generation transactions (KIP-890): a program that uses it, and its tests."""
