"""Watching: rows as they come, the lines they touch, and what is paused within the day."""
