"""The API: one resource a module."""
