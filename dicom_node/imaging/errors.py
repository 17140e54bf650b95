"""What can be wrong with an image file, one error class per meaning."""

from __future__ import annotations

from pathlib import Path


class UnreadableImage(Exception):
    """A file holds no image that can be decoded.

    ``path`` is the file; ``reason`` says in words what is wrong with it; ``sop_instance_uid`` is empty where the
    file is so broken, or so plain, that it has none.
    """

    def __init__(self, path: Path, reason: str, sop_instance_uid: str = "") -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.sop_instance_uid = sop_instance_uid

    @property
    def sentence(self) -> str:
        """What happened, for a study's outcome: names the SOP Instance UID, or the file where there is none."""
        subject = f"Image {self.sop_instance_uid}" if self.sop_instance_uid else f"File {self.path.name}"
        return f"{subject} was left out: {self.reason}."
