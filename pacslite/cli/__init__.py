"""The command line: parses, calls, prints, exits."""

from pacslite.cli.app import main

__all__ = ["main"]
