"""Changes that staff, admins of the site and operators make: one service each for the API and ``cell-monitor admin``.

A change is checked here, stored with its entry of the audit log in one transaction, and published to open pages.
"""
