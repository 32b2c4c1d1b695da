"""Views beyond double precision: perturbation of one high-precision reference orbit, skipping what is linear.

`orbit` computes the reference, `bla` its table of linear steps, `emission` writes machine code and `kernel` the loops;
`model` is what a node loads, keeps and saves.
"""
