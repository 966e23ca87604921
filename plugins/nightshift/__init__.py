"""Nightshift: upgrades kubeadm clusters at night, unattended, and says what it did or why it did not."""

__version__ = "0.1.0"
