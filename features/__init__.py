"""What was known: consumption, payment and device events become one point-in-time table."""
