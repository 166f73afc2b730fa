"""What all tests share. The fixtures themselves stand in modules by their subject."""

pytest_plugins = ["tests.engine", "tests.scripted.fixtures", "tests.servers.fixtures", "tests.web.fixtures", "tests.web.browser"]
