"""Synthetic patients, and the demonstration that sends them through a node."""
