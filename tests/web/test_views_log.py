"""The delivery log: shown, filtered, paged, downloaded, and its bulk actions."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from own_smtp.hooks.events import Action, Project, Tenant
from own_smtp.messages.compiler import message_id
from own_smtp.reporting import delivery_log
from own_smtp.states import BatchState, Route, State
from own_smtp.storage.models import Attempt, AuditEntry, Batch, Invitation, Relay
from tests.web.app import MALLORY
from tests.web.drafts import add_relay
from tests.web.everything import fill_outbox

LOG = "/own-smtp/projects/p1/log"


@pytest.fixture
def relay(db_session, thin) -> Relay:
    return add_relay(db_session, thin, active=True)


@pytest.fixture
def batch(db_session, relay) -> Batch:
    """One invitation in each state, and two refused ones."""
    batch = fill_outbox(db_session, relay)
    batch.state, batch.expires_at, batch.content = BatchState.OPEN, None, {}
    db_session.commit()
    return batch


def _ids(session, *states: State) -> list[int]:
    return [item.id for item in session.query(Invitation).filter(Invitation.state.in_(states))]


def _states(session) -> list[str]:
    session.expire_all()
    return sorted(item.state for item in session.query(Invitation))


def _attempt(session, invitation_id, *, code=250, text="2.0.0", server="mail.acme.example [192.0.2.1]", **more):
    values = {
        "relay_id": 1,
        "at": datetime(2026, 2, 1, 9, 5, 7, tzinfo=UTC),
        "state": State.ACCEPTED,
        "stage": "message",
    }
    session.add(Attempt(invitation_id=invitation_id, code=code, text=text, server=server, **(values | more)))
    session.commit()


def _shown(page: str) -> list[str]:
    return re.findall(r'<th scope="row">(\w+)\.someone', page)


def test_each_invitation_is_shown_with_its_attempts(web, db_session, batch):
    """Time, server, stage, reply, cause, who can fix it, queue ID and Message-ID."""
    (accepted,) = _ids(db_session, State.ACCEPTED)
    _attempt(db_session, accepted, text="Ok: queued as 4F2A7C", enhanced="2.0.0", route=Route.PLATFORM)
    page = web.get(LOG).text
    for words in (
        "recipient (RCPT)",
        "There is no mailbox of this address.",
        "Who can mend it: the recipient&#39;s side.",
        "550 5.1.1 &lt;someone&gt;: Recipient address rejected",
        "mail.acme.example [192.0.2.1]",
        "<dd>4F2A7C</dd>",
        message_id("k", accepted, "acme.example").replace("<", "&lt;").replace(">", "&gt;"),
        "2 attempts",
        "the platform&#39;s mail",
    ):
        assert words in page, words


def test_words_from_before_a_server_spoke_are_not_shown(web, db_session, batch):
    """They could be used to scan a network."""
    _attempt(
        db_session,
        _ids(db_session, State.QUEUED)[0],
        code=None,
        stage="connect",
        text="Connection refused",
        state=State.QUEUED,
    )
    page = web.get(f"{LOG}?state=queued").text
    assert "This server cannot be reached from here." in page
    assert "Connection refused" not in page


@pytest.mark.parametrize(
    ("query", "states"),
    [
        ("state=refused", ["refused"] * 2),
        ("state=refused&state=failed", ["failed", "refused", "refused"]),
        ("recipient=UNKNOWN.some", ["unknown"]),
        ("reply=5xx&state=queued", ["queued"]),
        ("reply=5.1.1&state=failed", ["failed"]),
        ("reply=250", []),
        ("text=user+unknown&state=unknown", ["unknown"]),
        ("until=2020-01-01", []),
        ("batch=1&state=cancelled", ["cancelled"]),
    ],
)
def test_the_filter_narrows(web, batch, query, states):
    """Each field, and several together."""
    assert sorted(_shown(web.get(f"{LOG}?{query}").text)) == states


@pytest.mark.parametrize(
    "query",
    ["reply=abc", "state=odd", "since=2026-02-02&until=2026-01-01", "since=yesterday", "until=9999-12-31", "batch=x"],
)
def test_a_wrong_filter_says_so_and_shows_nothing(web, batch, query):
    """Not everything, because the person might act on all of it."""
    answer = web.get(f"{LOG}?{query}")
    assert answer.status_code == 422
    assert _shown(answer.text) == []
    assert web.get(f"{LOG}/invitations.csv?{query}").status_code == 422


def test_days_are_those_of_the_tenant(web, db_session, thin, batch):
    """A change at 23:30 UTC was on the next day in Berlin."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme", timezone="Europe/Berlin")
    (failed,) = _ids(db_session, State.FAILED)
    db_session.get(Invitation, failed).changed_at = datetime(2026, 1, 10, 23, 30, tzinfo=UTC)
    db_session.get(Batch, batch.id).created_at = datetime(2026, 1, 1, tzinfo=UTC)
    db_session.commit()
    assert _shown(web.get(f"{LOG}?since=2026-01-11&until=2026-01-11").text) == ["failed"]
    assert _shown(web.get(f"{LOG}?since=2026-01-10&until=2026-01-10").text) == []


