import pytest

from outskirts.benchmarking.jobs import plan
from outskirts.benchmarking.method_runs import all_method_runs
from outskirts.benchmarking.run_job import run_job
from outskirts.data.benchmark import load_benchmark
from outskirts.evaluation.results import MEAN, Results


@pytest.fixture(scope="module")
def there(bench, tmp_path_factory):
    out = tmp_path_factory.mktemp("contenders")
    jobs = plan(load_benchmark(bench), ["ce", "logitnorm"], [0, 1], out, detectors=["msp", "energy", "react"])
    for job in jobs[:3]:
        assert run_job(job) == ""
    return jobs, all_method_runs(jobs)


def test_runs_by_method(there):
    _, found = there
    assert [(one.label, list(one.runs)) for one in found] == [("ce", [0, 1]), ("logitnorm", [0])]
    assert found[0].detectors == ["msp", "energy", "react"] and found[0].minutes > 0


def test_results_are_those_of_the_parameters_chosen(there):
    jobs, found = there
    for detector in ("msp", "react"):
        for group, dataset in (("near", "flies"), ("far", "fog")):
            expected = []
            for job in jobs[0], jobs[2]:
                results = Results.load(job.folder)
                chosen = max((r for r in results.tuning if r.detector == detector), key=lambda row: row.auroc).params
                expected += [
                    row.auroc
                    for row in results.rows
                    if (row.detector, row.params, row.dataset) == (detector, chosen, dataset)
                ]
            sets = found[0].results(detector)[group]
            assert [row.auroc for row in sets[dataset]] == expected and len(expected) == 2
            # A group of one set has no average of its own.
            assert MEAN not in sets and found[0].means(detector)[group] == sets[dataset]
