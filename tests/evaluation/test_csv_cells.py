import csv
from dataclasses import fields, replace

import pytest

from outskirts.evaluation.csv_cells import guarded, unguarded
from outskirts.evaluation.results import Result, Results

HARMFUL = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "\rx", "'=x", "''=x", "-1+cmd|' /C calc'!A0"]
HARMLESS = ["ce", "", "'tis", "a=b", "1", " =x"]


@pytest.mark.parametrize("text", [*HARMFUL, *HARMLESS, "-1", "+2"])
def test_reading_gives_the_text_again(text):
    assert unguarded(guarded(text)) == text


def test_only_what_a_spreadsheet_would_run_is_changed():
    assert all(guarded(text) == guarded(text, numbers=True) == f"'{text}" for text in HARMFUL)
    assert all(guarded(text) == text for text in HARMLESS)


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-3", "+2.0 (p < 0.001)", "-0.4 (p 0.042)"])
def test_numbers_stay_numbers(number):
    assert guarded(number, numbers=True) == number


def test_a_table_of_results_holds_no_formula_and_reads_as_it_was(tmp_path):
    blank = {field.name: -0.5 for field in fields(Result)} | {"seed": -1, "n_id": 2, "n_ood": 3, "params": "{}"}
    row = Result(**blank | {"run": "=1+1", "method": "@x", "detector": "-x", "group": "+g", "dataset": "-5"})
    results = Results((row, replace(row, run="'=x", id_accuracy=None)))
    results.save(tmp_path)
    assert Results.load(tmp_path).rows == results.rows
    with (tmp_path / "results.csv").open(newline="") as file:
        _, first, _ = csv.reader(file)
    assert first[:4] == ["'=1+1", "'@x", "-1", "'-x"] and first[5:7] == ["'+g", "'-5"] and first[9] == "-0.5"
