"""A real kubeadm cluster on one Linux machine, without Docker. Standard library only."""
