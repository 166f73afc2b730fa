"""Mail parsers that are not Python's, as small programs: each reads messages and says what it understood."""
