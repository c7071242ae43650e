"""The words of the domain: UIDs, AE titles, attributes, statuses and errors; no input or output."""
