"""The files of `deploy/` and the page on serving: what they name exists, and nothing is shown by mistake."""

import configparser
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
import yaml

from outskirts.commands.console import parse
from outskirts.commands.serve import Serve
from outskirts.serving.app import _FREE, _PROBLEMS, make_app
from outskirts.serving.metrics import Metrics
from outskirts.serving.options import Limits
from outskirts.serving.server import Place

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BOARD = json.loads((DEPLOY / "grafana/dashboards/outskirts.json").read_text(encoding="utf-8"))
YAML = {
    file.relative_to(DEPLOY).as_posix(): yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted(DEPLOY.rglob("*.y*ml"))
}
SERVICES = YAML["compose.yaml"]["services"]
SERVER = SERVICES["outskirts"]

#: Labels that Prometheus itself adds.
ADDED = {"instance", "job", "le"}


def unit():
    # Names may be given several times, so that the last one is kept.
    read = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes="#", delimiters="=")
    read.optionxform = str
    read.read(DEPLOY / "outskirts.service", encoding="utf-8")
    return read["Service"]


def dockerfile():
    """The instructions of the Dockerfile, each with the words after it."""
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def last(instruction):
    return [rest for name, rest in dockerfile() if name == instruction][-1]


def plain(words):
    """The words of a command of Compose, with the defaults of its variables."""
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words]


def known_metrics():
    """The labels of each name that a server exports."""
    metrics = Metrics()
    served = SimpleNamespace(name="photos", drift=lambda: {"e_value": 1.0, "alarm": False})
    metrics.request("/predict", 200, 0.1)
    metrics.batch(1, 0.1)
    metrics.rows(served, [{"accepted": False, "label": "ant"}])
    metrics.reload("photos", True)
    return {sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples}


def queries():
    """Each query of the rules and of the dashboard."""
    for group in YAML["prometheus/rules.yml"]["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in BOARD["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in BOARD["templating"]["list"][1:]:
        yield variable["name"], variable["definition"]


def test_queries_name_what_a_server_exports():
    known = known_metrics()
    for place, query in queries():
        named = re.findall(r"\boutskirts_\w+", query)
        assert set(named) <= set(known), place
        labels = re.findall(r"(\w+) *(?:=~|!=|!~|=)", " ".join(re.findall(r"{([^}]*)}", query)))
        labels += re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", query)))
        assert set(labels) <= ADDED.union(*(known[name] for name in named)), place


def test_the_page_names_all_metrics():
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in known_metrics()}
    named = set(re.findall(r"`(outskirts_\w+)`", PAGE))
    assert {name.removesuffix("_total") for name in named} == {name.removesuffix("_total") for name in families}


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(query for _, query in queries())
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in known_metrics()}
    assert {name for name in families if not re.search(rf"\b{name}", shown)} == set()


def test_panels_have_places_of_their_own():
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def commands():
    """The words after `outskirts serve` of each command line."""
    yield "Dockerfile", json.loads(last("CMD"))
    yield "compose", plain(SERVER["command"])
    yield "systemd", unit()["ExecStart"].replace("%S", "/var/lib").split()[2:]
    for line in re.findall(r"^outskirts serve (.*)$", PAGE, re.MULTILINE):
        yield line, shlex.split(line)


@pytest.mark.parametrize(("place", "words"), list(commands()))
def test_options_are_those_of_the_server(place, words):
    assert parse(Serve, "serve", words).guards


def test_the_page_has_every_option_and_its_default():
    rows = dict(re.findall(r"^\| `--([\w-]+)` \| (\S+) \|", PAGE, re.MULTILINE))
    shown = {None: "none", (): "none", False: "no"}
    assert rows == {
        field.name.replace("_", "-"): shown.get(field.default, f"`{field.default}`")
        for field in fields(Serve)
        if field.name != "guards"
    }


def test_the_page_has_every_status():
    assert re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE) == [str(status) for status in sorted(_PROBLEMS)]


def test_checks_ask_addresses_that_exist_and_need_no_key():
    service = SimpleNamespace(metrics=Metrics(), limits=Limits(), ending=Event())
    paths = make_app(service).openapi()["paths"]
    (asked,) = re.findall(r"http://127\.0\.0\.1:8000(/\w+)", last("HEALTHCHECK"))
    assert asked in paths and asked in _FREE
    (scrape,) = YAML["prometheus/prometheus.yml"]["scrape_configs"]
    assert scrape["metrics_path"] in paths and scrape["metrics_path"] not in _FREE
    assert scrape["authorization"]["credentials_file"] == "/run/secrets/api_key"
    assert "api_key" in SERVER["secrets"] and "api_key" in SERVICES["prometheus"]["secrets"]
    named = re.findall(r"^\| `(?:GET|POST) (/\w*)`", PAGE, re.MULTILINE)
    assert "/predict" in named and set(named) <= set(paths) | {"/"}


def test_the_server_has_time_to_end():
    drain = Place().drain
    assert int(SERVER["stop_grace_period"].removesuffix("s")) > drain + 10
    assert int(unit()["TimeoutStopSec"]) > drain + 10
    assert last("STOPSIGNAL") == SERVER["stop_signal"] == unit()["KillSignal"] == "SIGTERM"
    assert unit()["KillMode"] == "mixed", "the processes that compute end after the server, not before"


def test_nothing_is_published_beyond_the_machine():
    ports = {name: service["ports"] for name, service in SERVICES.items()}
    assert all(port.startswith("127.0.0.1:") for published in ports.values() for port in published)
    assert ports["outskirts"] == [f"127.0.0.1:{Serve.port}:{Serve.port}"] and last("EXPOSE") == str(Serve.port)
    assert YAML["prometheus/prometheus.yml"]["scrape_configs"][0]["static_configs"][0]["targets"] == [
        f"outskirts:{Serve.port}"
    ]
    for name, words in commands():
        assert parse(Serve, "serve", words).host == "127.0.0.1" or name in ("Dockerfile", "compose") or "cors" in name


def test_nobody_is_root():
    assert last("USER") == "10001:10001" and unit()["DynamicUser"] == "yes" and not unit()["CapabilityBoundingSet"]
    for service in SERVICES.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service.get("user") != "root"
        assert service["security_opt"] == ["no-new-privileges:true"] and service["tmpfs"]


def test_images_have_versions():
    images = [service["image"] for name, service in SERVICES.items() if name != "outskirts"]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images)
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-\w+", next(rest for name, rest in dockerfile() if name == "ARG"))


def test_files_that_are_mounted_exist():
    mounted = [entry for service in SERVICES.values() for entry in service["volumes"] if entry.startswith("./")]
    assert mounted and all((DEPLOY / entry.partition(":")[0]).is_dir() for entry in mounted)
    assert all((DEPLOY / "prometheus" / name).is_file() for name in YAML["prometheus/prometheus.yml"]["rule_files"])
    (provider,) = YAML["grafana/provisioning/dashboards/outskirts.yaml"]["providers"]
    assert any(entry.split(":")[1] == provider["options"]["path"] for entry in SERVICES["grafana"]["volumes"])
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert kept and all((ROOT / name).exists() for name in kept)
