"""Is the study complete, and which series goes to which model."""
