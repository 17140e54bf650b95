"""The OHIF viewer as a radiologist has it: the built app, an Orthanc behind it, and a headless browser."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from dicom_node.demo.processes import free_port

PROXIED = ("/dicom-web", "/wado")
NOT_FORWARDED = {"host", "connection", "accept-encoding", "transfer-encoding", "content-length"}
BROWSER_OPTIONS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
NO_INTRODUCTION = "localStorage.setItem('shownTours', '[\"basicViewerTour\"]')"
DATA_SOURCE = {
    "friendlyName": "Orthanc",
    "name": "orthanc",
    "qidoRoot": "/dicom-web",
    "wadoRoot": "/dicom-web",
    "wadoUriRoot": "/wado",
    "qidoSupportsIncludeField": False,
    "imageRendering": "wadors",
    "thumbnailRendering": "wadors",
    "enableStudyLazyLoad": True,
    "supportsFuzzyMatching": False,
    "supportsWildcard": True,
    "singlepart": "video,pdf",
    "bulkDataURI": {"enabled": True},
    "omitQuotationForMultipartRequest": True,
}
APP_CONFIG = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "maxNumberOfWebWorkers": 2,
    "showLoadingIndicator": True,
    "defaultDataSourceName": "dicomweb",
    "investigationalUseDialog": {"option": "never"},
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": DATA_SOURCE,
        }
    ],
}


def missing() -> str:
    """What this machine lacks to open OHIF, empty where it has everything."""
    if not ohif_dist().joinpath("index.html").is_file():
        return "OHIF's built app is missing: set OHIF_DIST to package/dist of the npm package @ohif/app"
    return "" if shutil.which("chromium") else "chromium is not installed"


def ohif_dist() -> Path:
    """The folder of OHIF's built app."""
    return Path(os.environ.get("OHIF_DIST", "/nonexistent"))


@contextmanager
def serve_ohif(dist: Path, orthanc_url: str) -> Iterator[str]:
    """Serve the app with Orthanc's DICOMweb under the same origin; gives the address."""
    orthanc = orthanc_url.removeprefix("http://")

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(dist))

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(PROXIED):
                self._forward()
            elif path == "/app-config.js":
                self._answer(
                    200, [("Content-Type", "text/javascript")], f"window.config={json.dumps(APP_CONFIG)};".encode()
                )
            else:
                if not (dist / path.lstrip("/")).is_file():
                    self.path = "/index.html"  # the app's own routes
                super().do_GET()

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

        def _forward(self) -> None:
            connection = http.client.HTTPConnection(orthanc, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in NOT_FORWARDED]
            self._answer(answer.status, kept, answer.read())
            connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a headless Chromium, the size of a reading monitor."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER_OPTIONS)
        try:
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.add_init_script(NO_INTRODUCTION)
            yield page
        finally:
            browser.close()
