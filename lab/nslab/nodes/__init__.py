"""The lab's machines and the cluster on them."""
