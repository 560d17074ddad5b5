"""Sharing: which of two lenders' customers stand on the other's risk list, and nothing else."""
