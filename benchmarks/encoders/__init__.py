"""Ways to encode a tile, and a picture too wide for memory: what `benchmarks/encode.py` measures."""
