"""Making an archive's index anew from its files.

`run.reindex` does it. Nothing is imported here, so that processes which only read files start soon.
"""
