"""The archive's use cases: receiving, keeping, comparing and recovering instances."""
