"""Deciding: the batch plan, decisions, their attribution, the record, and everything that checks it later."""
