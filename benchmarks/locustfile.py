"""Users who send one image after another to ``POST /api/predict``, as ``benchmarks.http`` starts them.

By hand: ``PREDICT_KEY=… locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080``; without ``PREDICT_IMAGE`` a
grey square of 224 pixels is sent, without ``PREDICT_MODEL`` the chest radiograph model reads it.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from locust import FastHttpUser, task
from PIL import Image

KEY, MODEL, IMAGE = (os.environ.get(f"PREDICT_{name}", "") for name in ("KEY", "MODEL", "IMAGE"))
PATH = os.environ.get("PREDICT_PATH", "/api/predict")
BOUNDARY = "locust"


def _image() -> bytes:
    if IMAGE:
        return Path(IMAGE).read_bytes()
    buffer = BytesIO()
    Image.new("L", (224, 224), 128).save(buffer, "PNG")
    return buffer.getvalue()


def _form(image: bytes, model: str) -> bytes:
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    head = f'{part}"model"\r\n\r\n{model}\r\n{part}"image"; filename="image"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


BODY = _form(_image(), MODEL or "chest_xray")
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} | (
    {"Authorization": f"Bearer {KEY}"} if KEY else {}
)


class Reader(FastHttpUser):
    """Sends the next image when the last one is answered."""

    @task
    def predict(self) -> None:
        """One image."""
        self.client.post(PATH, name="predict", data=BODY, headers=HEADERS)  # type: ignore[arg-type]  # takes bytes too
