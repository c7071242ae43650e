"""Side-by-side comparison of pacslite with the DICOM receivers installed here; see docs/benchmarks.md."""
