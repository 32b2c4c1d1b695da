"""The first RRM's API, version 1, for programs that were written against it.

It calls the use-cases that version 2 calls and owns no logic but that of its words: its routes, status numbers, bodies
and content types. What the first one meant and did not do works as meant; its holes are closed.
"""
