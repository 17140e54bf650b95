"""The web process with a certificate of its own, as a program."""

from __future__ import annotations

import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import yaml

from dicom_node.certificates import make_certificates
from dicom_node.demo.processes import Process, free_port, listens


def test_first_administrator_logs_in_over_https(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", ["node"], ["localhost", "127.0.0.1"], 1, datetime.now(UTC))
    port, data = free_port(), tmp_path / "data"
    tls = {"certificate": str(tmp_path / "tls" / "node.pem"), "key": str(tmp_path / "tls" / "node.key")}
    settings = {"node": {"data_folder": str(data)}, "web": {"port": port, "tls": tls}}
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "dicom_node", "web", "--config", str(tmp_path / "node.yaml")]
    with Process("dicom-node web", command, tmp_path / "web.log") as process:
        process.wait_until(lambda: listens(port), 120.0)
        trust = ssl.create_default_context(cafile=str(tmp_path / "tls" / "ca.pem"))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, timeout=30.0) as browser:
            password = (data / "first-password").read_text().strip()
            answer = browser.post("/login", data={"name": "admin", "password": password})

            assert answer.status_code == 303
            assert answer.headers["set-cookie"].startswith("__Host-")
            assert "; Secure" in answer.headers["set-cookie"]
            assert "uvicorn" not in answer.headers.get("server", "")
            assert browser.get("/").status_code == 200
    said = (tmp_path / "web.log").read_text()
    assert password not in said
    assert str(data / "first-password") in said
    assert not (data / "first-password").exists()
