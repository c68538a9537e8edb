"""Rules of the API.

They do not depend on HTTP. An exception (``exceptions``) contains what its response needs: a code, a message, the invalid
part of the request, and when to retry.
"""
