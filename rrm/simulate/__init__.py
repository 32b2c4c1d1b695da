"""What a farm would do: the policies of `rrm.domain`, driven by simulated nodes, orders and failures.

Nothing here decides: which job a node gets, whom a session gets and how many nodes there are is asked of the same pure
functions that the service asks. The clock is a number of seconds; a run with the same seed is the same run.
"""
