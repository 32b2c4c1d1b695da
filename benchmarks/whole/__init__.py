"""The parts of the benchmark of the whole stack, `benchmarks.stack`: what is rendered, and the ways to measure it."""
