"""TLS of DICOM associations by the BCP 195 profile (PS3.15 B.12, RFC 9325): for both roles, and faults in words."""

from __future__ import annotations

import socket
import ssl

from dicom_node.config import ConfigurationError, Peer, PeerTls, ReceiverTls

CIPHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""The TLS 1.2 suites that RFC 9325 4.2 recommends; TLS 1.3 has none that are weak."""

_ALERT_SECONDS = 0.5


def receiver_context(settings: ReceiverTls) -> ssl.SSLContext:
    """What the receiver speaks: with ``authorities``, callers must show a certificate that these have signed.

    Raises:
        ConfigurationError: a file is no certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    _load_own(context, settings.certificate, settings.key)
    if settings.authorities is not None:
        _load_authorities(context, settings.authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def caller_context(settings: PeerTls) -> ssl.SSLContext:
    """What the node speaks to a peer, whose certificate the ``authorities`` must have signed.

    Raises:
        ConfigurationError: a file is no certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.check_hostname = settings.check_host
    _load_authorities(context, settings.authorities)
    if settings.certificate is not None:
        _load_own(context, settings.certificate, settings.key)
    return context


def what_went_wrong(error: Exception) -> str:
    """Why a handshake failed, and what to check, for either side."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_FAULTS.get(error.verify_code, f"the certificate does not hold ({error.verify_message})")
    text = str(getattr(error, "reason", "") or "")
    for part, words in _FAULTS.items():
        if part in text:
            return words
    if isinstance(error, TimeoutError):
        return "no TLS handshake came about in time: does the other side speak TLS on this port?"
    if isinstance(error, (EOFError, ConnectionError, ssl.SSLEOFError)):
        return (
            "the other side ended the TLS handshake: does it speak TLS on this port, and trust this side's authority?"
        )
    return f"the TLS handshake failed ({text or type(error).__name__})"


def try_handshake(peer: Peer, timeout: float) -> str | None:
    """Connect to a peer with TLS and hang up; why no handshake comes about in words, None where it does."""
    if peer.tls is None:
        return None
    try:
        context = caller_context(peer.tls)
        with (
            socket.create_connection((peer.host, peer.port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=peer.host) as connection,
        ):
            # In TLS 1.3 the peer looks at this side's certificate after the handshake has ended here.
            connection.settimeout(min(timeout, _ALERT_SECONDS))
            connection.recv(1)
    except TimeoutError as error:
        return what_went_wrong(error) if "handshake" in str(error) else None
    except ssl.SSLError as error:
        return what_went_wrong(error)
    except ConnectionResetError as error:
        return what_went_wrong(error)
    except ConfigurationError as error:
        return str(error)
    except OSError:
        return None  # not reached at all: no matter of TLS
    return None


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHER_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_own(context: ssl.SSLContext, certificate: object, key: object) -> None:
    try:
        context.load_cert_chain(str(certificate), str(key), password=_no_password)
    except (OSError, ValueError) as error:
        fault = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"certificate {certificate} and key {key} cannot be used ({fault}): both must be PEM files, belong "
            "together, and the key must have no password"
        ) from error


def _load_authorities(context: ssl.SSLContext, path: object) -> None:
    try:
        context.load_verify_locations(str(path))
    except (OSError, ValueError) as error:
        fault = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigurationError(f"authorities {path} cannot be used ({fault}): a PEM file of certificates") from error


def _no_password() -> str:
    # Without this OpenSSL asks on the console, and the node would wait there.
    raise ValueError("the key has a password")


_CERTIFICATE_FAULTS = {
    10: "the certificate has expired: renew it",
    9: "the certificate is not valid yet: check the clocks of both sides",
    18: "the certificate is signed by itself and not among the authorities",
    19: "the certificate's authority is not among the authorities that are trusted: add it to them",
    20: "the certificate's authority is not among the authorities that are trusted: add it to them",
    21: "the certificate's authority is not among the authorities that are trusted: add it to them",
    62: "the certificate is for another host name: use a name that it holds, or set check_host to false",
    64: "the certificate is for another address: use a name or address that it holds, or set check_host to false",
}
"""By OpenSSL's X509_V_ERR_… number."""

_FAULTS = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS on this port",
    "HTTP_REQUEST": "the other side does not speak TLS on this port",
    "RECORD_LAYER_FAILURE": "the other side does not speak TLS on this port",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the caller shows no certificate, and one is required",
    "CERTIFICATE_REQUIRED": "the other side requires a certificate: set the peer's tls.certificate and tls.key",
    "UNKNOWN_CA": "the other side does not trust the authority of this side's certificate",
    "CERTIFICATE_EXPIRED": "this side's certificate has expired: renew it",
    "BAD_CERTIFICATE": "the other side does not take this side's certificate",
    "CERTIFICATE_UNKNOWN": "the other side does not take this side's certificate",
    "UNSUPPORTED_PROTOCOL": "the other side speaks only TLS versions before 1.2, which are not secure",
    "PROTOCOL_VERSION": "the other side speaks only TLS versions before 1.2, which are not secure",
    "NO_SHARED_CIPHER": "the two sides share no cipher suite of the BCP 195 profile",
    "HANDSHAKE_FAILURE": "the two sides share no cipher suite of the BCP 195 profile",
}
"""By a part of OpenSSL's reason."""
