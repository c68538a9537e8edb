"""PostgreSQL: one module per aggregate, SQL beside the function that runs it.

Functions take a pool or a connection, return frozen values, and never commit: a caller that needs several of them to
stand or fall together opens the transaction itself.
"""
