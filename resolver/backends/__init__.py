"""The other stubs: libraries that speak DNS in place of the wire backend. Each asks one question once.

How often and of whom is asked is not theirs to decide: their own retries, caches and search lists are off as far as
they can be, and what a library cannot give (a late reply, an rcode, a TTL) stands in its module's docstring.
"""
