"""The scripted server itself, tested with the standard library's client."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading

import pytest

from tests.scripted import (
    CLOSE,
    GARBAGE,
    HANG,
    KEEP,
    KINDS,
    PASS,
    RESET,
    Authority,
    BlackHole,
    CloseAfter,
    ClosedPort,
    Endless,
    ScriptedServer,
    SilentPort,
    Trickle,
    Wait,
    huge_line,
    multiline,
)

MESSAGE = b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n"


def send(server: ScriptedServer, *recipients: str, count: int = 1) -> None:
    with smtplib.SMTP(server.host, server.port, timeout=10) as client:
        for _ in range(count):
            client.sendmail("from@example.org", recipients or ("to@example.org",), MESSAGE)


def raw(server: ScriptedServer) -> socket.socket:
    client = socket.create_connection((server.host, server.port), timeout=10)
    assert client.recv(1000).startswith(b"220 ")
    return client


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes the connection, by FIN or reset."""
    data = b""
    try:
        while more := client.recv(1 << 16):
            data += more
    except ConnectionResetError:
        data += b"<reset>"
    return data


def test_a_message_arrives_as_it_was_sent(scripted):
    """The stored message has no dot-stuffing, and its envelope."""
    send(scripted, "one@example.org", "two@example.org")
    (copy,) = scripted.copies
    assert copy.data == MESSAGE
    assert (copy.sender, copy.recipients) == ("from@example.org", ("one@example.org", "two@example.org"))
    assert scripted.violations == []


def test_an_empty_message_is_read(scripted):
    """A final dot right after DATA ends an empty message."""
    with raw(scripted) as client:
        client.sendall(b"EHLO me\r\n")
        client.recv(1000)
        client.sendall(b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n")
        scripted.wait_for(lambda: "DATA" in scripted.commands)
        client.sendall(b".\r\n")
        scripted.wait_for(lambda: scripted.copies)
    assert scripted.copies[0].data == b""


def test_a_group_gets_its_replies_at_once(scripted):
    """A pipelined group takes one read, one write and one round trip."""
    with raw(scripted) as client:
        client.sendall(b"EHLO me\r\n")
        client.recv(1000)
        group = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
        client.sendall(group)
        assert client.recv(1000).count(b"\r\n") == 3
        client.sendall(b"x: y\r\n\r\nbody\r\n.\r\nQUIT\r\n")
        assert read_all(client).endswith(b"221 2.0.0 bye\r\n")
    record = scripted.connections[0].record
    assert record.groups[1] == group
    assert scripted.round_trips == 3
    assert scripted.violations == []


def test_chunks_make_one_message(scripted):
    """BDAT counts octets and stuffs no dots; a group of chunks may be pipelined."""
    with raw(scripted) as client:
        client.sendall(b"EHLO me\r\n")
        client.recv(1000)
        client.sendall(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 7\r\nA: b\r\n\rBDAT 6 LAST\r\n\n..\r\n.QUIT\r\n"
        )
        read_all(client)
    (copy,) = scripted.copies
    assert copy.data == b"A: b\r\n\r\n..\r\n."
    assert copy.by_bdat


def test_rules_are_chosen_by_recipient_message_and_connection(scripted):
    """Conditions narrow a rule, and the latest rule wins."""
    scripted.on("rcpt", "450 4.2.0 later", connection=2)
    scripted.on("rcpt", "550 5.1.1 nobody", recipient="bad@example.org")
    scripted.on("dot", "452 4.3.1 full", message=2)
    with smtplib.SMTP(scripted.host, scripted.port, timeout=10) as client:
        refused = client.sendmail("f@example.org", ["bad@example.org", "good@example.org"], MESSAGE)
        assert refused == {"bad@example.org": (550, b"5.1.1 nobody")}
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("f@example.org", ["good@example.org"], MESSAGE)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="later"):
        send(scripted)
    assert [copy.recipients for copy in scripted.copies] == [("good@example.org",)]


def test_a_rule_may_apply_a_limited_number_of_times(scripted):
    """`times` makes a temporary fault."""
    rule = scripted.on("mail", "451 4.7.1 greylisted", times=1)
    with pytest.raises(smtplib.SMTPSenderRefused):
        send(scripted)
    send(scripted)
    assert rule.hits == 1


