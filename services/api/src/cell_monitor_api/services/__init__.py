"""Rules of the API.

They see neither requests nor answers. A refusal (``exceptions``) carries what its answer needs: a code, words for people,
which part of the request is at fault, and when to come back.
"""
