"""What `manage.py populate` does: read a file of registered things, compare it with the database, write the difference.

A file is read into a `Document` (`yaml_file`, or `first_rrm` for the first RRM's format), checked as a whole and
compared (`plan`), and only then written, in one transaction.
"""
