"""The text of an HTML mail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.hooks import Content
from own_smtp.messages.html_text import shows_nothing, text_of
from tests.composing import compose, hostile, parse, texts
from tests.work import LINEAR, TIMES, growth


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Dear {FIRST_NAME},</p>\n<p>please\n  take part.</p>", "Dear {FIRST_NAME},\n\nplease take part.\n"),
        ('<a href="{SURVEYURL}">Take part</a>, please', "Take part <{SURVEYURL}>, please\n"),
        ('<a href="https://a.example/x">https://a.example/x</a>', "https://a.example/x\n"),
        ('<a href="mailto:a@b.example">a@b.example</a> <a href="#top">up</a>', "a@b.example up\n"),
        ("a<br>b<br/>c", "a\nb\nc\n"),
        ("<ul><li>one</li><li>two <b>and</b> three</li></ul>x", "- one\n- two and three\n\nx\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<head><title>t</title><style>p {A: b}</style></head><body>x<script>1<2</script></body>", "x\n"),
        ('<img src="cid:1" alt="Our logo"> &amp; &uuml;&nbsp;&lt;b&gt;', "Our logo & ü\u00a0<b>\n"),
        ("<div>a</div><div><div>b</div></div>c", "a\nb\nc\n"),
        ("a <!-- hidden --> b", "a b\n"),
        ("no tags at all < 3", "no tags at all < 3\n"),
        ("a<!-- x > y --><!DOCTYPE html><?php x?>b", "ab\n"),
        (
            "<A TITLE=\"a > b, href='x'\" hREF = 'https://a.example/?a=1&amp;b=\"2\"'>go</A\n>",
            'go <https://a.example/?a=1&b="2">\n',
        ),
        ("<title>a < b</TITLE>c<style><p>x</p></style><b/>d <img alt=e>", "cd e\n"),
        ("seen <b title='never closed", "seen\n"),
    ],
)
def test_html_becomes_equivalent_text(html, text):
    """Words, lines, lists and links, with placeholders unchanged."""
    assert text_of(html) == text


@pytest.mark.parametrize(
    "html", [None, "", " \n\t", "<p></p>", "<html><body>&nbsp;<br></body></html>", "<style>a{}</style>", "<!-- x -->"]
)
def test_html_that_shows_nothing_counts_as_none(html):
    """Recipients never get an empty mail because of an empty last alternative: the text is the whole mail."""
    assert shows_nothing(html)
    assert texts(parse(compose(Content(subject="s", text="Hello.", html=html)))) == [("text/plain", "Hello.\n")]


@pytest.mark.parametrize("text", ["", " \n", "\u00a0"])
def test_a_blank_text_is_derived_from_the_html(text):
    """With its values; a picture alone is not an empty mail."""
    content = Content(subject="s", text=text, html='<p>Dear {NAME_1}</p><a href="{URL}">go</a>')
    [plain, html] = texts(parse(compose(content, {"NAME_1": "Zoë & Co", "URL": "https://a.example/?a=1&b=2"})))
    assert plain == ("text/plain", "Dear Zoë & Co\n\ngo <https://a.example/?a=1&b=2>\n")
    assert "Zoë &amp; Co" in html[1]
    assert not shows_nothing('<img src="https://a.example/x.png">')


@given(st.one_of(hostile, st.text("<>/!-&;ap='\" \n", max_size=40)))
def test_any_html_gives_some_text(html):
    """No input prevents the composition of a mail."""
    assert text_of(html).endswith("\n")


NEVER_CLOSED = (
    *("<", "<a", "<a href=", "<!--", "<!-- >", "<![", "<?", "</", "&", "&#", "<p>", "<script>", "</script", "<title>"),
    *('<a b="c>="', '<a "<a b="c>', "<x y='\" ", "<a/", "<a =", "{", " \n"),
)


@pytest.mark.parametrize("piece", NEVER_CLOSED)
@pytest.mark.parametrize("end", ["", ">", '">'])
def test_the_work_grows_with_the_html_and_no_faster(piece, end):
    """Nobody who writes the text of an invitation keeps a page or a worker busy for minutes by what is never closed."""
    few = piece * (4_000 // len(piece))
    assert growth(text_of, few + end, few * TIMES + end) < LINEAR


@pytest.mark.parametrize(("opens", "closes"), [("<a href=x>", "</a>"), ("<head>", "</template>"), ("<p>", "</p>")])
def test_the_work_grows_with_what_is_nested_and_no_faster(opens, closes):
    """Elements in elements, however deep, are no way to it either."""
    few, many = (opens * number + closes * number for number in (500, 500 * TIMES))
    assert growth(text_of, few, many) < LINEAR
