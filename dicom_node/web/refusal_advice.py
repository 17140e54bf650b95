"""Why something was refused, most likely, and which setting on which side to change."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.config import Config


@dataclass(frozen=True, slots=True)
class Advice:
    """A refusal's likely cause, and what to do about it."""

    cause: str
    action: str


def advise(reason: str, status: int | None, calling_ae_title: str, config: Config) -> Advice:
    """Cause and action for a refusal as the receiver wrote it down; ``status`` None is a refused association."""
    if status is None:
        return _association(reason, calling_ae_title, config)
    if status >> 8 == 0xA7:
        if "disk" in reason:
            return Advice(
                f"The disk that holds {config.node.data_folder} is almost full, so nothing more is taken.",
                "Free space there; the limits are receive.minimum_free_megabytes and receive.maximum_disk_percent.",
            )
        return Advice(
            "The node could not write the object or its index.",
            f"Check that {config.node.data_folder} and the database can be written; the receiver's log has the cause.",
        )
    if status >> 8 == 0xA9:
        return Advice(
            "The object is not what the sender's request said it is.",
            "Send it again from its source; if that repeats, the sending system builds wrong requests.",
        )
    if "already held" in reason:
        return Advice(
            "Two studies or series use the same UID, often after an anonymisation or a merge of studies.",
            "Give the copy new UIDs at the source and send it again.",
        )
    if "internal error" in reason:
        return Advice("The node met something unforeseen.", "The receiver's log has the details for a bug report.")
    return Advice(
        "The object is damaged, or was cut short on its way.",
        "Send it again; if that repeats, check the file at the source, for instance with dciodvfy.",
    )


def _association(reason: str, calling_ae_title: str, config: Config) -> Advice:
    if reason.startswith("no TLS"):
        return Advice(
            "The sender and the node agree on no TLS; the reason names what is missing, and on which side.",
            "Call the TLS port with TLS and a certificate signed by receive.tls.authorities, and let the sender trust "
            "the authority of receive.tls.certificate.",
        )
    if "not listed" in reason:
        return Advice(
            f"The node takes studies from listed senders only, and {calling_ae_title} is not among them.",
            f"Add a peer with 'ae_title: {calling_ae_title}' and 'sends: true' to node.yaml, "
            "or set receive.senders to 'any'.",
        )
    if "not the node's" in reason:
        return Advice(
            f"The sender has another AE title for this node than {config.node.ae_title}.",
            f"Set the called AE title to {config.node.ae_title} at the sender, or change node.ae_title in node.yaml.",
        )
    if "too many" in reason:
        return Advice(
            f"{config.receive.maximum_associations} associations were open at the same time.",
            "Raise receive.maximum_associations in node.yaml, or let the sender open fewer at once.",
        )
    if "not accepted" in reason:
        return Advice(
            "The sender offered kinds of object, or compressions of them, that the node does not read.",
            "Leave these objects out of the routing rule at the sender, or let it send another transfer syntax.",
        )
    return Advice("The association could not be agreed on.", "The receiver's log has the details.")
