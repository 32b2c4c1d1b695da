"""Starting, finding and stopping renderer nodes at a site. One module per kind of site; none knows the database.

`base` has the contract in words; `tests/contracts/test_launcher.py` has it as a suite that every launcher passes.
"""
