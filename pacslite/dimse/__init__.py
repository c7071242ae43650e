"""DIMSE (PS3.7): command sets, message assembly, sessions and the dispatch to service classes."""
