"""STOW-RS (PS3.18 10.5): result files to a DICOMweb server, each proven by QIDO-RS (10.6) to have arrived."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.config import ConfigurationError, Peer, PeerDicomweb
from dicom_node.deliver.outcome import judge
from dicom_node.deliver.sender import UnreadableFile
from dicom_node.domain import DeliveryAttempt, DeliveryState
from dicom_node.tls import caller_context

_FAILED, _STORED = "00081198", "00081199"  # Failed SOP Sequence, Referenced SOP Sequence (PS3.18 I.2)
_FAILURE_REASON, _WARNING_REASON, _INSTANCE = "00081197", "00081196", "00081155"
_ADVICE = {
    401: "check the token or password in the files that the peer's dicomweb section names",
    403: "the server does not let this user store",
    404: "check the peer's dicomweb.url",
}


class StowSender:
    """Stores files at a DICOMweb server; the counterpart of ``Sender`` with the same outcomes."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

    def check(self, peer: Peer) -> str | None:
        """Ask for one study; None when the server answers, else what went wrong and what to check."""
        try:
            with self._client(peer) as client:
                answer = client.get("studies", params={"limit": "1"})
        except (httpx.HTTPError, ConfigurationError, OSError) as error:
            return _unreachable(peer, error)
        return None if answer.is_success else _refused(answer)

    def send(self, peer: Peer, paths: Sequence[Path]) -> Iterator[tuple[Path, DeliveryAttempt]]:
        """Store Part 10 files, one a request; yields each file's outcome as it is known.

        A server that cannot be reached is asked once, and not for every file.

        Raises:
            UnreadableFile: a file is not DICOM, or not there.
        """
        fault: DeliveryAttempt | None = None
        try:
            with self._client(peer) as client:
                for path in paths:
                    if fault is not None:
                        yield path, fault
                        continue
                    try:
                        yield path, _store(client, path)
                    except (httpx.HTTPError, OSError) as error:
                        fault = DeliveryAttempt(DeliveryState.RETRYING, _unreachable(peer, error))
                        yield path, fault
        except (ConfigurationError, OSError) as error:  # a certificate, token or password that cannot be read
            for path in paths:
                yield path, DeliveryAttempt(DeliveryState.RETRYING, _unreachable(peer, error))

    def _client(self, peer: Peer) -> httpx.Client:
        web = peer.dicomweb
        if web is None:
            raise ConfigurationError(f"{peer.name} has no dicomweb section")
        verify: ssl.SSLContext | bool = caller_context(peer.tls) if peer.tls is not None else True
        return httpx.Client(
            base_url=f"{web.url.rstrip('/')}/", timeout=self._timeout_seconds, verify=verify, **_credentials(web)
        )


def _credentials(web: PeerDicomweb) -> dict[str, Any]:
    """Read anew for each delivery, since tokens are exchanged while the node runs."""
    if web.token_file is not None:
        return {"headers": {"Authorization": f"Bearer {web.token_file.read_text(encoding='utf-8').strip()}"}}
    if web.user is not None and web.password_file is not None:
        return {"auth": (web.user, web.password_file.read_text(encoding="utf-8").strip())}
    return {}


def _store(client: httpx.Client, path: Path) -> DeliveryAttempt:
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
    except (InvalidDicomError, OSError) as error:
        raise UnreadableFile(f"{path}: not a DICOM file ({error})") from error
    instance = str(header.file_meta.MediaStorageSOPInstanceUID)
    boundary = uuid.uuid4().hex
    answer = client.post(
        f"studies/{header.StudyInstanceUID}",
        content=_multipart(path, boundary),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
    )
    outcome = _outcome(answer, instance)
    if outcome.state is not DeliveryState.DELIVERED:
        return outcome
    series = f"studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
    found = client.get(
        f"{series}/instances", params={"SOPInstanceUID": instance}, headers={"Accept": "application/dicom+json"}
    )
    if found.status_code == httpx.codes.OK and instance in found.text:
        return DeliveryAttempt(DeliveryState.DELIVERED, f"{outcome.message}, and found by QIDO-RS", outcome.status)
    words = "stored, it was told, but QIDO-RS does not find it"
    return DeliveryAttempt(DeliveryState.RETRYING, f"{words} (HTTP {found.status_code}): sent again", outcome.status)


def _multipart(path: Path, boundary: str) -> Iterator[bytes]:
    """One part with the file as it lies there (PS3.18 8.6.1.2), a piece at a time."""
    yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
    yield f"\r\n--{boundary}--\r\n".encode()


def _outcome(answer: httpx.Response, instance: str) -> DeliveryAttempt:
    """What the server says of the instance: its reasons are those of C-STORE (PS3.18 I.2.2)."""
    try:
        response = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        response = {}
    if isinstance(response, list):  # some servers wrap it
        response = response[0] if response else {}
    if (failed := _item(response, _FAILED, instance)) is not None:
        return judge(_number(failed, _FAILURE_REASON) or 0x0110)
    if (stored := _item(response, _STORED, instance)) is not None:
        return judge(_number(stored, _WARNING_REASON) or 0x0000)
    if answer.is_success:
        return DeliveryAttempt(DeliveryState.DELIVERED, "accepted")
    return DeliveryAttempt(DeliveryState.RETRYING, _refused(answer))


def _item(response: Any, sequence: str, instance: str) -> dict[str, Any] | None:
    items = response.get(sequence, {}).get("Value", []) if isinstance(response, dict) else []
    return next((item for item in items if instance in item.get(_INSTANCE, {}).get("Value", [])), None)


def _number(item: dict[str, Any], tag: str) -> int | None:
    values = item.get(tag, {}).get("Value") or [None]
    return int(values[0]) if values[0] is not None else None


def _refused(answer: httpx.Response) -> str:
    words = f"the DICOMweb server answered HTTP {answer.status_code} ({answer.reason_phrase})"
    advice = _ADVICE.get(answer.status_code)
    return f"{words}: {advice}" if advice else words


def _unreachable(peer: Peer, error: Exception) -> str:
    url = peer.dicomweb.url if peer.dicomweb is not None else peer.name
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, httpx.TimeoutException):
        return f"{url} did not answer in time"
    if isinstance(error, httpx.HTTPError):
        return f"{url} cannot be reached ({type(error).__name__}): check address, firewall and certificates"
    return f"{url}: a file of its settings cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
