"""The manager: knows what can render, takes work, and sends it there.

Entry points (`api`, `dashboard`, `farm.tasks`, `farm.admin`) call use-cases (`farm.jobs`, `farm.leases`, `farm.nodes`,
`farm.scaling`); use-cases own the transactions and ask `domain` for every decision. Nothing here imports `renderers`.
"""

__version__ = "0.1.0"
