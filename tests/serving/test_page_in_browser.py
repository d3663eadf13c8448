"""The page in Chromium: what people give, and what they read."""

import base64
import json
import shutil
import time
from urllib.parse import urlsplit

import pytest

import outskirts as osk

webdriver = pytest.importorskip("selenium.webdriver")
for needed in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no Chromium with its chromedriver"),
]

#: Seconds that anything on the page takes, at most.
PATIENCE = 60
#: Makes an event of files, given as pairs of name and base64.
GIVE = """
const [kind, files] = arguments;
const carried = new DataTransfer();
for (const [name, content] of files) {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  carried.items.add(new File([bytes], name, { type: "image/png" }));
}
const common = { bubbles: true, cancelable: true };
document.getElementById("drop").dispatchEvent(kind === "paste"
  ? new ClipboardEvent("paste", { ...common, clipboardData: carried })
  : new DragEvent(kind, { ...common, dataTransfer: carried }));
"""


class Page:
    """The page as people see it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get(address)
        self.wait(lambda: self.text("heading") != "Guard" or self.one("key-form").is_displayed())

    def wait(self, done):
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, self.driver.find_element("tag name", "body").text
            time.sleep(0.05)

    def one(self, identifier):
        return self.driver.find_element("id", identifier)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, identifier):
        return self.one(identifier).text

    def give(self, kind, files):
        """Drop or paste files."""
        content = [(file.name, base64.b64encode(file.read_bytes()).decode()) for file in files]
        self.driver.execute_script(GIVE, kind, content)

    def choose(self, files):
        """Give files to the input, as the window of the browser does."""
        self.one("files").send_keys("\n".join(map(str, files)))

    def cards(self, count):
        """The texts of so many cards, when each has a verdict."""
        done = "#verdicts > li:not([data-verdict=waiting])"
        self.wait(lambda: len(self.all(done)) == count and "Checking" not in self.text("status"))
        return [card.text for card in self.all(done)]

    def tab(self):
        """Go to the next element by keyboard; returns its id or text."""
        webdriver.ActionChains(self.driver).send_keys(webdriver.Keys.TAB).perform()
        at = self.driver.switch_to.active_element
        return at.get_attribute("id") or at.text


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    # The tab that it begins with asks for pages of the browser's own.
    driver.get("about:blank")
    yield driver
    driver.quit()


@pytest.fixture
def page(driver):
    """The page, which asks nothing of other hosts and has no error."""
    driver.get_log("browser"), driver.get_log("performance")
    yield Page(driver)
    # What the browser says of an answer with another status than 200 is no error of the page.
    said = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [one for one in said if "the server responded with a status of 4" not in one] == []
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    assert urls and {urlsplit(url).hostname for url in urls if not url.startswith(("data:", "blob:"))} == {"127.0.0.1"}


@pytest.fixture(scope="session")
def three(bugs):
    return [bugs / "test" / "ant" / "0.png", bugs / "test" / "bee" / "1.png", bugs / "flies" / "fly" / "2.png"]


@pytest.fixture(scope="session")
def expected(kept, three):
    return list(osk.Guard.load(kept).predict(list(map(str, three))))


@pytest.mark.parametrize("way", ["drop", "input"])
def test_three_images_get_the_verdicts_of_the_guard(page, server, three, expected, way):
    page.open(server)
    page.choose(three) if way == "input" else page.give("drop", three)
    cards = page.cards(3)
    for card, file, verdict in zip(cards, three, expected, strict=True):
        lines = card.splitlines()
        assert lines[:2] == ["Accepted" if verdict.accepted else "Rejected", file.name]
        assert f"Predicted class: {verdict.label}, {100 * verdict.confidence:.1f}% sure" in card
        high = round(verdict.p_value * 81) - 1
        words = f"{high} of 80 calibration images" if high else "None of 80 calibration images"
        assert words in card and f"(p = {verdict.p_value:.2g})" in card.replace("\u00a0", " ")
    accepted = sum(verdict.accepted for verdict in expected)
    assert 0 < accepted < 3
    assert page.text("status") == f"3 images: {accepted} accepted, {3 - accepted} rejected"
    charts = [chart.accessible_name for chart in page.all(".histogram")]
    for chart, verdict in zip(charts, expected, strict=True):
        assert ("not above the threshold" in chart) == verdict.accepted
    assert [picture.get_attribute("alt") for picture in page.all(".verdict > img")] == [file.name for file in three]
    page.wait(lambda: page.text("drift-sentence").startswith("Of "))
    page.one("clear").click()
    assert page.all("#verdicts > li") == [] and page.text("status") == ""


def test_an_image_is_pasted(page, server, three):
    page.open(server)
    page.give("paste", three[:1])
    (card,) = page.cards(1)
    assert three[0].name in card
    page.give("paste", three[1:])
    assert "1.png" in page.cards(3)[0], "the latest come first"


def test_a_file_that_is_no_image_is_told_beside_the_others(page, server, three, tmp_path):
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_bytes(b"no image")
    page.open(server)
    page.give("drop", [three[0], broken, three[1]])
    first, second, third = page.cards(3)
    assert second.splitlines()[:2] == ["No verdict", broken.name] and "cannot be decoded" in second
    assert "No verdict" not in first + third
    assert "1 without verdict" in page.text("status")
    page.one("clear").click()
    page.give("drop", [broken])
    assert "cannot be decoded" in page.cards(1)[0]


def test_many_images_go_in_groups(page, server, bugs):
    files = sorted((bugs / "train").rglob("*.png"))
    page.open(server)
    page.give("drop", files)
    assert len(page.cards(len(files))) == len(files) == 40
    sent = page.driver.execute_script(
        "return performance.getEntriesByType('resource').filter(({ name }) => name.includes('/predict?')).length"
    )
    assert sent == 3


def test_all_is_reached_by_keyboard_and_named_for_screen_readers(page, server, three):
    page.open(server)
    assert page.tab() == "files"
    assert "Choose images" in page.one("files").accessible_name
    page.driver.execute_script(
        "document.getElementById('files').addEventListener('click', (event) => {"
        " event.preventDefault(); window.opened = true; })"
    )
    webdriver.ActionChains(page.driver).send_keys(webdriver.Keys.ENTER).perform()
    assert page.driver.execute_script("return window.opened")
    page.give("drop", three)
    page.cards(3)
    folded = ["How to read the cards", "What is not promised", "Use it from a program"]
    order = ["clear", *folded, "API", "OpenAPI document", "Metrics"]
    assert [page.tab() for _ in order] == order
    page.one("clear").send_keys(webdriver.Keys.ENTER)
    assert page.driver.switch_to.active_element.get_attribute("id") == "files"
    assert page.one("status").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone(page, server, three, theme, tmp_path):
    long = tmp_path / f"{'a_very_long_name_without_a_space' * 4}.png"
    shutil.copy(three[0], long)
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    features = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    try:
        page.open(server)
        page.give("drop", [*three, long])
        page.cards(4)
        for details in page.all("details"):
            page.driver.execute_script("arguments[0].open = true", details)
        assert page.driver.execute_script("return document.documentElement.scrollWidth") == 360
        behind = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert behind == {"light": "rgb(251, 250, 248)", "dark": "rgb(20, 23, 27)"}[theme]
        reached = page.all("a, button, select, summary, #drop, input[type=password]")
        small = [one.get_attribute("outerHTML") for one in reached if one.is_displayed() and one.size["height"] < 44]
        assert small == []
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_key_is_asked_for_and_a_busy_server_is_told(page, strict_server, three):
    page.open(strict_server)
    assert page.text("key-text") == "The server asks for a key."
    page.one("key").send_keys("wrong" + webdriver.Keys.ENTER)
    page.wait(lambda: page.text("key-text").startswith("This is not the key"))
    page.give("drop", three)
    page.wait(lambda: page.one("key-form").is_displayed())
    page.one("key").send_keys("opensesame" + webdriver.Keys.ENTER)
    page.wait(lambda: page.one("notice").is_displayed())
    assert "The server is busy. Try again in" in page.text("notice-text")
    assert "3 images still wait." in page.text("notice-text")
    page.one("again").click()
    page.wait(lambda: page.one("notice").is_displayed())
    page.one("clear").click()
    assert not page.one("notice").is_displayed()
    page.give("drop", three[:2])
    page.cards(2)
    near = [picture.accessible_name for picture in page.all("#verdicts > li:first-child .near img")]
    assert len(near) == 3 and all(name.startswith("Training image") for name in near)
    assert "opensesame" not in page.driver.current_url
