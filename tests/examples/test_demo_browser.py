"""The walk's small browser: its search on pages, its requests, and its errors for missing things."""

import threading

import pytest
from flask import Flask, redirect, request
from werkzeug.serving import make_server

from demo.browser import Browser, BrowsingError
from demo.controls import Form, NotOnPageError
from demo.dom import parse_html

FORM = """
<title>Server</title>
<form method="post" action="/save" enctype="{kind}">
<input type="hidden" name="csrf" value="t0ken">
<label for="n">Name <abbr>*</abbr></label><input id="n" name="name" value="old">
<label><input type="radio" name="tls" value="a" checked> STARTTLS</label>
<label><input type="radio" name="tls" value="b"> Implicit TLS</label>
<label><input type="checkbox" name="auth" checked> Sign in</label>
<label for="r">Relay</label>
<select id="r" name="relay"><option value="">None</option><option value="7" selected>Ours</option></select>
<label for="t">Note</label><textarea id="t" name="note">
a &amp; b</textarea>
<label for="f">File</label><input type="file" id="f" name="file">
<input name="off" value="x" disabled>
<button name="go" value="test">Test</button>
<button>Save</button>
</form>
"""


def form_of(html=FORM):
    page = parse_html(html)
    return Form(next(page.find("form")), page)


def test_a_form_sends_what_a_browser_would():
    """Hidden fields, the chosen radio button, the ticked box, the selected option and the pressed button are sent."""
    form = form_of()
    assert form.pairs(form.button("Test")) == [
        ("csrf", "t0ken"),
        ("name", "old"),
        ("tls", "a"),
        ("auth", "on"),
        ("relay", "7"),
        ("note", "a & b"),
        ("file", ("", b"")),
        ("go", "test"),
    ]


def test_fields_are_filled_by_their_labels():
    """A text is typed, an option selected by its label, and one radio button deselects another."""
    form = form_of()
    form.fill("name", "new")
    form.fill("Relay", "None")
    form.tick("Implicit TLS")
    form.tick("Sign in", is_on=False)
    sent = dict(form.pairs(form.button("Save")))
    assert (sent["name"], sent["relay"], sent["tls"], "auth" in sent, "go" in sent) == ("new", "", "b", False, False)


@pytest.mark.parametrize("label", ["Password", "e"])
def test_a_missing_or_ambiguous_field_is_named(label):
    """The error names the field; for a missing one it lists those on the page."""
    with pytest.raises(NotOnPageError, match=f"a field “{label}”"):
        form_of().fill(label, "x")


def test_what_is_hidden_is_not_read():
    """Scripts and hidden elements are not part of a page's text."""
    page = parse_html("<p>One<br>two</p><script>three</script><p hidden>four</p><p>five")
    assert page.text == "One two five"


@pytest.fixture
def site():
    app = Flask("site")
    got = []

    @app.get("/")
    def start():
        return FORM.replace("{kind}", request.args.get("kind", "")), {"Set-Cookie": "id=1"}

    @app.post("/save")
    def save():
        got.append((request.cookies.get("id"), request.form.to_dict(), {k: f.read() for k, f in request.files.items()}))
        return redirect("/done")

    @app.get("/done")
    def done():
        return '<title>Done</title><a href="/broken">Go <b>on</b></a><table><tr><th>A</th><td>1</td></tr></table>'

    @app.get("/broken")
    def broken():
        return '<title>Oh</title><p role="alert">Too bad</p>', 500

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", got
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("kind", ["", "multipart/form-data"])
def test_a_form_travels_with_cookies_and_redirects(site, kind):
    """A POST in either encoding arrives with the session's cookie, and its redirect is followed."""
    url, got = site
    browser = Browser()
    page = browser.open(f"{url}/?kind={kind}")
    form = page.form("Save")
    form.fill("Name", "Žluťoučký; & 山田")
    form.attach("File", "people.csv", "é\n".encode())
    after = browser.press(page, form, "Save")
    assert (after.title, after.tables()) == ("Done", [[["A", "1"]]])
    cookie, fields, files = got[0]
    assert (cookie, fields["name"], fields["csrf"]) == ("1", "Žluťoučký; & 山田", "t0ken")
    assert files == ({"file": "é\n".encode()} if kind else {})


def test_an_error_page_is_an_error_that_quotes_it(site):
    """A response of 400 or above raises, with the page's address and its error text."""
    url, _got = site
    browser = Browser()
    with pytest.raises(BrowsingError, match=r"On “Oh” \(.*/broken\): the answer is 500.*The page says: Too bad"):
        browser.follow(browser.open(f"{url}/done"), "Go on")


def test_a_missing_link_and_a_missing_button_are_named(site):
    """The error lists what there is instead."""
    page = Browser().open(f"{site[0]}/done")
    with pytest.raises(BrowsingError, match="a link “Away” is missing; there is “Go on”"):
        page.link("Away")
    with pytest.raises(BrowsingError, match="a button “Save” is missing; there is nothing"):
        page.form("Save")


def test_a_silent_server_is_an_error():
    """If no server listens, the error names the address."""
    with pytest.raises(BrowsingError, match=r"http://127\.0\.0\.1:9/ did not answer"):
        Browser().open("http://127.0.0.1:9/")
