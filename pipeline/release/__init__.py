"""Release: versions compared, promoted and listed, policies compared and simulated."""
