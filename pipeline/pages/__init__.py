"""Pages: amounts and words, plots, templates."""
