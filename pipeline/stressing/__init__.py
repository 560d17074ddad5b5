"""What a bad time, a harsher policy, a feed that stays out or another training would do to the book."""
