"""An incident as people read it: its record, its relation to others, its timeline and its plots."""
