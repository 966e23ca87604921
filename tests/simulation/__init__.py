"""Whole nights in virtual time, with seeded faults at every call a step makes."""
