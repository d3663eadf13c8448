from html.parser import HTMLParser

from outskirts.notebook import table


def test_nothing_is_markup_but_the_table():
    html = table("<b>", [("<i>", "a\nb", 3)], header=["<u>"], notes=["<script>"], picture=b"png")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)
    parser.feed(html)
    assert set(tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "br", "div", "img"}
    assert "data:image/png;base64,cG5n" in html and "a<br>b" in html


def test_what_is_not_there_is_left_out():
    html = table("nothing", [])
    assert "<thead>" not in html and "<img" not in html and "<div" not in html
