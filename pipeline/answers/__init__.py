"""Answers: why a decision came out as it did, the history of the ledger, the report."""
