"""Files that others wrote: found, and recognised without decoding them (PS3.10)."""
