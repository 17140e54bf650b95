"""MONAI bundles: loaded, kept warm, run on a series, explained, and aggregated to findings."""
