"""Objects that arrive over HTTP: kept, or refused, by the code and on the conditions of C-STORE."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from dicom_node.archive.archive import Archive, open_archive
from dicom_node.archive.header import InstanceHeader, read_header
from dicom_node.archive.refusals import RefusalTable
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Association
from dicom_node.receive.contexts import ACCEPTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receive.free_space import check_free_space
from dicom_node.receive.incoming import IncomingFile
from dicom_node.receive.refusal import Reason, Refused

log = logging.getLogger(__name__)

_AE_TITLE_LENGTH = 16


class Named(Protocol):
    """Who sends: by the name of the user or the API key, and the address."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def address(self) -> str:
        """The network address."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an object: ``refusal`` is None where it is kept. UIDs that could not be read are empty."""

    refusal: Refused | None = None
    study_instance_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    patient_id: str = ""
    accession_number: str = ""


class Intake:
    """Owns nothing: puts whole Part 10 files into the archive, and writes down what it refuses."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._refusals = RefusalTable(database)

    @cached_property
    def _archive(self) -> Archive:
        """Opened with the first object: a node whose data folder is not there still has pages that say so."""
        return open_archive(self._config, self._database)

    def open_file(self) -> IncomingFile:
        """A file for an object to arrive in, of at most ``receive.maximum_object_megabytes``."""
        self._config.incoming_folder.mkdir(parents=True, exist_ok=True)
        return IncomingFile(self._config.incoming_folder, b"", self._config.receive.maximum_object_megabytes << 20)

    def keep(self, file: IncomingFile, sender: Named, study_instance_uid: str | None = None) -> Taken:
        """Keep a finished file; returns when it is durable and indexed, or refused and that is written down.

        Args:
            file: a whole Part 10 file; it is gone afterwards.
            sender: who sent it; its name stands where an association has the calling AE title.
            study_instance_uid: the only study that it may be of.
        """
        association = Association(sender.name[:_AE_TITLE_LENGTH], self._config.node.ae_title, sender.address)
        taken = Taken()
        try:
            if file.refusal is not None:
                raise file.refusal
            check_free_space(self._config)
            header = read_header(file.path)
            taken = Taken(
                None,
                header.study_instance_uid,
                header.sop_class_uid,
                header.sop_instance_uid,
                header.patient_id,
                header.accession_number,
            )
            _check_kind(header)
            if study_instance_uid not in (None, header.study_instance_uid):
                raise Refused(Reason.DOES_NOT_MATCH, "it is of another study than the request")
            self._archive.accept(file.path, association)
        except Refused as error:
            refusal = error
        except Exception as error:
            log.exception("storing %s failed", taken.sop_instance_uid)
            refusal = Refused(Reason.INTERNAL_ERROR, f"internal error ({type(error).__name__}), see the log")
        else:
            return taken
        finally:
            file.discard()
        self._refusals.record(association, refusal.reason, refusal.text, taken.sop_instance_uid)
        return replace(taken, refusal=refusal)

    def flush(self) -> None:
        """Write down the refusals that have only been counted."""
        self._refusals.flush()


def _check_kind(header: InstanceHeader) -> None:
    """Refuse what an association would not have negotiated."""
    if header.sop_class_uid not in ACCEPTED_SOP_CLASSES:
        raise Refused(Reason.SOP_CLASS_NOT_ACCEPTED, f"SOP class {header.sop_class_uid} is not taken")
    if header.transfer_syntax_uid not in TRANSFER_SYNTAXES:
        raise Refused(Reason.SYNTAX_NOT_ACCEPTED, f"transfer syntax {header.transfer_syntax_uid} is not taken")
