"""Evidence before conclusion: from the signs of a bundle to the first cause, or to *unknown*."""
