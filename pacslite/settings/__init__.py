"""What an operator can set: the schema, and how YAML, environment and command line become it."""
