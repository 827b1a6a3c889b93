"""What the BentoML server is told."""

from itertools import pairwise

import pytest
import yaml

from serinus.core.render import ReservedField
from serinus.core.render.bentoml import duration_buckets
from tests.unit.core.render.resources import environment, options


def test_the_settings_become_options_of_every_service():
    given = {"serving": {"bentoml": {"workers": 2, "requestTimeoutSeconds": 20, "maxConcurrency": 32}}}
    found = dict(options(given))

    assert found["services.workers"] == "2"
    assert found["services.traffic.timeout"] == "20"
    assert found["services.traffic.max_concurrency"] == "32"


def test_what_is_not_set_is_left_to_bentoml_but_for_the_timeout_that_route_and_grace_period_follow():
    assert [key for key, _ in options()] == ["services.traffic.timeout", "services.metrics.duration.buckets"]
    assert dict(options())["services.traffic.timeout"] == "60"


def test_buckets_are_floats_to_a_yaml_reader():
    buckets = yaml.safe_load(dict(options())["services.metrics.duration.buckets"])

    assert all(type(bound) is float for bound in buckets)
    assert buckets == [float(bound) for bound in duration_buckets(60)]


@pytest.mark.parametrize("timeout_seconds", [1, 60, 61, 300, 3600, 31_536_000])
def test_buckets_rise_by_a_quarter_at_most_from_5_ms_to_the_timeout(timeout_seconds: int):
    bounds = duration_buckets(timeout_seconds)
    dense = [bound for bound in bounds if bound >= duration_buckets(60)[4]]

    assert list(bounds) == sorted(set(bounds))
    assert float(dense[0]) == 0.005
    assert max(later / earlier for earlier, later in pairwise(dense)) <= 1.25
    assert bounds[-1] >= min(max(60, timeout_seconds), 3600)


@pytest.mark.parametrize(
    "threshold_ms", [5, 10, 20, 50, 100, 150, 200, 250, 300, 400, 500, 750, 800, 1000, 1500, 2000, 5000]
)
def test_round_thresholds_are_bounds_themselves(threshold_ms: int):
    assert threshold_ms in [bound * 1000 for bound in duration_buckets(60)]


def test_a_users_options_are_kept_and_serinus_own_come_last():
    own = {"name": "BENTOML_CONFIG_OPTIONS", "value": "services.Digits.workers=4 services.traffic.timeout=5"}
    found = options({"serving": {"env": [own]}})

    assert found[:2] == [("services.Digits.workers", "4"), ("services.traffic.timeout", "5")]
    assert dict(found)["services.traffic.timeout"] == "60"


def test_options_from_elsewhere_are_refused_because_they_cannot_be_joined():
    given = {"name": "BENTOML_CONFIG_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}}
    with pytest.raises(ReservedField, match="give it as a value") as refused:
        environment({"serving": {"env": [given]}})

    assert refused.value.path == "spec.serving.env[BENTOML_CONFIG_OPTIONS]"


def test_the_port_is_told_to_bentoml_and_has_no_second_source():
    assert environment({"serving": {"port": 8001}})["BENTOML_PORT"] == "8001"
    with pytest.raises(ReservedField, match=r"set spec\.serving\.port"):
        environment({"serving": {"env": [{"name": "BENTOML_PORT", "value": "8001"}]}})


def test_usage_tracking_and_gpu_allocation_are_off_in_the_words_that_bentoml_understands():
    assert environment()["BENTOML_DO_NOT_TRACK"] == "True"
    assert environment()["BENTOML_DISABLE_GPU_ALLOCATION"] == "1"


def test_a_users_variable_replaces_the_default_of_the_same_name():
    found = environment(
        {"serving": {"env": [{"name": "BENTOML_HOME", "value": "/scratch"}, {"name": "A", "value": "b"}]}}
    )

    assert found["BENTOML_HOME"] == "/scratch"
    assert found["A"] == "b"
