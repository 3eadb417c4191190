"""The documentation: what is made from the code is fresh, and what is written by hand is true."""
