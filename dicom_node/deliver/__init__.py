"""Associations out: results to their destinations, retried until accepted."""
