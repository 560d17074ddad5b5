"""What is held about a customer: handed out, kept no longer than its purpose, erased."""
