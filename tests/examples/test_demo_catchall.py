"""The demo's mail server, tested with smtplib, and its inbox page."""

import smtplib
import ssl
from email.message import EmailMessage

import pytest

from demo.authority import ensure_certificates
from demo.catchall import PASSWORD, USERNAME, Handler, MailServer
from demo.inbox import create_inbox
from demo.recipients import DELAYED, REFUSED, Greylist, RecipientPolicy
from demo.store import Store

SENDER = "surveys@tenant.example"
DELAY = 2.0


class HandClock:
    """A clock that only tests advance."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "inbox.sqlite3")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return ensure_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(store, clock, certificates):
    with MailServer(Handler(store, RecipientPolicy(Greylist(DELAY, clock))), certificates) as running:
        yield running


@pytest.fixture
def trusting(certificates):
    return ssl.create_default_context(cafile=str(certificates.authority))


@pytest.fixture
def plain(server):
    with smtplib.SMTP("localhost", server.port, timeout=10) as client:
        client.ehlo()
        yield client


@pytest.fixture
def signed_in(plain, trusting):
    plain.starttls(context=trusting)
    plain.login(USERNAME, PASSWORD)
    return plain


@pytest.fixture
def page(store):
    return create_inbox(store).test_client()


def letter(recipient="someone@example.org", subject="Grüße · 招待", text="Here: http://127.0.0.1/s/1/abc\n", html=None):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, recipient, subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


def rcpt(client, address):
    client.mail(SENDER)
    code, words = client.rcpt(address)
    client.rset()
    return code, words.decode()


def test_the_certificate_is_verified_by_its_authority_and_by_no_other(server, plain, trusting):
    """The server's certificate matches its name and the demo's authority, and the system does not trust it."""
    assert plain.starttls(context=trusting)[0] == 220
    system = ssl.create_default_context()
    with smtplib.SMTP("localhost", server.port) as stranger, pytest.raises(ssl.SSLCertVerificationError):
        stranger.starttls(context=system)


def test_certificates_are_kept_until_they_are_due(certificates):
    """A second start uses the same certificate, so that a relay that trusts it keeps working."""
    before = certificates.certificate.read_bytes()
    assert ensure_certificates(certificates.certificate.parent) == certificates
    assert certificates.certificate.read_bytes() == before


def test_the_key_is_readable_by_its_owner_only(certificates):
    """The private key has mode 600."""
    assert certificates.key.stat().st_mode & 0o777 == 0o600


def test_nothing_is_taken_without_tls(plain):
    """MAIL before STARTTLS is answered 530, and AUTH is not offered."""
    assert plain.mail(SENDER)[0] == 530
    assert not plain.has_extn("auth")


def test_nothing_is_taken_without_authentication(plain, trusting):
    """MAIL after STARTTLS but before AUTH is answered 530."""
    plain.starttls(context=trusting)
    plain.ehlo()
    assert plain.mail(SENDER)[0] == 530


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_both_mechanisms_know_the_account(plain, trusting, mechanism):
    """AUTH PLAIN and AUTH LOGIN take the demo's account."""
    plain.starttls(context=trusting)
    plain.ehlo()
    plain.user, plain.password = USERNAME, PASSWORD
    assert plain.auth(mechanism, getattr(plain, f"auth_{mechanism}"))[0] == 235


@pytest.mark.parametrize(("user", "password"), [(USERNAME, "wrong"), ("nobody", PASSWORD), ("", "")])
def test_any_other_account_is_refused(plain, trusting, user, password):
    """A wrong user or password gets 535."""
    plain.starttls(context=trusting)
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        plain.login(user, password)
    assert refused.value.smtp_code == 535


def test_three_addresses_are_refused_for_good_in_different_words(signed_in):
    """Each of the three gets its own 550 5.1.1, whatever the number of attempts and the capitals."""
    answers = [rcpt(signed_in, address) for address in [*REFUSED, *map(str.upper, REFUSED), *REFUSED]]
    assert len(REFUSED) == 3
    assert {code for code, _words in answers} == {550}
    assert all(words.startswith("5.1.1 ") for _code, words in answers)
    assert len({words for _code, words in answers}) == 3


def test_two_addresses_are_deferred_at_first_and_taken_later(signed_in, clock):
    """A greylisted pair gets 451 4.7.1 until its delay is over, and is accepted from then on."""
    assert len(DELAYED) == 2
    for address in DELAYED:
        clock.now = 100.0
        assert rcpt(signed_in, address)[0] == 451
        clock.now += DELAY / 2
        assert rcpt(signed_in, address) == (451, "4.7.1 Greylisted, please try again in a few seconds")
        clock.now += DELAY / 2
        assert rcpt(signed_in, address)[0] == 250


def test_a_greylist_without_delay_still_defers_the_first_try(clock):
    """The first attempt of a pair is never accepted; another sender is another pair."""
    greylist = Greylist(0.0, clock)
    assert not greylist.takes("a@x.example", "b@y.example")
    clock.now += 0.001
    assert greylist.takes("a@x.example", "b@y.example")
    assert not greylist.takes("c@x.example", "b@y.example")


