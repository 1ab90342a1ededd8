"""Classification: what networks and summary statistics tell apart, how surely, and where they look."""
