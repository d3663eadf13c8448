from outskirts import renamed


def test_options_of_a_training_as_version_0_1_wrote_them():
    now = {"batch_size": 8, "draws": 9, "prototype_init": "simplex", "ood_head": "linear", "val": None, "size": None}
    before = {"batch_size": 8, "draws": 9, "initial": "simplex", "risk": "linear", "val": "", "size": 0}
    assert renamed.as_before(now) == before


def test_what_was_not_given():
    now = {"val": None, "size": None, "real_weight": None, "preset": None, "epochs": 0}
    before = {"val": "", "size": 0, "real_weight": -1.0, "preset": None, "epochs": 0}
    assert renamed.unset_as_before(now) == before
    assert renamed.unset_as_now(before) == now
