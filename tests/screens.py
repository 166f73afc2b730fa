"""Take a picture of every page in every state, into `screenshots/`. Run by `make screens`.

Each on a desktop and a telephone, in light and dark mode, in English and German. The names of pages can be given: `make
screens ARGS="project report"`. `make screens ARGS=--docs` takes those of the README instead.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import cast

from flask import Flask
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

from tests.web.app import ThinExtension, build_app
from tests.web.everything import go_on, pages_in_all_states

FOLDER = Path(__file__).resolve().parent.parent / "screenshots"
WIDTHS = {1280: 800, 360: 740}
DOCS = FOLDER.parent / "docs" / "pictures"
IN_DOCS = {"report": "batch-running", "server": "relay-running"}
"""The pictures of the README, by file name."""


@contextmanager
def served(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/own-smtp"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def take(browser: Browser, base: str, pages: dict[str, str]) -> None:
    for (width, height), scheme, language in product(WIDTHS.items(), ("light", "dark"), ("en", "de")):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale=language,
        )
        page = context.new_page()
        for name, address in pages.items():
            page.goto(base + address)
            go_on(page, name)
            page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
            page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}-{language}.png", full_page=True)
        context.close()


def renew_docs(browser: Browser, base: str, pages: dict[str, str]) -> None:
    context = browser.new_context(viewport={"width": 1000, "height": 745}, color_scheme="light", locale="en")
    page = context.new_page()
    for name, shown in IN_DOCS.items():
        page.goto(base + pages[shown])
        page.screenshot(path=DOCS / f"{name}.png")
    context.close()


def main(wanted: list[str]) -> None:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        app = build_app(f"sqlite:///{folder}/screens.sqlite3")
        with served(app) as base:
            if not wanted:
                take(browser, base, {"overview-empty": "/"})
            with app.app_context():
                thin = cast("ThinExtension", app.extensions["own_smtp"])
                pages = pages_in_all_states(thin.db.session(), thin)
            if wanted == ["--docs"]:
                renew_docs(browser, base, pages)
                return
            take(browser, base, {name: address for name, address in pages.items() if not wanted or name in wanted})
    print(f"The pictures are in {FOLDER}.")


if __name__ == "__main__":
    main(sys.argv[1:])
