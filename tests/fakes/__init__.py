"""Stand-ins for outside systems, behind the same interfaces as the real clients."""
