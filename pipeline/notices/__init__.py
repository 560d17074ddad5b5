"""Notices: letters to customers about what was decided against them, taken back, or is going to change."""
