"""Settings: what the "crln" block of the plans may hold, and what a mistake in it says."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.settings import CRLNSettings

FIELDS = dataclasses.fields(CRLNSettings)
NAMES = [field.name for field in FIELDS]
NULLABLE = {
    "ema_decay",
    "rectification_start",
    "ramp_up",
    "unsupervised_start",
    "unlabelled_batch_size",
    "seed",
    "refresh_every",
    "refresh_max_share",
}
CHOICES = {
    "aggregation": ("linear", "nonlinear"),
    "rectification": ("auto", "image", "learned", "fixed", "concat", "agreement"),
    "pseudo_label_loss": ("auto", "nnunet", "cross_entropy"),
    "memory_format": ("auto", "contiguous", "channels_last"),
    "cpu_bfloat16": ("auto", True, False),
    "class_thresholds": ("auto", True, False),
    "cps_balance": ("none", "log_negatives", "gradient"),
    "cps_positive": ("both", "mean", "prototype"),
    "representation_kernel": (1, 3),
    "strong_intensity": ("wide", "nnunet", "noise", "none"),
    "deploy": ("teacher", "student"),
}
SHARES = {
    "confidence_threshold",
    "copy_paste_probability",
    "disagreement_weight",
    "histogram_matching",
    "ema_decay",
    "cutmix_probability",
    "mu_initial",
    "refresh_max_share",
} | {
    "anchor_uncertainty",
    "cps_confidence",
}
POSITIVE = {"cutmix_alpha", "cps_temperature"}


def of(**block) -> CRLNSettings:
    return CRLNSettings.from_plans({"crln": block})


def allowed_values(field: dataclasses.Field) -> st.SearchStrategy:
    """Values of one setting, from what the documentation says of it and not from the checks."""
    if field.name in CHOICES:
        return st.sampled_from(CHOICES[field.name])
    if isinstance(field.default, bool):
        return st.booleans()
    if field.name in ("ema_decay", "refresh_max_share"):
        return st.floats(0, 1) | st.none()
    if isinstance(field.default, float):
        if field.name in SHARES:
            return st.floats(0, 1) | st.sampled_from([0, 1])
        low = 0.001 if field.name in POSITIVE else 0
        return st.floats(low, 100) | st.integers(math.ceil(low), 100)
    integers = st.integers(1, 10_000)
    return integers | st.none() if field.name in NULLABLE else integers


@pytest.mark.parametrize("configuration", [{}, {"crln": {}}, {"patch_size": [8, 8, 8], "batch_size": 2}])
def test_without_a_block_the_defaults_hold(configuration):
    assert CRLNSettings.from_plans(configuration) == CRLNSettings()


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("consistency_weight", 1.0),
        ("ema_decay", 0.99),
        ("class_thresholds", False),
        ("copy_paste_probability", 0.0),
        ("relationship_map_weight", 1.0),
        ("anchor_uncertainty", 0.97),
        ("cps_confidence", 0.7),
        ("cps_temperature", 0.5),
        ("num_anchors", 256),
        ("num_negatives", 512),
        ("cutmix_alpha", 4.0),
        ("mu_initial", 0.0),
        ("prototype_weight", 0.6),
        ("num_prototypes", 16),
    ],
)
def test_defaults_that_are_the_articles(key, default):
    assert getattr(CRLNSettings(), key) == default


@hypothesis_settings(max_examples=150)
@given(data=st.data())
def test_any_allowed_block_survives_a_round_trip_through_the_plans_file(data):
    chosen = data.draw(st.lists(st.sampled_from(FIELDS), unique_by=lambda field: field.name))
    block = {field.name: data.draw(allowed_values(field), label=field.name) for field in chosen}
    if block.get("aggregation") == "nonlinear":
        for switch in ("spatial_awareness", "integration", "shared_classes"):
            block.pop(switch, None)
    if block.get("relationship_map_weight") == 0:
        block["dim"] = False
    if block.get("cps_positive") == "prototype" and not block.get("dim", True):
        block["cps"] = False
    settings = CRLNSettings.from_plans(json.loads(json.dumps({"crln": block})))
    assert dataclasses.asdict(settings) == {**dataclasses.asdict(CRLNSettings()), **block}
    assert of(**json.loads(json.dumps(dataclasses.asdict(settings)))) == settings


@pytest.mark.parametrize("block", [None, [], "cps_weight", 3])
def test_a_block_that_is_no_dictionary_is_refused(block):
    with pytest.raises(UserError, match="expected a dictionary of settings, found"):
        CRLNSettings.from_plans({"crln": block})


@pytest.mark.parametrize(("key", "meant"), [("cps_wieght", "cps_weight"), ("num_prototype", "num_prototypes")])
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(key, meant):
    with pytest.raises(UserError, match=rf"unknown key '{key}'\. Did you mean {meant}\?"):
        of(**{key: 1})


def test_an_unknown_key_like_no_other_is_refused_with_all_that_exist():
    with pytest.raises(UserError, match=r"unknown key 'zzzz'\. Known keys: dim, cps, .*save_every"):
        of(zzzz=1)


WRONG_TYPES = {
    bool: [0, 1, "true", 1.0, None, []],
    int: [True, "16", 16.0, 2.5, [16], {}],
    float: [True, False, "0.5", None, [0.5]],
    str: [True, 1, None, "", "Linear", ["linear"]],
}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_value_of_the_wrong_type_is_refused_by_name(field):
    for value in WRONG_TYPES[type(field.default) if field.default is not None else int]:
        if any(value is choice for choice in CHOICES.get(field.name, ())) or (value is None and field.name in NULLABLE):
            continue
        with pytest.raises(UserError, match=rf'"crln" block of the plans: {field.name} is .*, expected '):
            of(**{field.name: value})


@pytest.mark.parametrize("field", [f for f in FIELDS if f.name not in NULLABLE], ids=lambda field: field.name)
def test_null_is_refused_where_no_value_stands_for_it(field):
    with pytest.raises(UserError, match=f"{field.name} is None"):
        of(**{field.name: None})


@pytest.mark.parametrize("name", sorted(NULLABLE))
def test_null_stands_for_what_the_training_decides(name):
    assert getattr(of(**{name: None}), name) is None


@pytest.mark.parametrize("field", [f for f in FIELDS if isinstance(f.default, float)], ids=lambda field: field.name)
@pytest.mark.parametrize("value", [-0.01, -1, math.nan, math.inf, -math.inf])
def test_numbers_that_are_negative_or_not_finite_are_refused(field, value):
    with pytest.raises(UserError, match=f"{field.name} is {value}, expected a number"):
        of(**{field.name: value})


@pytest.mark.parametrize("name", sorted(SHARES))
def test_a_share_above_1_is_refused(name):
    with pytest.raises(UserError, match=rf"{name} is 1\.01, expected a number in \[0, 1\]"):
        of(**{name: 1.01})


@pytest.mark.parametrize(("name", "value"), [(n, 0) for n in sorted(POSITIVE)] + [("representation_kernel", 2)])
def test_values_just_outside_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} is {value}, expected (a number > 0|1 or 3)"):
        of(**{name: value})


@pytest.mark.parametrize("name", ["num_prototypes", "num_anchors", "num_negatives", "unlabelled_batch_size"])
def test_counts_start_at_1(name):
    assert getattr(of(**{name: 1}), name) == 1
    with pytest.raises(UserError, match=f"{name} is 0, expected an integer >= 1"):
        of(**{name: 0})


@pytest.mark.parametrize("name", ["rectification_start", "ramp_up", "unsupervised_start", "seed"])
def test_iterations_and_seeds_start_at_0(name):
    assert getattr(of(**{name: 0}), name) == 0
    with pytest.raises(UserError, match=f"{name} is -1, expected an integer >= 0 or null"):
        of(**{name: -1})


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_every_choice_is_taken_and_the_message_lists_them(name):
    for choice in CHOICES[name]:
        assert getattr(of(**{name: choice}), name) == choice
    with pytest.raises(UserError) as error:
        of(**{name: "other"})
    named = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in CHOICES[name]]
    assert all(choice in str(error.value) for choice in named)


@pytest.mark.parametrize("switch", ["spatial_awareness", "integration", "shared_classes"])
def test_ablation_switches_need_the_linear_aggregation(switch):
    assert getattr(of(**{switch: False}), switch) is False
    with pytest.raises(UserError, match='switched off with "aggregation": "linear" only'):
        of(aggregation="nonlinear", **{switch: False})


def test_a_map_that_would_learn_nothing_is_refused():
    assert of(relationship_map_weight=0, dim=False).relationship_map_weight == 0
    with pytest.raises(UserError, match=r'relationship_map_weight is 0, .*set "dim": false'):
        of(relationship_map_weight=0)


def test_a_positive_of_prototypes_alone_needs_prototypes():
    assert of(cps_positive="prototype", dim=False, cps=False).cps_positive == "prototype"  # a mean teacher's block
    with pytest.raises(UserError, match=r"""is 'prototype', expected .* Set "cps_positive": "mean", or "dim": true"""):
        of(cps_positive="prototype", dim=False)


def test_what_a_variant_fixes_wins_over_the_block():
    settings = CRLNSettings.from_plans({"crln": {"cps": True, "num_prototypes": 4}}, cps=False)
    assert settings.cps is False
    assert settings.num_prototypes == 4


def test_what_a_variant_fixes_is_checked_too():
    with pytest.raises(UserError, match="cps is 0"):
        CRLNSettings.from_plans({}, cps=0)


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CRLNSettings().cps_weight = 1.0


def test_the_block_is_not_changed():
    block = {"cps_weight": 0.5}
    CRLNSettings.from_plans({"crln": block}, cps=False)
    assert block == {"cps_weight": 0.5}
