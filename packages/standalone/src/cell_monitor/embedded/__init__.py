"""Real PostgreSQL and Valkey servers from pip wheels, as child processes of this one."""
