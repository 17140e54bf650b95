"""Received instances: Part 10 files on disk and their SQL index."""
