"""``python -m benchmarks NAME [--json [OUT]]`` runs one benchmark; without a name it lists them."""

import sys

from benchmarks.command import main

sys.exit(main(sys.argv[1:]))
