"""The command sets of C-STORE (PS3.7 9.3.1), encoded and decoded directly: they come with every single instance.

Command sets are in Implicit VR Little Endian (PS3.7 6.3.1). Those of every other message are left to pynetdicom.
"""

from __future__ import annotations

import struct
from io import BytesIO

from pynetdicom.dimse_primitives import C_STORE

_ELEMENT = struct.Struct("<HHL")
_SHORT = struct.Struct("<H")
_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_NO_DATA_SET = 0x0101

_GROUP_LENGTH, _SOP_CLASS, _FIELD, _MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
_RESPONDS_TO, _PRIORITY, _DATA_SET_TYPE, _STATUS = 0x0120, 0x0700, 0x0800, 0x0900
_ERROR_COMMENT, _SOP_INSTANCE = 0x0902, 0x1000


def decode_store_request(command: bytes, context_id: int) -> C_STORE | None:
    """The C-STORE request of a command set; None where it is another message, or one without a data set.

    Raises:
        LookupError, ValueError, struct.error: the command set is broken or lacks a mandatory element.
    """
    elements = _elements(command)
    if _SHORT.unpack(elements[_FIELD])[0] != _C_STORE_RQ or _SHORT.unpack(elements[_DATA_SET_TYPE])[0] == _NO_DATA_SET:
        return None
    request = C_STORE()
    (request.MessageID,) = _SHORT.unpack(elements[_MESSAGE_ID])
    (request.Priority,) = _SHORT.unpack(elements[_PRIORITY])
    request.AffectedSOPClassUID = _uid(elements[_SOP_CLASS])
    request.AffectedSOPInstanceUID = _uid(elements[_SOP_INSTANCE])
    request.DataSet = BytesIO()  # makes the request a valid one; the data set itself goes to a file
    request._context_id = context_id
    return request


def encode_store_response(response: C_STORE) -> bytes:
    """The command set of a C-STORE response."""
    elements = [
        (_SOP_CLASS, _padded(str(response.AffectedSOPClassUID), b"\0")),
        (_FIELD, _SHORT.pack(_C_STORE_RSP)),
        (_RESPONDS_TO, _SHORT.pack(response.MessageIDBeingRespondedTo)),
        (_DATA_SET_TYPE, _SHORT.pack(_NO_DATA_SET)),
        (_STATUS, _SHORT.pack(response.Status)),
    ]
    if response.ErrorComment:
        elements.append((_ERROR_COMMENT, _padded(str(response.ErrorComment), b" ")))
    elements.append((_SOP_INSTANCE, _padded(str(response.AffectedSOPInstanceUID), b"\0")))
    encoded = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + struct.pack("<L", len(encoded)) + encoded


def _elements(command: bytes) -> dict[int, bytes]:
    elements = {}
    position = 0
    while position < len(command):
        group, element, length = _ELEMENT.unpack_from(command, position)
        position += _ELEMENT.size
        if group != 0 or position + length > len(command):
            raise ValueError("the command set is broken")
        elements[element] = command[position : position + length]
        position += length
    return elements


def _uid(value: bytes) -> str:
    return value.decode("ascii").strip("\0 ")


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii", "replace")
    return value + padding * (len(value) % 2)
