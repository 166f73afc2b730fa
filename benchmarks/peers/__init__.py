"""What else sends mail: each peer sends the same messages to the same recipients, and says how long that took."""
