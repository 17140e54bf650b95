"""DICOM pixels and plain images to the stacks that models read."""
