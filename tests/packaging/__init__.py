"""What is built and installed: outside of the checkout, in environments that hold nothing else."""
