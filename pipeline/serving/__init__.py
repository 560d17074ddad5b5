"""Serving: the reviewer's desk as pages, and who may do what on them."""
