"""The topic of a refusal, by its text: servers report quotas, blocked addresses and wrong senders under any code.

A pattern describes a meaning, not single sentences: a counted thing together with a word for "too much", a client or a
sender together with a word for "not allowed". A text that matches no pattern has no topic; then stage and code decide.
For topics that don't concern the recipient no invitation is refused, so their patterns are as narrow as the texts of
real servers permit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from own_smtp.smtp.values import Reply

LOOKED_AT = 500
"""Characters of a reply's text that are examined."""


class Topic(StrEnum):
    """The topic of a refusal."""

    REMOTE = "remote"
    """A quotation of another server: it concerns that recipient, and this relay's address."""
    SIZE = "size"
    """This message is too large."""
    RECIPIENT = "recipient"
    """The recipient doesn't exist, or doesn't accept mail from this sender."""
    MAILBOX_FULL = "mailbox_full"
    """The recipient's mailbox is full."""
    SOME_QUOTA = "some_quota"
    """A quota is used up, and the text does not say whose."""
    RECIPIENT_RATE = "recipient_rate"
    """This recipient receives too much."""
    CONTENT = "content"
    """The message's content, or the proof of its origin (SPF, DKIM, DMARC)."""
    TLS = "tls"
    """Encryption is required."""
    AUTHENTICATION = "authentication"
    """Sign-in is required."""
    QUOTA = "quota"
    """The account has sent too much, or too fast."""
    CLIENT = "client"
    """The platform's IP address or host name is blocked."""
    ACCOUNT = "account"
    """The account is blocked, or its own mailbox is full."""
    SENDER = "sender"
    """The sender's address may not be used."""
    RELAYING = "relaying"
    """The server doesn't relay for this account."""
    IDLE = "idle"
    """The connection was idle for too long."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    topic: Topic
    says: re.Pattern[str]
    unless: re.Pattern[str] | None = None


def _pattern(topic: Topic, says: str, unless: str = "") -> _Pattern:
    return _Pattern(topic, re.compile(says), re.compile(unless) if unless else None)


# Counted things: messages, recipients, connections.
_MAILS = r"(e-?mails?|messages?|mails|recipients|rcpts|connections|sessions)"
_SENT = (
    rf"(send(ing|s|er)?|sent|outgoing|outbound|submission|submit|relay|daily|hourly|monthly|per (second"
    rf"|minute|hour|day|month)|\d+[ -]?h(ou)?rs?|hour|minute|{_MAILS}|account|customer|plan|free tier)"
)
_LIMIT = r"(limit|quota|allowance|allotment|cap|volume|maximum|max|credits?|rate|threshold)s?"
_BEYOND = (
    r"(exceed(s|ed|ing)?|reached|used up|consumed|depleted|exhausted|over|hit|no more|surpassed|superado|d[ée]pass[ée])"
)
_ROOM = r"(mailbox(?! unavailable)|storage|disk|in-?box|bo[iî]te|postfach)"
_REFUSED = (
    r"(not (allowed|permitted|authori[sz]ed|owned|accepted|valid|verified|validated|confirmed|registered"
    r"|recogni[sz]ed|match|allow|belong)"
    r"|reject(ed|s)?|denied|den(y|ies)|disallowed|refused|forbidden|prohibited|unauthori[sz]ed|invalid|unverified"
    r"|nicht (erlaubt|gestattet|zulässig|zugelassen)|abgelehnt|ungültig"
    r"|unconfigured|unconfirmed|unregistered|unknown|blocked|banned|mismatch|unvalidated)"
)
_NO_ENTRY = (
    r"(block(ed|ing)?|black-?list(ed)?|block-?list(ed)?|listed|ban(ned)?|reject(ed)?|refused|denied"
    r"|not (authori[sz]ed|allowed|permitted|accepted|in whitelist|whitelisted|welcome)"
    r"|bad reputation|poor reputation|low reputation|reputation|unauthori[sz]ed|unrecogni[sz]ed|unwelcome|suspicious"
    r"|gesperrt|blockiert|abgelehnt)"
)
_HOST = (
    r"(\[ip\]|\bips?( address(es)?)?\b|client( host)?\b|your (host|server|mta|network)|connecting (host"
    r"|server)|sending (host|server|ip|mta)|hosting)"
)

_PATTERNS = (
    _pattern(
        Topic.REMOTE,
        r"\b(remote (server|host|mta)|host \S+|server \S+) (said|says|respond(ed|s)|answered|returned|replied)\b",
    ),
    _pattern(
        Topic.SIZE,
        r"\b(message|mail|e-?mail|attachments?|body|content|data)\b[^.;]{0,30}\b(size|too (big|large|long))\b"
        r"|\bsize (limit|exceed)|exceeds? [^.;]{0,40}\bsize\b|\bsize\b[^.;]{0,30}exceed",
        r"message rate|mailbox size|too many",
    ),
    _pattern(
        Topic.RECIPIENT_RATE,
        r"\brecipient's per hour|(limit|many|rate|quickly|much)[^.;]{0,60}\b(to|for) (this|that|the same|one"
        r"|a single) (recipient|user|mailbox|address)"
        r"|user you are trying to (contact|reach)[^.;]{0,40}(receiving|rate|quickly)"
        r"|recipient[^.;]{0,30}(is receiving|receives) (mail|too)",
    ),
    _pattern(
        Topic.RECIPIENT,
        r"resolver-(rst|adr)|when sending to (this|the) (group|recipient|list)|to send to (this"
        r"|the) (recipient|group|list)|allowed[ -]senders|approved senders"
        r"|\bsender (was )?not authenticated (for|by|when)\b"
        r"|\b(allowed|permitted|authori[sz]ed) to (send|post|write)( mail| messages)? to (it|this|that|the|@|<?@)"
        r"|\b(e-?mail )?account that you tried to reach|\b(user|recipient|mailbox|address) (is )?(unknown"
        r"|not found|does not exist|suppressed)|\b(unknown|no such|invalid|non-?existent) (user|recipient"
        r"|mailbox|address)|recipient does ?n[o']t (accept|want)",
        r"\bsender (address|verify)|quota|\bauthenticat(e|ion) (first|before)|\byour (ip|host|account)\b",
    ),
    _pattern(
        Topic.QUOTA,
        r"\brate[ -]?limit|\bthrottl|\bsending too (fast|many|much)|\b(send|sending|outgoing|outbound"
        r"|submission) (rate|quota|limit)|submissionquotaexceeded"
        r"|\bversand\w*[^.;]{0,30}(limit|kontingent)|\w*(limit|kontingent)\b[^.;]{0,40}(überschritten|erreicht"
        r"|aufgebraucht|(aus|er)schöpft)|\bzu viele (e-?mails?|nachrichten|empfänger|verbindungen)"
        r"|maximale anzahl|quota d'envoi|l[ií]mite?\b[^.;]{0,20}\b(de|di|d') ?(env[ií]o|envoi|invio)"
        rf"|\b{_MAILS} per (second|minute|hour|day|month)\b[^.;]{{0,20}}\b{_BEYOND}"
        r"|\bpolicy\b[^.;]{0,30}\bquota\b",
        r"recipient'?s|in whitelist|speicher",
    ),
    _pattern(
        Topic.ACCOUNT,
        r"submission-exception:(quotaexceeded|outboundspam)|outboundspam|\bfree accounts?\b|\bsandbox\b"
        r"|\btrial (account|period|mode|plan)|\b(payment|billing|unpaid|subscription)\b|pending (approval"
        r"|review|verification|activation)|\b(your|smtp) account\b[^.;]{0,30}not (yet )?(been )?(activated"
        r"|approved|verified|active)|\b(outgoing|outbound) (e-?mails?|mails?|messages?)\b[^.;]{0,40}(suspended"
        r"|suspension|disabled|blocked|held|\bhold\b)"
        r"|\b(your (mail |e-?mail )?(account|mailbox)|(sending|sender'?s?|smtp) account)\b"
        r"[^.;]{0,40}\b(suspended|disabled|blocked|locked|restricted|closed|inactive"
        r"|deactivated|on hold|not active|terminated|under review)"
        r"|\bsending (is |has been |was )?(paused|suspended|disabled|restricted|blocked)\b"
        r"|\bsending\b[^.;]{0,30}\b(not enabled|limited until|suspended|disabled)\b|\buntil you (verify|confirm)\b"
        r"|\b(suspended|blocked|disabled|restricted) (from|for) (sending|submitting|outgoing|outbound)\b"
        r"|\byour account (needs|requires) |\baccount (may|can) ?not send\b"
        r"|access denied, (spam abuse detected|banned sender\b(?! ip))|bad outbound sender"
        r"|tenant has exceeded threshold"
        r"|from unregistered domains|unusual sending activity|compromised",
        r"\brecipient'?s? (mailbox|account|is|has)|mailbox (is |has been )?disabled",
    ),
    _pattern(
        Topic.QUOTA,
        rf"\b{_SENT}\b[^.;]{{0,50}}\b{_LIMIT}\b[^.;]{{0,40}}\b{_BEYOND}\b"
        rf"|\b{_BEYOND}\b[^;]{{0,60}}\b{_LIMIT}\b[^;]{{0,40}}\b{_SENT}\b"
        rf"|\b{_BEYOND}\b[^.;]{{0,50}}\b{_SENT}\b[^;]{{0,40}}\b{_LIMIT}\b"
        rf"|\b{_LIMIT}\b[^.;]{{0,40}}\b{_SENT}\b[^.;]{{0,40}}\b{_BEYOND}\b|\brate[ -]?limit"
        rf"|submissionquotaexceeded|\b{_LIMIT}( of)? [^.;]{{0,20}}{_MAILS} per\b"
        rf"|\btoo many {_MAILS}(?! in this)|\b(only|more than|limited to|max(imum)?( of)?) \d+ {_MAILS}"
        rf"|\b(too (fast|quickly|often|frequent(ly)?)|slow down|throttl|excessive (volume|rate|number)|flood"
        rf"|frequency)"
        rf"|\byour\b[^.;]{{0,40}}\b{_LIMIT}\b[^.;]{{0,20}}\b{_BEYOND}"
        rf"|\byou( have|'ve)? (already |now )?{_BEYOND}\b[^.;]{{0,40}}\b{_LIMIT}\b"
        rf"|\bnumber of {_MAILS}[^.;]{{0,40}}\b{_BEYOND}|\b{_MAILS} (count )?quota"
        rf"|\b(out of|insufficient|not enough|no|maximum) (sending )?credits?\b"
        rf"|\bpeak\b[^.;]{{0,30}}\blimit|\bconcurrent\b",
        rf"\b{_ROOM}\b|over ?quota|out of storage|\buser is over|recipient'?s? (is |has )?(over|exceed)"
        rf"|in whitelist|to this recipient|unauthori[sz]ed|hop ?count|too many (hops|recipients? (in"
        rf"|for) (this|the) (message|mail))",
    ),
    _pattern(
        Topic.MAILBOX_FULL,
        rf"\b{_ROOM}\b[^.;]{{0,50}}(full|quota|exceed|limit|pleine|plein|voll|space)"
        r"|(over|exceed(s|ed)?|out of|insufficient|no)[^.;]{0,40}\b(storage|disk|mailbox space)"
        r"|\b(users?|recipient(?! address)|account that you tried to reach)\b[^.;]{0,40}(over |exceed(s|ed) )"
        r"[^.;]{0,20}quota"
        r"|\brecipient overquota",
        r"insufficient system",
    ),
    _pattern(
        Topic.SOME_QUOTA,
        r"(over|exceed(s|ed)?|out of|insufficient|no)[^.;]{0,40}\bquota|\bover-?quota|quota[^.;]{0,20}exceed"
        r"|quotaexceeded",
    ),
    _pattern(
        Topic.TLS,
        r"\b(starttls|ssl|tls|encrypt(ion|ed)|secure connection)\b[^.;]{0,50}(required|needed|must|first"
        r"|mandatory|not allowed|only)|(must|need|requires?|please|without|use)[^.;]{0,50}\b(starttls|ssl|tls"
        r"|encrypt(ion|ed)|secure connection)\b|\bconnection is not encrypted",
        r"for rcpt domain|recipient",
    ),
    _pattern(
        Topic.CONTENT,
        r"\b(this|your|the) (message|mail|e-?mail)\b[^.;]{0,80}\b(spam|unsolicited|suspicious|virus|malware"
        r"|phishing)|\b(spam|junk) (message|mail|content|url|score)|\b(message|mail|content"
        r"|e-?mail)\b[^.;]{0,40}\b(looks like|considered|classified as|detected as|identified as|contains?)\b"
        r"|\bvirus\b|\bcontent\b[^.;]{0,30}(denied|rejected|not accept|policy|filter)"
        r"|\bdt:spm\b|\bdmarc\b|\bspf\b|\bdkim\b|sender policy framework|required authentication level"
        r"|sender id\b|unauthenticated (e-?mail|mail|message)|multiple [^.;]{0,30}\bfrom\b|\b(missing|invalid"
        r"|malformed|duplicate|multiple)\b[^.;]{0,20}\bheaders?\b|\bheader\b[^.;]{0,30}(missing|malformed)"
        r"|anti-spoofing|loop",
        r"\bfrom your ip\b|originating from|\[ip\][^.;]{0,20}(listed|blocked)",
    ),
    _pattern(
        Topic.AUTHENTICATION,
        r"\bauthenticat(ion|e|ed)\b[^.;]{0,40}\b(required|needed|necessary|first|before|obrigat|mandatory)"
        r"|\b(must|please|need(s)? to|requires?|required?|without|after)\b[^.;]{0,30}\b(authenticat(e|ion|ed)"
        r"|log(ged)? ?in|sign(ed)? in|smtp[ -]auth)\b|\bnot (yet |been )?(authenticated|logged in|signed in)\b"
        r"|\bauth\b[^.;]{0,20}\bfirst\b|\b(log-?in|sign-?in)\b[^.;]{0,20}\b(required|needed|necessary|first)"
        r"|\bneeds? smtp[ -]auth\w*|\bno authenticated\b|\b(authentifizier|anmeld)\w*[^.;]{0,20}\b(zuerst"
        r"|erforderlich|notwendig)|\bbitte [^.;]{0,20}(anmelden|authentifizieren)"
        r"|\bunauthenticated (senders?|users?|clients?|connections?|relay)|\bauth(entication)? (is )?(required"
        r"|needed)|\bautenticac|s'authentifier|authentification (requise|n[ée]cessaire)|nicht authentifiziert"
        r"|authentifizierung erforderlich",
        r"required authentication level|authentication[- ]results|sender address rejected|\b(match|equal|same as)\b",
    ),
    _pattern(
        Topic.RELAYING,
        rf"\brelay(ing)?\b[^.;]{{0,30}}\b({_REFUSED[1:-1]}|disabled)|\b(unable|not allowed|cannot|can ?not|won'?t"
        rf"|refus(e|es|ing)|den(y|ies)|do(es)?( not|n'?t)|no|not)( to)? relay(ing)?\b|\b(allowed|permitted"
        rf"|authori[sz]ed) to relay\b|\brcpthosts\b|\binvalid credentials for relay|\bnon-?local (domain"
        rf"|recipient)s? [^.;]{{0,30}}not|not (a )?local (domain|recipient)|\bnot a relay\b",
        r"relaying disallowed as",
    ),
    _pattern(
        Topic.CLIENT,
        rf"\b(blocked|listed|found) (using|by|in|at|on) \S*(spamhaus|spamcop|barracuda|sorbs|proofpoint|dnsbl"
        rf"|rbl|block|black|list|[a-z0-9]+-[a-z])|\b(dnsbl|rbl|spamhaus|black-?list|block-?list|block list"
        rf"|black list)\b"
        rf"|{_HOST}[^;]{{0,60}}\b{_NO_ENTRY}|\b{_NO_ENTRY}[^.;]{{0,50}}{_HOST}|\b(helo"
        rf"|ehlo)\b[^.;]{{0,40}}(reject|invalid|denied|listed|not|need|bad|mismatch|forged)"
        r"|\b(reverse (dns|lookup|hostname)|rdns|ptr( record)?|name lookup)\b"
        r"|cannot find your (reverse )?hostname|\btraffic not accepted|connections? (will )?not (be )?accepted"
        r"|\bblack ip\b|from (a )?dynamic|\b(your )?country\b[^.;]{0,30}(block|not allowed|denied)"
        r"|unusual (rate|amount|number|volume) of unsolicited|block list"
        r"|\bips?( address)?\b[^.;]{0,20}\b(must|should|does not|doesn't|has no)\b"
        r"|\bfrom \[ip\][^.;]{0,40}\bdeferred|\battack (detected|from)"
        r"|\bnot accept (mail|messages|connections) from \[ip\]|\bforged (helo|ehlo)"
        r"|\byour (server|host|hostname)\b[^.;]{0,20}\bdoes not resolve",
        r"\bnon-?existent|user unknown|recipient address rejected: (user|undeliverable|unverified)",
    ),
    _pattern(
        Topic.SENDER,
        rf"\b(senders?'?s?|absender\w*|envelope[ -]from|return-?path|mail[ -]?from"
        rf"|from:?[ -](header|address|domain|field)"
        rf"|header (from|address)|sending domain|originat(or|ing) address"
        rf"|reverse-?path)\b(?! verify)[^.;]{{0,60}}\b({_REFUSED[1:-1]}|(must|should|need|does not|do not"
        rf"|domain not found|not exist|verify failed|is not))"
        rf"|\b{_REFUSED}\b[^.;]{{0,40}}\b(sender|mail[ -]?from|from (header|address|domain)|return-?path"
        rf"|sending domain|header address|(send|submit|use)[^.;]{{0,12}} (from|as|on behalf))\b"
        r"|\bsend-?as-?denied|permissions? to send (as|on behalf)|relaying disallowed as|not owned by"
        r"|verified sender|address is not verified|not authorized to perform .?ses:"
        r"|domain[^.;]{0,30}not (verified|allowed to send|confirmed|authori[sz]ed)|sender verify failed"
        rf"|\bsend(ing)? from (an? )?{_REFUSED} (domain|address)"
        r"|badmailfrom|\bnot (allowed|permitted|authori[sz]ed) to send\b",
        r"unauthenticated|does not (want|accept) mail from (you|this)|blocked by (recipient|user)"
        r"|by the recipient|recipient'?s",
    ),
    _pattern(Topic.IDLE, r"\b(time-?out|timed out|idle)\b"),
)

_URL = re.compile(r"\b(https?://|www\.)\S+")
_ADDRESS = re.compile(r"<?[^\s<>@]{1,64}@[^\s<>]{1,255}>?")
_DOT_IN_NAME = re.compile(r"(?<=\w)\.(?=\w)")
"""A dot within a name or number ends no sentence."""
_CONTRACTION = re.compile(r"\b(is|are|was|were|do|does|did|has|have|had|could|should|would)n't\b")
_IP = re.compile(r"\[?\b\d{1,3}(\.\d{1,3}){3}\b\]?|\[ipv6:[0-9a-f:]+\]")


def topic_of(reply: Reply) -> Topic | None:
    """Return the topic of a refusal; `None` if its text matches no pattern."""
    return _topic(reply.text[:LOOKED_AT])


@lru_cache(maxsize=2048)
def _topic(text: str) -> Topic | None:
    """Return the topic, cached: servers repeat the same text for many recipients, and a page asks several times."""
    words = _bare(text)
    return next(
        (
            pattern.topic
            for pattern in _PATTERNS
            if pattern.says.search(words) and not (pattern.unless and pattern.unless.search(words))
        ),
        None,
    )


def _bare(text: str) -> str:
    """Return the text in lower case without its variable parts: links, addresses, IP addresses."""
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    text = _CONTRACTION.sub(r"\1 not", _ADDRESS.sub("@", _URL.sub("", text)))
    return _DOT_IN_NAME.sub("-", _IP.sub("[ip]", text))