def test_pages_lead_on_and_back(web, monkeypatch, batch):
    """Forwards to the last page and back to the first, with the same filter, each line once; in both orders."""
    monkeypatch.setattr(delivery_log, "PAGE", 3)
    for order in ("newest", "oldest"):
        address, pages = f"{LOG}?order={order}", []
        while address:
            pages.append(web.get(address).text)
            address = _link(pages[-1], "next")
        lines = [line for page in pages for line in _shown(page)]
        assert len(lines) == 8
        address, back = _link(pages[-1], "prev"), [_shown(pages[-1])]
        while address:
            page = web.get(address).text
            back.insert(0, _shown(page))
            address = _link(page, "prev")
        assert back == [_shown(page) for page in pages]


def _link(page: str, rel: str) -> str | None:
    found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
    return found[1].replace("&amp;", "&") if found else None


@pytest.mark.parametrize("place", ["x", "1-2", "1-2-3-4"])
def test_a_place_that_is_none_is_not_found(web, batch, place):
    """A forged position answers 404, like any other unknown address."""
    assert web.get(f"{LOG}?after={place}").status_code == 404
    assert web.get(f"{LOG}?before={place}").status_code == 404


# Downloads


def _table(web, name, query=""):
    answer = web.get(f"{LOG}/{name}{query}")
    assert answer.mimetype == "text/csv"
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\N{BYTE ORDER MARK}"))))


def test_the_filtered_list_is_there_as_csv(web, db_session, batch):
    """A row for each attempt, as text, and no formula for a spreadsheet."""
    _attempt(db_session, _ids(db_session, State.REFUSED)[0], state=State.REFUSED, code=550, text='=HYPERLINK("x")')
    head, *rows = _table(web, "invitations.csv", "?state=refused")
    assert len(rows) == 3
    words = [dict(zip(head, row, strict=True)) for row in rows]
    assert {row["State"] for row in words} == {"Refused by your server"}
    assert [row for row in words if row["What the server said, or what happened"] == '\'=HYPERLINK("x")']
    assert {row["Who can mend it"] for row in words} == {"the recipient's side", "your mail administrator"}
    assert len(_table(web, "invitations.csv")) == 10


