"""The corpus of incidents: reading it, its score, and recording more of it in the lab. What an incident is: tests/corpus/README.md."""
