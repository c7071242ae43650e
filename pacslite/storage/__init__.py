"""Durable files: segments, Part 10 heads, disk threads, recovery."""
