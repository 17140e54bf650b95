"""Speed against what a hospital would use instead, one command each: ``python -m benchmarks NAME``."""