def test_the_filtered_list_is_there_as_json_lines(web, batch):
    """An object for each invitation, with the same keys in every language."""
    answer = web.get(f"{LOG}/invitations.jsonl?state=refused&state=accepted", headers={"Accept-Language": "de"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert sorted(line["state"] for line in lines) == ["accepted", "refused", "refused"]
    refused = next(line for line in lines if line["state"] == "refused")
    assert refused["attempts"][0]["cause"] == "Es gibt kein Postfach mit dieser Adresse."
    assert refused["attempts"][0]["who"] == "recipient"


def test_the_administrator_finds_a_message_by_its_row(web, db_session, batch):
    """Time, Message-ID, queue ID and server; mails sent by the platform are not in that server's log."""
    (accepted,) = _ids(db_session, State.ACCEPTED)
    _attempt(db_session, accepted, text="Ok: queued as 4F2A7C", enhanced="2.0.0")
    _attempt(db_session, accepted, text="queued as AAAA", route=Route.PLATFORM)
    head, *rows = _table(web, "administrator.csv", "?state=accepted")
    assert head[:4] == ["When", "Message-ID", "Queue id", "Server and address"]
    assert len(rows) == 2
    assert rows[1][:5] == [
        "2026-02-01T09:05:07Z",
        message_id("k", accepted, "acme.example"),
        "4F2A7C",
        "mail.acme.example [192.0.2.1]",
        rows[0][4],
    ]


def test_long_lists_are_read_in_chunks(web, db_session, batch, monkeypatch):
    """The result does not depend on the size of the chunks."""
    whole = web.get(f"{LOG}/invitations.jsonl").text
    monkeypatch.setattr(delivery_log, "CHUNK", 3)
    assert web.get(f"{LOG}/invitations.jsonl").text == whole
    assert whole.count("\n") == 8


# Actions


def _act(web, deed, *ids, confirmed=True, query="", url=LOG, **more):
    data = {"deed": deed, "ids": list(ids), **({"confirmed": "y"} if confirmed else {}), **more}
    return web.post(f"{url}/selection{query}", data=data, follow_redirects=True)


def test_what_was_ticked_is_asked_about_first(web, db_session, batch):
    """The page shows how many of which state, and those left alone, and has changed nothing."""
    before = _states(db_session)
    page = _act(web, "retry", *_ids(db_session, State.REFUSED, State.ACCEPTED), confirmed=False).text
    assert "These are sent again:" in page
    assert "2 invitations" in page
    assert "Left alone" in page
    assert _states(db_session) == before


def test_refused_ones_that_were_ticked_are_sent_again(web, db_session, thin, batch):
    """Only those; a drain is enqueued, and the audit log has the person and the number."""
    refused = _ids(db_session, State.REFUSED)
    page = _act(web, "retry", refused[0], *_ids(db_session, State.ACCEPTED, State.UNKNOWN)).text
    assert "1 invitation is sent again." in page
    assert _states(db_session).count(State.REFUSED) == 1
    assert _states(db_session).count(State.UNKNOWN) == 1
    assert thin.woken == [batch.relay_id]
    (entry,) = db_session.query(AuditEntry).filter_by(action="batch_retried")
    assert (entry.user_id, entry.details["invitations"]) == ("alice", [None, 1])
    assert "Invitations sent again" in web.get("/own-smtp/audit").text


def test_unknown_ones_need_a_tick_of_their_own(web, db_session, batch):
    """The person has been warned that a copy may arrive."""
    (unknown,) = _ids(db_session, State.UNKNOWN)
    answer = _act(web, "resend", unknown)
    assert answer.status_code == 422
    assert "gets a second copy" in answer.text
    assert "Please confirm this" in answer.text
    assert State.UNKNOWN in _states(db_session)
    _act(web, "resend", unknown, copies="y")
    assert State.UNKNOWN not in _states(db_session)


def test_waiting_ones_that_were_ticked_are_cancelled(web, db_session, batch):
    """Messages on the wire are left alone, and the batch continues."""
    page = _act(web, "cancel", *_ids(db_session, State.QUEUED, State.SENDING)).text
    assert "1 invitation was cancelled." in page
    states = _states(db_session)
    assert (states.count(State.QUEUED), states.count(State.SENDING), states.count(State.CANCELLED)) == (0, 1, 2)
    assert db_session.get(Batch, batch.id).state == BatchState.OPEN


def test_all_that_a_filter_finds_is_acted_on(web, db_session, batch):
    """On every page of it, whatever is ticked, and nothing else."""
    other = fill_outbox(db_session, db_session.get(Relay, batch.relay_id))
    query = f"?state=refused&state=failed&batch={batch.id}"
    asked = _act(web, "retry", query=query, everything="y", confirmed=False).text
    assert "on every page" in asked
    assert "3 invitations are sent again." in _act(web, "retry", query=query, everything="y").text
    kept = [item.state for item in db_session.query(Invitation).filter_by(batch_id=other.id)]
    assert (kept.count(State.REFUSED), _states(db_session).count(State.REFUSED)) == (2, 2)


def test_what_a_batch_does_not_allow_is_said_and_the_rest_is_done(web, db_session, batch):
    """One batch has expired; the other's refused ones are sent again."""
    over = fill_outbox(db_session, db_session.get(Relay, batch.relay_id))
    over.content, over.expires_at = {}, datetime.now(UTC) - timedelta(hours=1)
    db_session.commit()
    page = _act(web, "retry", query="?state=refused", everything="y").text
    assert "2 invitations are sent again." in page
    assert "2 invitations were left alone: The time for sending this batch is over." in page


@pytest.mark.parametrize(
    "data", [{"deed": "retry"}, {"deed": "delete", "ids": ["1"]}, {"ids": ["1"]}, {"deed": "retry", "ids": ["x"]}]
)
def test_a_choice_of_nothing_changes_nothing(web, db_session, batch, data):
    """It leads back to the log, with an error message."""
    before = _states(db_session)
    answer = web.post(f"{LOG}/selection", data=data | {"confirmed": "y"}, follow_redirects=True)
    assert 'class="alert alert-warning"' in answer.text
    assert _states(db_session) == before


# Permissions


def test_others_see_and_change_nothing(web, db_session, thin, batch):
    """Not another tenant, by page, file, action or forged id; not another project of the same tenant."""
    refused, before = _ids(db_session, State.REFUSED), _states(db_session)
    assert _shown(web.get(LOG.replace("p1", "p2")).text) == []
    _act(web, "retry", *refused, url=LOG.replace("p1", "p2"))
    thin.host.present = MALLORY
    assert web.get(LOG).status_code == 404
    assert web.get(f"{LOG}/invitations.csv").status_code == 404
    assert web.get(f"/own-smtp/servers/{batch.relay_id}/log").status_code == 404
    for url in (LOG, f"/own-smtp/servers/{batch.relay_id}/log"):
        assert _act(web, "retry", *refused, url=url).status_code == 404
    own = LOG.replace("p1", "q1")
    assert _shown(web.get(f"{own}?batch={batch.id}").text) == []
    _act(web, "retry", *refused, url=own)
    _act(web, "cancel", url=own, everything="y")
    assert _states(db_session) == before


def test_who_may_only_look_gets_no_buttons(web, db_session, thin, batch):
    """Neither on the page nor by a forged post."""
    thin.host.allowed = {Action.VIEW}
    page = web.get(LOG).text
    assert _shown(page)
    assert "<button" not in page.replace('<button class="btn btn-primary">Show</button>', "")
    assert _act(web, "retry", *_ids(db_session, State.REFUSED)).status_code == 403
    assert _act(web, "retry", 1, url=f"/own-smtp/servers/{batch.relay_id}/log").status_code == 403


def test_a_servers_log_has_the_projects_that_the_person_may_see(web, db_session, thin, batch):
    """Other projects' lines and actions are excluded, although they use the same server."""
    url = f"/own-smtp/servers/{batch.relay_id}/log"
    assert len(_shown(web.get(url).text)) == 8
    assert "Staff survey" in web.get(url).text
    thin.host.surveys = [Project(project_id="p2", tenant_id="acme", title="Customer survey")]
    assert _shown(web.get(url).text) == []
    before = _states(db_session)
    _act(web, "retry", *_ids(db_session, State.REFUSED), url=url)
    _act(web, "cancel", url=url, everything="y")
    assert _states(db_session) == before


# The page of one batch


def test_the_page_of_a_sending_says_why_not_all_were_accepted(web, batch):
    """Each cause once, with the number, who can fix it and what to do; with a link to the log."""
    page = web.get(f"/own-smtp/projects/p1/batches/{batch.id}").text
    assert "Why not all were accepted" in page
    assert page.count("There is no mailbox of this address.") == 1
    assert re.search(r'own-smtp-number">5</span> <strong>There is no mailbox', page)
    assert f"{LOG}?batch={batch.id}" in page
