"""PostgreSQL: one module per aggregate, with the SQL next to the function that executes it.

Functions take a pool or a connection, return frozen values, and never commit: a caller that needs several of them in one
transaction begins it itself.
"""
