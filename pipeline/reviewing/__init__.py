"""Reviewing: cases that wait for a person, what reviewers say of them, and how far they agree."""
