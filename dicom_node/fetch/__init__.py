"""Studies that the node asks a PACS for, where the PACS does not route them."""