def test_a_behaviour_may_be_worked_out(scripted):
    """A function of the moment can echo what the client said."""
    scripted.on("mail", lambda moment: f"550 5.7.1 you said {moment.line}")
    with pytest.raises(smtplib.SMTPSenderRefused, match=r"(?i)you said mail from"):
        send(scripted)


@pytest.mark.parametrize("phase", ["connect", "banner", "ehlo", "mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("fault", [CLOSE, RESET, ("421 4.3.2 closing", CLOSE)])
def test_every_phase_can_end_the_connection(scripted, phase, fault):
    """The script can end the connection in every phase; nothing is stored."""
    scripted.on(phase, fault)
    with pytest.raises((smtplib.SMTPException, OSError)):
        send(scripted)
    assert scripted.copies == []


def test_a_reset_is_a_reset(scripted):
    """RESET is a TCP reset, not an orderly end."""
    scripted.on("noop", RESET)
    with raw(scripted) as client:
        client.sendall(b"NOOP\r\n")
        assert read_all(client) == b"<reset>"


def test_a_message_can_be_kept_without_a_word(scripted):
    """KEEP and CLOSE: the server has the message, and the client does not know."""
    scripted.on("dot", (KEEP, CLOSE))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(scripted)
    assert len(scripted.copies) == 1


def test_a_reply_can_be_torn(scripted):
    """Bytes are sent unchanged, without effect on the server's state."""
    scripted.on("noop", (b"250 2.0.0 o", CLOSE))
    with raw(scripted) as client:
        client.sendall(b"NOOP\r\n")
        assert read_all(client) == b"250 2.0.0 o"


def test_the_body_can_be_cut(scripted):
    """CloseAfter reads this many octets of the message, then resets."""
    scripted.on("body", CloseAfter(10, reset=True))
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        send(scripted)
    assert scripted.copies == []


def test_a_reply_waits_for_the_test(scripted):
    """Wait holds the connection until the event is set."""
    gate = threading.Event()
    rule = scripted.on("dot", (Wait(gate), PASS))
    sender = threading.Thread(target=send, args=(scripted,))
    sender.start()
    scripted.wait_for(lambda: rule.hits)
    assert scripted.copies == []
    gate.set()
    sender.join()
    assert len(scripted.copies) == 1


def test_a_server_that_hangs_can_be_closed():
    """Closing the server ends connections that wait, hang or write endlessly."""
    with ScriptedServer() as server:
        server.on("banner", HANG, connection=1)
        server.on("banner", Endless(), connection=2)
        server.on("banner", Trickle("220 slow", interval=60), connection=3)
        clients = [socket.create_connection((server.host, server.port)) for _ in range(3)]
        server.wait_for(lambda: len(server.connections) == 3)
    assert all(conversation.ended for conversation in server.connections)
    for client in clients:
        client.close()


def test_nonsense_can_be_said(scripted):
    """Multi-line, slow, huge and invalid replies reach the client unchanged."""
    scripted.on("noop", multiline(250, "a", "b"), turn=0, times=1)
    scripted.on("rset", Trickle("250 slowly", interval=0.001))
    scripted.on("helo", GARBAGE)
    scripted.on("quit", (huge_line(221, 100_000), CLOSE))
    with raw(scripted) as client:
        client.sendall(b"NOOP\r\n")
        assert client.recv(100) == b"250-a\r\n250 b\r\n"
        client.sendall(b"RSET\r\n")
        scripted.wait_for(lambda: b"y\r\n" in scripted.connections[0].record.said("S"))
        client.sendall(b"HELO me\r\n")
        client.sendall(b"QUIT\r\n")
        heard = read_all(client)
    assert heard.startswith(b"250 slowly\r\n" + GARBAGE)
    assert len(heard) > 100_000


def test_a_server_can_speak_unasked(scripted):
    """An interjection reaches an idle client, like a 421."""
    with raw(scripted) as client:
        scripted.connections[0].interject(("421 4.4.2 idle", CLOSE))
        assert read_all(client) == b"421 4.4.2 idle\r\n"


def test_starttls_and_auth():
    """AUTH is offered under TLS only, and attempts are recorded."""
    authority = Authority()
    with ScriptedServer(tls=authority.server_context(), credentials={"me": "geheim"}) as server:
        with smtplib.SMTP("localhost", server.port, timeout=10) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            client.starttls(context=authority.client_context())
            client.login("me", "geheim")
            client.sendmail("f@example.org", "t@example.org", MESSAGE)
        assert [(item.username, item.password, item.encrypted) for item in server.attempts] == [("me", "geheim", True)]
        assert server.copies[0].user == "me"
        assert server.copies[0].encrypted
        assert server.violations == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_wrong_passwords_are_refused(mechanism):
    """A wrong password gets 535, with each mechanism."""
    with (
        ScriptedServer(credentials={"me": "geheim"}, mechanisms=[mechanism]) as server,
        smtplib.SMTP(server.host, server.port, timeout=10) as client,
    ):
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            client.login("me", "falsch")
        assert {item.mechanism for item in server.attempts} == {mechanism}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_good_certificate_is_trusted(kind, test_authority):
    """A verifying client rejects the wrong name, the expired certificate and the other authority's."""
    with ScriptedServer(tls=test_authority.server_context(kind), implicit_tls=True) as server:

        def connect() -> None:
            context = test_authority.client_context()
            smtplib.SMTP_SSL("localhost", server.port, timeout=10, context=context).quit()

        if kind == "good":
            connect()
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                connect()


def test_plaintext_can_be_injected_after_starttls():
    """Data after the 220 is sent in plain text, before the handshake (CVE-2021-38371)."""
    authority = Authority()
    with ScriptedServer(tls=authority.server_context()) as server:
        server.on("starttls", "220 go\n250-injected\n250 AUTH PLAIN")
        with raw(server) as client:
            client.sendall(b"STARTTLS\r\n")
            assert client.recv(1000).endswith(b"250 AUTH PLAIN\r\n")


def test_a_handshake_can_hang():
    """The phase `tls` is between the 220 and the handshake."""
    with ScriptedServer(tls=Authority().server_context(), implicit_tls=True) as server:
        rule = server.on("tls", HANG)
        with socket.create_connection((server.host, server.port)):
            server.wait_for(lambda: rule.hits)


def test_a_client_that_breaks_the_rules_is_found_out():
    """Unannounced pipelining, unknown parameters, bare line feeds and long lines are recorded."""
    with ScriptedServer(extensions=[]) as server:
        with raw(server) as client:
            client.sendall(b"EHLO me\r\nMAIL FROM:<a@b.example> BODY=8BITMIME\r\nRCPT TO:<\xc3\xa4@b.example>\r\n")
            server.wait_for(lambda: len(server.commands) == 3)
            client.sendall(b"DATA\r\n")
            server.wait_for(lambda: len(server.commands) == 4)
            client.sendall(b"a\nb\r\n" + b"x" * 999 + b"\r\n.\r\nQUIT\r\n")
            read_all(client)
        text = "\n".join(server.violations)
    for complaint in ("pipelined after EHLO", "BODY without", "non-ASCII", "bare CR", "998"):
        assert complaint in text


def test_a_server_that_does_not_read_is_felt():
    """With a small receive buffer, a client's large message blocks."""
    with ScriptedServer(receive_buffer=4096) as server:
        server.on("body", HANG)
        with smtplib.SMTP(server.host, server.port, timeout=0.5) as client, pytest.raises((TimeoutError, OSError)):
            client.sendmail("f@example.org", "t@example.org", b"x" * 100 + b"\r\n" + b"y\r\n" * (4 << 20))
        assert server.copies == []


def test_ports_where_nobody_answers():
    """Refused, silent and dropped are three different things."""
    with ClosedPort() as closed, pytest.raises(ConnectionRefusedError):
        socket.create_connection((closed.host, closed.port), timeout=10)
    with (
        SilentPort() as silent,
        socket.create_connection((silent.host, silent.port), timeout=0.1) as client,
        pytest.raises(TimeoutError),
    ):
        client.recv(1)
    with BlackHole() as hole, pytest.raises(TimeoutError):
        socket.create_connection((hole.host, hole.port), timeout=0.2)


def test_an_unknown_phase_is_an_error(scripted):
    """A misspelt phase would create a rule that never applies."""
    with pytest.raises(ValueError, match="none of"):
        scripted.on("rctp", CLOSE)
