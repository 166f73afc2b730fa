"""Real servers for the tests, each in a folder of its own and on loopback ports that the system chose."""
