"""The keeper's way to an archive: through the running node, or alone when none runs."""
