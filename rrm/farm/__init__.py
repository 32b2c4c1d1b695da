"""State and the use-cases that change it. Only `transitions.advance` writes a state; only use-cases open transactions."""
