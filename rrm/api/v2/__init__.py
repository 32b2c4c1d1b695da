"""Version 2 of the API, one file for each noun; what a noun looks like stands beside its views."""
