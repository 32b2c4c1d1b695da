"""What the kernel is measured against: the processor's limit and the well-known ways to compute the set in Python."""