def test_a_refused_recipient_does_not_spoil_the_next_message(signed_in, store):
    """On one connection the message after a refusal is stored."""
    rcpt(signed_in, next(iter(REFUSED)))
    signed_in.send_message(letter())
    assert store.count() == 1


def test_a_message_is_kept_octet_for_octet(signed_in, store):
    """Dots, long lines and bytes above 127 are stored as sent."""
    raw = b"Subject: x\r\n\r\n.\r\n..\r\n" + b"a" * 990 + b"\r\n" + "Ärger".encode() + b"\r\n"
    signed_in.sendmail(SENDER, ["a@example.org", "b@example.org"], raw)
    (stored,) = store.find()
    assert store.raw(stored.id) == raw
    assert (stored.sender, stored.recipients) == (SENDER, ("a@example.org", "b@example.org"))


def test_stopping_ends_open_conversations(store, clock, certificates):
    """A connected client does not prevent the server from stopping."""
    with MailServer(Handler(store, RecipientPolicy(Greylist(DELAY, clock))), certificates) as server:
        client = smtplib.SMTP("localhost", server.port, timeout=10)
        client.ehlo()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()


def test_an_empty_inbox_says_so(page):
    """Before the first message the page says what to do, and the JSON is empty."""
    assert "Nothing has arrived yet" in page.get("/").text
    assert page.get("/api/messages").json == {"total": 0, "messages": []}


def test_the_inbox_lists_and_finds(page, store):
    """Search ignores case and finds addresses, subjects and texts in any script."""
    store.add(SENDER, ["taro@example.org"], bytes(letter(subject="Umfrage", text="山田さん、こんにちは")))
    store.add(SENDER, ["ÉLOÏSE@example.org"], bytes(letter(subject="Enquête", text="Bonjour")))
    found = {query: page.get("/api/messages", query_string={"q": query}).json["total"] for query in _QUERIES}
    assert found == _QUERIES
    assert "Enquête" in page.get("/?q=ENQUÊTE").text
    assert "No message has" in page.get("/?q=nothing").text


_QUERIES = {"TARO@": 1, "enquÊte": 1, "山田": 1, "%": 0, "example.org": 2, "": 2}


def test_the_list_has_pages(page, store):
    """Fifty messages fit on one page, the others follow on the next; a number beyond the end shows the last page."""
    for number in range(51):
        store.add(SENDER, [f"p{number}@example.org"], bytes(letter()))
    assert "p50@" in page.get("/").text
    assert "p0@" not in page.get("/").text
    assert "p0@" in page.get("/?page=2").text
    assert "p0@" in page.get("/?page=99").text


def test_html_is_shown_harmless(page, store):
    """The HTML part is sandboxed, without scripts or external resources, and the page itself does not contain it."""
    number = store.add(SENDER, ["a@example.org"], bytes(letter(html="<script>alert(1)</script><p>Hi</p>")))
    assert "<script>" not in page.get(f"/messages/{number}").text
    answer = page.get(f"/messages/{number}/html")
    assert "<p>Hi</p>" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy


def test_text_is_escaped_and_its_links_work(page, store):
    """Markup in a text is shown as text, and an address in it becomes a link."""
    number = store.add(SENDER, ["a@example.org"], bytes(letter(text="<b>x</b> http://127.0.0.1:5/s/1/t-_k\n")))
    shown = page.get(f"/messages/{number}").text
    assert "&lt;b&gt;" in shown
    assert 'href="http://127.0.0.1:5/s/1/t-_k"' in shown


def test_source_and_attachments_can_be_downloaded(page, store):
    """The source is the received message, and an attached file has its name and content."""
    message = letter()
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Einladung · größer.pdf")
    number = store.add(SENDER, ["a@example.org"], bytes(message))
    assert page.get(f"/messages/{number}/raw").data == bytes(message)
    assert "Einladung · größer.pdf" in page.get(f"/messages/{number}").text
    answer = page.get(f"/messages/{number}/attachments/1")
    assert answer.data == b"%PDF"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_an_inline_image_is_inside_the_html(page, store):
    """A `cid:` address is replaced by the image itself."""
    message = letter(html='<img src="cid:logo@x">')
    message.get_payload()[1].add_related(b"GIF89a", "image", "gif", cid="<logo@x>")
    number = store.add(SENDER, ["a@example.org"], bytes(message))
    assert 'src="data:image/gif;base64,R0lGODlh"' in page.get(f"/messages/{number}/html").text


@pytest.mark.parametrize("path", ["/messages/9", "/messages/9/html", "/messages/9/raw", "/api/messages/9", "/nowhere"])
def test_what_is_not_there_is_answered_404(page, path):
    """An unknown message or page is a 404 with a link back."""
    answer = page.get(path)
    assert answer.status_code == 404
    assert "Show all messages" in answer.text


def test_json_has_everything_but_the_bytes(page, store):
    """One message as JSON has its envelope, text and header fields."""
    number = store.add(SENDER, ["a@example.org"], bytes(letter()))
    told = page.get(f"/api/messages/{number}").json
    assert told["recipients"] == ["a@example.org"]
    assert told["text"] == "Here: http://127.0.0.1/s/1/abc\n"
    assert ["Subject", "Grüße · 招待"] in told["headers"]
