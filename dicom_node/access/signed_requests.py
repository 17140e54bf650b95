"""Requests signed by HMAC as RFC 9421 (HTTP Message Signatures) has them, each taken once."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from dicom_node.access.api_keys import ApiKey, ApiKeys

SIGNED = ("@method", "@path", "@query")
"""What a signature must cover; a request with a body must also be covered by its Content-Digest (RFC 9530)."""

MAXIMUM_AGE = timedelta(minutes=2)
_CLOCK_SKEW = timedelta(seconds=30)
_LONGEST_NONCE = 64


class BadSignature(Exception):
    """The request is not taken; the text says why, without telling a secret."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that its signature speaks of."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class _Verifier(HTTPMessageVerifier):
    max_clock_skew = _CLOCK_SKEW


class _Secrets(HTTPSignatureKeyResolver):
    """Finds the secret of the key that a signature names, and remembers whose it was."""

    def __init__(self, keys: ApiKeys, at: datetime) -> None:
        self._keys = keys
        self._at = at
        self.found: ApiKey | None = None

    def resolve_public_key(self, key_id: str) -> bytes | None:
        """The secret that the caller signed with."""
        known = self._keys.signing(key_id, self._at)
        if known is None:
            return None
        self.found = known[0]
        # What the caller was given, character by character: it need not decode anything.
        return base64.urlsafe_b64encode(known[1])


def verify(request: SignedRequest, keys: ApiKeys, at: datetime) -> ApiKey:
    """The key that signed ``request`` just now and for the first time.

    Raises:
        BadSignature: it is not signed so.
    """
    secrets = _Secrets(keys, at)
    verifier = _Verifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=secrets)
    try:
        [result] = verifier.verify(request, max_age=MAXIMUM_AGE, require_components=SIGNED, body=request.body)
    except (HTTPMessageSignaturesException, ValueError) as error:
        raise BadSignature(f"the signature does not hold: {error}") from error
    nonce, created = result.nonce, result.parameters["created"]
    if secrets.found is None or not nonce or len(nonce) > _LONGEST_NONCE:
        raise BadSignature(f"a signature carries a nonce of 1 to {_LONGEST_NONCE} characters")
    expires = datetime.fromtimestamp(int(created), UTC) + MAXIMUM_AGE + 2 * _CLOCK_SKEW
    if not keys.use_nonce(secrets.found.key_id, nonce, at, expires):
        raise BadSignature("the request was taken before: each needs a nonce of its own")
    return secrets.found
