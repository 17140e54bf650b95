"""A storage SCP as pynetdicom's documentation writes one, as a program: ``PORT FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt


def main(port: int, folder: Path) -> None:
    """Write each received data set to a file below ``folder``, until the process is ended."""

    def store(event: evt.Event) -> int:
        (folder / f"{event.file_meta.MediaStorageSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    entity = AE("PLAIN")
    entity.maximum_pdu_size = 131072
    entity.supported_contexts = AllStoragePresentationContexts
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
