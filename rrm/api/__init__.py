"""The HTTP API: turns requests into use-cases of `rrm.farm` and their answers into JSON, files and streams."""
