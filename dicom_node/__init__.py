"""An inference node beside the PACS: DICOM studies in, structured reports and secondary captures out."""

import os

__version__ = "0.1.0"

# What NumPy multiplies here is small, and after each product the threads of its BLAS wait in a loop: 70 ms of a
# processor for every image that is read. It must be said before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
