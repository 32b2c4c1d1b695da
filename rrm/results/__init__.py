"""Results: what nodes rendered, from the uploaded ranges to the picture, the arrays and the zoomable pyramid.

A node uploads one *bundle* for each leased range. `checks` refuses one that is not exactly what the lease asked for,
`layout` says where it is kept, and `compose` assembles the ranges of a job into its results. Everything here is files,
numpy and deflate: no database, no network, no knowledge of jobs or nodes beyond the folder they write to.

Two promises hold for every file: it appears whole or not at all, whenever the process is killed; and writing it again,
even at the same time from another process, is safe, since equal inputs give equal bytes and the last rename wins.
"""
