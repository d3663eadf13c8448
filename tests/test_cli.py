"""The command line as a whole: quick to answer, one sentence for what is wrong."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import outskirts as osk
from outskirts import cli
from outskirts.__about__ import ISSUES
from outskirts.errors import OutskirtsError

HEAVY = ("torch", "numpy", "torchvision", "tyro", "rich", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        f"import sys; from outskirts.cli import main; main({arguments}); "
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stderr == "[]\n"
    assert found.stdout.startswith("outskirts " if "--version" in arguments else "usage: outskirts COMMAND")


def test_help_names_every_command(outskirts):
    outcome = outskirts("--help")
    assert outcome.code == 0
    for command, what in cli.COMMANDS.items():
        assert f"  {command} " in outcome.out and what in outcome.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "ce", "--data", "x", "--init", ""], "--init has an empty value"),
        (["train", "ce", "--data", "x", "--init="], "--init has an empty value"),
        (["predict", "guard", " "], "One word is empty"),
    ],
)
def test_an_empty_word_is_not_as_if_nothing_were_given(outskirts, words, told):
    outcome = outskirts(*words)
    assert outcome.code == 2 and told in outcome.err


def test_the_version(outskirts):
    assert outskirts("--version").out == f"outskirts {osk.__version__}\n"


@pytest.mark.parametrize("chosen", [None, "0"])
def test_torch_is_asked_for_large_pages_unless_the_user_chose(outskirts, monkeypatch, chosen):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", chosen or "")
    if chosen is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    outskirts("list", "--help")
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == (chosen or "1")


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(outskirts, command):
    outcome = outskirts(command, "--help")
    assert outcome.code == 0
    assert f"usage: outskirts {command}" in outcome.out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_an_unknown_option_is_exit_code_2(outskirts, command):
    first = {
        "train": ["ce"],
        "synthesize": ["ce"],
        "evaluate": ["ce"],
        "extract": ["photos"],
        "benchmark": ["mnist5k"],
        "report": ["run"],
        "import": ["cider", "a.pt"],
        "export": ["guards/photos", "--out", "made.onnx"],
        "guard": ["runs/photos", "--calibrate", "folder:photos", "--out", "made"],
        "monitor": ["guards/photos", "verdicts.csv"],
        "predict": ["guards/photos", "new.png"],
    }.get(command, [])
    outcome = outskirts(command, *first, "--no-such-option", "1")
    assert outcome.code == 2
    assert "--no-such-option" in outcome.err


def test_an_unknown_command_names_the_nearest(refused):
    assert "no command 'evalute'; did you mean 'evaluate'" in refused("evalute")


def test_an_error_s_exit_code_is_its_own(outskirts, monkeypatch):
    class Stopped(OutskirtsError):
        exit_code = 130

    def stop(arguments):
        raise Stopped("Stopped.")

    monkeypatch.setattr("outskirts.commands.list.main", stop)
    outcome = outskirts("list")
    assert (outcome.code, outcome.err) == (130, "outskirts: Stopped.\n")


def test_an_interrupt_is_exit_code_130(outskirts, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("outskirts.commands.list.main", interrupt)
    outcome = outskirts("list")
    assert (outcome.code, outcome.err) == (130, "outskirts: interrupted.\n")


def test_what_may_not_be_read_is_one_sentence(refused, monkeypatch):
    def forbid(arguments):
        raise PermissionError(13, "Permission denied", "secret.png")

    monkeypatch.setattr("outskirts.commands.list.main", forbid)
    assert refused("list") == "outskirts: secret.png cannot be read: permission denied."


def test_faults_are_reported_where_the_package_says():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Issues"] == ISSUES


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory_is_one_sentence(refused, monkeypatch, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr("outskirts.commands.list.main", fail)
    assert "there is not enough memory; choose smaller batches" in refused("list")


def test_sigterm_ends_a_command_by_an_exception(outskirts, monkeypatch):
    undone = []

    def stopped(arguments):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            undone.append("undone")

    monkeypatch.setattr("outskirts.commands.list.main", stopped)
    outcome = outskirts("list")
    assert (outcome.code, undone) == (143, ["undone"])
    assert outcome.err == "outskirts: stopped by SIGTERM. What is finished is kept.\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_a_pipe_that_is_closed_ends_it_quietly(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "outskirts", *arguments]
    found = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert found.stderr == "" and found.returncode in (1, 141)


def test_the_module_runs():
    found = subprocess.run([sys.executable, "-m", "outskirts", "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == f"outskirts {osk.__version__}\n"


def test_a_reader_that_leaves_is_no_defect():
    program = "import sys; from outskirts.cli import main; print(flush=True); sys.stdin.read(); main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, "train", "ce", "--help"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_says_results_alone(flag, bugs, small, outskirts, tmp_path):
    arguments = ["--epochs", 1, "--batch-size", 8, "--device", "cpu", "--precision", "fp32"]
    loud = outskirts("train", "ce", "--data", bugs / "train", "--out", tmp_path / "loud", *arguments)
    quiet = outskirts("train", flag, "ce", "--data", bugs / "train", "--out", tmp_path / "quiet", *arguments)
    assert "Trained" in loud.err and quiet.code == 0 and quiet.err == ""
    assert "Trained" in outskirts("train", "ce", "--data", bugs / "train", "--out", tmp_path / "again", *arguments).err


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (["benchmark", "list"], "mnist5k: Digits"),
        (["benchmark", "show", "cifar10"], "source: OpenOOD v1.5"),
        (["data", "fetch", "list"], "usps: "),
        (["list", "detectors"], "relative_mahalanobis"),
    ],
)
def test_quiet_keeps_results(arguments, result, outskirts):
    quiet = outskirts("-q", *arguments)
    assert quiet.code == 0 and result in quiet.out and quiet.err == ""
    assert outskirts(*arguments).out == quiet.out


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_says_where_an_error_arose(flag, outskirts):
    plain, more = outskirts("train", "cee", "--data", "x"), outskirts("train", "cee", "--data", "x", flag)
    assert plain.err.count("\n") == 1 and "Traceback" not in plain.err
    assert more.code == 2 and "Traceback" in more.err and more.err.endswith(plain.err)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completions_know_every_command_and_its_options(shell, outskirts):
    script = outskirts("--print-completion", shell).out
    for word in (*cli.COMMANDS, "ascood", "--data", "embed", "--per-class", "fetch", "boundary"):
        assert word in script, word
    assert "did you mean 'zsh'" in outskirts("--print-completion", "zhs").err
    assert "Name the shell" in outskirts("--print-completion").err


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """What bash offers after some words."""
    script = tmp_path_factory.mktemp("completion") / "outskirts.bash"
    made = subprocess.run(
        [sys.executable, "-m", "outskirts", "--print-completion", "bash"], capture_output=True, text=True, check=True
    )
    script.write_text(made.stdout)

    def complete(line):
        program = (
            f"source {script}; COMP_WORDS=(outskirts {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
            'COMPREPLY=(); _tyro_outskirts; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        found = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
        return found.stdout.split("\n")[:-1]

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("list m", ["methods"]),
        ("data fetch tiny", ["tinyimagenet"]),
        ("synthesize asc", ["ascood"]),
        ("synthesize ncis e", ["embed"]),
        ("synthesize ncis --emb", ["--embedding-batch-size"]),
        ("benchmark cifar10-q", ["cifar10-quick"]),
        ("benchmark --m", ["--methods"]),
        ("benchmark show mni", ["mnist5k"]),
        ("import open", ["openood"]),
        ("train ce --pre", ["--preset", "--pretrained", "--precision"]),
        ("train ce --qui", ["--quiet"]),
        ("--ver", ["--verbose", "--version"]),
    ],
)
def test_bash_offers_what_may_follow(completed, line, offered):
    assert completed(line) == offered


@pytest.mark.parametrize("line", ["''", "train ''", "train ascood --", "import ''", "benchmark ''", "synthesize id --"])
def test_words_are_offered_and_no_descriptions(completed, line):
    words = completed(line)
    assert len(words) > 8 and all(re.fullmatch(r"-?-?[a-z0-9][a-z0-9-]*", word) for word in words)


def broken(arguments):
    raise KeyError("a fault\nof two lines")


def test_a_fault_is_one_sentence_and_a_file(outskirts, monkeypatch):
    monkeypatch.setattr("outskirts.commands.list.main", broken)
    outcome = outskirts("list", "methods", "two words")
    assert outcome.code == 70 and outcome.err.count("\n") == 1 and "Traceback" not in outcome.err
    assert "a fault of outskirts stopped this command (KeyError: 'a fault\\nof two lines')" in outcome.err
    assert "Please report it at https://" in outcome.err
    file = Path(re.search(r"The details are in (\S+\.txt)\.", outcome.err)[1])
    try:
        assert "Traceback" in file.read_text() and "outskirts list methods 'two words'" in file.read_text()
    finally:
        file.unlink()


def test_a_fault_is_shown_to_who_asks(outskirts, monkeypatch):
    monkeypatch.setattr("outskirts.commands.list.main", broken)
    monkeypatch.setenv("OUTSKIRTS_DEBUG", "1")
    with pytest.raises(KeyError):
        outskirts("list")


def test_a_reader_that_has_seen_enough_is_no_fault():
    command = f"{sys.executable} -m outskirts list detectors | head -1"
    found = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert found.returncode in (0, 141) and found.stderr == ""


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--versoin", "--version"),
        ("benchmark shw", "show"),
        ("benchmark cifar1", "cifar10"),
        ("data fetch cifr10", "cifar10"),
        ("train ce --data foldr:photos/train", "folder"),
    ],
)
def test_a_mistyped_word_is_told_what_was_meant(outskirts, line, meant):
    found = outskirts(*line.split())
    assert found.code == 2 and f"did you mean '{meant}'" in found.err
    known = found.err.partition("Known: ")[2].rstrip(".\n").split(", ")
    assert len(known) == len(set(known))
