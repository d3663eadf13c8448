"""The files of the page; what they do in a browser is in test_page_in_browser.py."""

import re
from itertools import product
from pathlib import Path
from unittest.mock import Mock

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient

import outskirts.serving
from outskirts.serving.app import make_app
from outskirts.serving.options import Limits

FOLDER = Path(outskirts.serving.__file__).with_name("page")
PAGE, SCRIPT, STYLE = ((FOLDER / name).read_text() for name in ("index.html", "page.js", "page.css"))


@pytest.mark.parametrize(
    "address, kind", [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]
)
def test_each_file_is_served_with_a_policy_that_lets_nothing_in(address, kind):
    answer = TestClient(make_app(Mock(limits=Limits()), key="secret")).get(address)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "*" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_asks_no_other_host_and_has_nothing_inline():
    for text in (PAGE, SCRIPT, STYLE):
        assert not re.search(r"https?:|//\w+\.|@import|url\(", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script[^>]*>[^<]", PAGE)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPT)


def test_what_the_script_asks_for_is_in_the_page():
    identifiers = re.findall(r'\bid="([^"]+)"', PAGE)
    assert len(identifiers) == len(set(identifiers))
    asked = set(re.findall(r'(?:byId|say)\("([^"]+)"', SCRIPT)) | {f"icon-{name}" for name in _verdicts()}
    references = set(re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', PAGE))
    assert len(asked) > 20 and asked | references <= set(identifiers)


def _verdicts():
    return re.findall(r"^  (\w+): \[", SCRIPT.split("const SAID = {")[1].split("};")[0], re.MULTILINE)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_told_from_what_is_behind_it(theme):
    roots = re.findall(r":root \{([^}]+)\}", STYLE)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", roots[["light", "dark"].index(theme)]))
    texts = ("ink", "quiet", "accent", "accepted", "rejected", "warn-rule")
    pairs = [*product(texts, ("page", "card")), ("ink", "warn"), ("ink", "tint"), ("on-accent", "accent")]
    for text, behind in pairs:
        assert _contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for shape, behind in product(("edge", "bar"), ("page", "card")):
        assert _contrast(colours[shape], colours[behind]) >= 3, (shape, behind)


def _contrast(one, other):
    """Of WCAG 2.2, from 1 to 21."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour):
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))
