"""Who somebody is and what they may do: tokens and their keys, passwords, roles, scopes."""
