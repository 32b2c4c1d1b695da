"""The admin pages: what is registered can be edited, what use-cases own is shown, and actions call those use-cases.

Django finds the pages by importing this package, so every module that registers one is named here.
"""

from rrm.farm.admin import accounts, blocks, history, jobs, nodes, preloads, registered, sessions

__all__ = ["accounts", "blocks", "history", "jobs", "nodes", "preloads", "registered", "sessions"]
