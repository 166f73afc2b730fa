"""Other programs that send mail: each peer sends the same messages to the same recipients and reports the duration."""
