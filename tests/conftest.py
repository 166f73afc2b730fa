"""What all tests share. The fixtures themselves stand in modules by their subject."""

import signal

# A run in the background ignores Ctrl-C, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.engine", "tests.scripted.fixtures", "tests.servers.fixtures", "tests.web.fixtures", "tests.web.browser"]
