"""What can be wrong with an image file, one error class per meaning."""

from __future__ import annotations

from pathlib import Path


class UnreadableImage(Exception):
    """A file holds no image that can be decoded.

    ``path`` is the file; ``reason`` says in words what is wrong with it, and is fit for a study's outcome.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
