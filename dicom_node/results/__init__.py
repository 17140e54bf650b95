"""Findings to DICOM: identity, structured report, secondary capture, presentation state, heat map."""
