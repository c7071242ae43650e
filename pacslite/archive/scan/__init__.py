"""What an arriving data set is: its header read in one bounded walk, and checked."""

from pacslite.archive.scan.limits import ScanLimits
from pacslite.archive.scan.scanner import scan_head, scan_header
from pacslite.archive.scan.sources import ByteSource, Reader, file_reader
from pacslite.archive.scan.validation import validate

__all__ = ["ByteSource", "Reader", "ScanLimits", "file_reader", "scan_head", "scan_header", "validate"]
