"""The first start: a node without users gets an administrator, whose random password is told once."""

from __future__ import annotations

import os
from pathlib import Path

from dicom_node.access.users import FIRST_ADMINISTRATOR, Users
from dicom_node.database import Database


def first_administrator(database: Database, password_file: Path, *, on_screen: bool) -> str | None:
    """Make the first administrator where there is no user; returns what to tell whoever started the node.

    The password is told where a person sees it (``on_screen``). Where the output goes into a log, it is put into
    ``password_file`` instead, readable by the node's user only, and removed at the first login.
    """
    password = Users(database).add_first_administrator()
    if password is None:
        return None
    if on_screen:
        return f"log in as {FIRST_ADMINISTRATOR} with the password {password} (shown this once)"
    password_file.unlink(missing_ok=True)
    with os.fdopen(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{password}\n")
    return f"log in as {FIRST_ADMINISTRATOR}; the password is in {password_file} until then"
