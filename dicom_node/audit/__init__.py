"""Who saw which patient and did what: audit messages as DICOM has them, to a file and a syslog server."""
