"""Thin, typed adapters, one per outside system. Client libraries are imported only here."""
