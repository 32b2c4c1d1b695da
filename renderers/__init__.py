"""What runs on compute nodes: an agent that asks the manager for work, and the renderer it drives.

Nothing here imports `rrm` or Django: the two share a wire contract, not code. `agent` decides and `client` talks;
everything in `mandelbrot` computes and knows neither.
"""

__version__ = "0.1.0"
