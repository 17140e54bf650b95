"""An inference node beside the PACS: DICOM studies in, structured reports and secondary captures out."""

__version__ = "0.1.0"
