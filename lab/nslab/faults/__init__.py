"""Faults: real trouble made on purpose, each with its undo.

`active`, `heal_all` and `forget` are for the rest of the lab (status, reset, down);
`register` adds `lab break` and `lab heal`.
"""

from nslab.faults.commands import active, forget, heal_all, register

__all__ = ["active", "forget", "heal_all", "register"]
