"""Decisions: pure functions over frozen facts and `now`. Standard library only; no Django, no I/O, no clock."""
