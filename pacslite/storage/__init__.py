"""Durable files: segments made ahead of use, disk threads, one sync, the folder's lock."""
