"""The node's HTTP API, as far as a router needs it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0


class NodeUnreachable(Exception):
    """The node did not answer, or not as a node does; the text says what happened."""


class UnknownToNode(Exception):
    """The node holds no such study."""


@dataclass(frozen=True, slots=True)
class StudyOnNode:
    """What the node says of a study."""

    state: str
    reason: str


class Node:
    """Speaks HTTP by Python's own means, which let other threads run while they wait.

    ``orthanc.HttpPost`` would hold Python's global lock, and with it every callback, until the node answers.
    """

    def __init__(self, url: str, api_key: str = "") -> None:
        parts = urlsplit(url)
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._url, self._path, self._port = url, parts.path, parts.port
        self._host = parts.hostname or ""
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def complete(self, study_instance_uid: str) -> str:
        """Say that the study is complete; returns what the node answered, in a sentence.

        Raises:
            UnknownToNode: the node holds no such study.
            NodeUnreachable: it gave no such answer.
        """
        status, body = self._ask("POST", f"/api/studies/{study_instance_uid}/complete")
        if status == HTTPStatus.ACCEPTED:
            return "Released for analysis."
        if status == HTTPStatus.CONFLICT:  # every image was there before, or its quiet period was over already
            return str(body.get("detail") or "The node has started the analysis before.")
        raise _unexpected(status, body)

    def study(self, study_instance_uid: str) -> StudyOnNode:
        """What the node says of the study.

        Raises:
            UnknownToNode: the node holds no such study.
            NodeUnreachable: it gave no such answer.
        """
        status, body = self._ask("GET", f"/api/studies/{study_instance_uid}")
        if status == HTTPStatus.OK and isinstance(body.get("state"), str):
            return StudyOnNode(body["state"], str(body.get("reason") or ""))
        raise _unexpected(status, body)

    def _ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        connection = self._connection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, self._path + path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, _as_object(answer.read())
        except OSError as error:
            raise NodeUnreachable(f"{self._url} cannot be reached: {error}") from error
        except http.client.HTTPException as error:
            raise NodeUnreachable(f"{self._url} does not speak HTTP: {type(error).__name__}") from error
        finally:
            connection.close()


def _as_object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _unexpected(status: int, body: dict[str, Any]) -> Exception:
    detail = str(body.get("detail") or "")
    if status == HTTPStatus.NOT_FOUND and detail:
        return UnknownToNode(detail)
    return NodeUnreachable(f"The node's web address answered {status}. {detail}".strip())
