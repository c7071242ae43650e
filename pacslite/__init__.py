"""A small, fast, durable DICOM archive and client."""

__version__ = "0.1.0"
