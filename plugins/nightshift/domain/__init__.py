"""Pure decisions: facts in, verdicts and plans out. Standard library only; no clock, no network, no files."""
