"""Models in operation: what is decided of them, what readers say of them, what they are given, and new versions."""
