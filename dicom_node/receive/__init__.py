"""Associations in: C-ECHO and C-STORE, who may connect, and when to refuse."""
