"""State, and the use-cases that change it.

Only `transitions.advance` writes a state, and only use-cases open transactions.
"""
