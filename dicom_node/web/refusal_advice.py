"""Why something was refused, most likely, and which setting on which side to change."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.config import Config
from dicom_node.receive.refusal import Reason


@dataclass(frozen=True, slots=True)
class Advice:
    """A refusal's likely cause, and what to do about it."""

    cause: str
    action: str


_UNKNOWN = Advice("The node met something unforeseen.", "The receiver's log has the details.")


def advise(code: str, calling_ae_title: str, config: Config) -> Advice:
    """Cause and action for a refusal by the code of its reason; an unknown code is of another release."""
    try:
        reason = Reason(code)
    except ValueError:
        return _UNKNOWN
    return _of_associations(config, calling_ae_title).get(reason) or _of_objects(config).get(reason) or _UNKNOWN


def _of_associations(config: Config, caller: str) -> dict[Reason, Advice]:
    node, receive = config.node, config.receive
    return {
        Reason.FOREIGN_ADDRESS: Advice(
            "The address is in none of the networks that the node takes connections from.",
            "If it is a sender of yours, add its network to receive.networks in node.yaml.",
        ),
        Reason.UNLISTED_SENDER: Advice(
            f"The node takes studies from listed senders only, and {caller} is not among them.",
            f"Add a peer with 'ae_title: {caller}' and 'sends: true' to node.yaml, or set receive.senders to 'any'.",
        ),
        Reason.WRONG_HOST: Advice(
            f"{caller} is listed with another host than the one that called: it has moved, or another machine uses "
            "its AE title.",
            f"Correct 'host' of the peer with 'ae_title: {caller}' in node.yaml, or set receive.senders to 'listed'.",
        ),
        Reason.WRONG_CALLED_AE_TITLE: Advice(
            f"The sender has another AE title for this node than {node.ae_title}.",
            f"Set the called AE title to {node.ae_title} at the sender, or change node.ae_title in node.yaml.",
        ),
        Reason.TOO_MANY_ASSOCIATIONS: Advice(
            f"{receive.maximum_associations} associations were open at the same time.",
            "Raise receive.maximum_associations in node.yaml, or let the senders open fewer at once.",
        ),
        Reason.TOO_MANY_OF_ONE_PEER: Advice(
            f"{caller} had {receive.maximum_associations_per_peer} associations open at the same time.",
            "Let it open fewer at once, or raise receive.maximum_associations_per_peer in node.yaml.",
        ),
        Reason.NO_TLS: Advice(
            "The sender and the node agree on no TLS; the reason names what is missing, and on which side.",
            "Call the TLS port with TLS and a certificate signed by receive.tls.authorities, and let the sender trust "
            "the authority of receive.tls.certificate.",
        ),
        Reason.CONTEXT_NOT_ACCEPTED: Advice(
            "The sender offered kinds of object, or compressions of them, that the node does not read.",
            "Leave these objects out of the routing rule at the sender, or let it send another transfer syntax.",
        ),
        Reason.PDU_TOO_LONG: Advice(
            "The sender does not keep to the PDU size that was agreed on, or does not speak DICOM.",
            "Lower the PDU size at the sender, or raise receive.maximum_pdu_size in node.yaml.",
        ),
        Reason.SENDER_SILENT: Advice(
            "The sender, or the network between, stopped in the middle of an association.",
            "Check the network; a sender that pauses by design needs a longer receive.network_timeout_seconds.",
        ),
    }


def _of_objects(config: Config) -> dict[Reason, Advice]:
    folder = config.node.data_folder
    store = folder if config.store is None else f"{folder} and {config.store.url}"
    return {
        Reason.DISK_FULL: Advice(
            f"The disk that holds {folder} is almost full, so nothing more is taken.",
            "Free space there; the limits are receive.minimum_free_megabytes and receive.maximum_disk_percent.",
        ),
        Reason.STORE_FAILED: Advice(
            "The node could not write the object.",
            f"Check that {store} can be written ('dicom-node check'); the receiver's log has the cause.",
        ),
        Reason.INDEX_FAILED: Advice(
            "The node could not write its index.",
            "Check that the database can be written; the receiver's log has the cause.",
        ),
        Reason.OBJECT_TOO_LARGE: Advice(
            f"The object has more than {config.receive.maximum_object_megabytes} MB.",
            "Leave it out of the routing rule at the sender, or raise receive.maximum_object_megabytes in node.yaml.",
        ),
        Reason.DOES_NOT_MATCH: Advice(
            "The object is not what the sender's request said it is.",
            "Send it again from its source; if that repeats, the sending system builds wrong requests.",
        ),
        Reason.UID_CONFLICT: Advice(
            "Two studies or series use the same UID, often after an anonymisation or a merge of studies.",
            "Give the copy new UIDs at the source and send it again.",
        ),
        Reason.DAMAGED: Advice(
            "The object is damaged, or was cut short on its way.",
            "Send it again; if that repeats, check the file at the source, for instance with dciodvfy.",
        ),
        Reason.SOP_CLASS_NOT_ACCEPTED: Advice(
            "It was sent over HTTP, and is of a kind that the node does not keep.",
            "Leave such objects out at the sender.",
        ),
        Reason.SYNTAX_NOT_ACCEPTED: Advice(
            "It was sent over HTTP in a compression that the node does not read.",
            "Let the sender send another transfer syntax.",
        ),
        Reason.INTERNAL_ERROR: Advice(
            "The node met something unforeseen.", "The receiver's log has the details for a bug report."
        ),
    }
