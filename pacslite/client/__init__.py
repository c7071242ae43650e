"""What the node and its commands ask of other application entities."""
