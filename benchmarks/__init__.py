"""Programs that measure. Each is a module here: `python -m benchmarks` lists them, `--json FILE` keeps the figures."""
