"""How fast the product is, against its peers, on the same data in the same run.

Rule of this room: it measures and decides nothing. It calls the functions the assets call (and the SQL of the dbt
models, rendered from the model files), computes the same quantity with a peer (SQL in other forms, pandas, networkx,
tsfresh, Snap ML), compares the values, and reports seconds. Nothing in the product imports it; it is the only room
that may import ``snapml`` and, outside the tests, use a peer for a quantity the product computes itself. It may read
the clock, the processor's memory counter and its own temporary folder; never the user's data folder.

``world.py`` makes the transactions, ``windows.py``, ``networks.py`` and ``series.py`` measure one family of features
each, ``explanations.py`` the explaining of scores, ``record.py`` holds the rows of the table, ``__main__.py`` runs
parts of one size in one process.
"""
