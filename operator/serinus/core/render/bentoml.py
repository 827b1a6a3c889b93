"""What the BentoML server in the model's container is told: its environment.

Facts of BentoML 1.4 (`bentoml/_internal/configuration/containers.py`, `bentoml_cli/serve.py`) that the rendering rests
on: `BENTOML_CONFIG_OPTIONS` is split at white space into `key=<YAML>` pairs, the later one of two equal keys wins, and
`services.<key>` is the default of every service in the image; what a service's own decorator says wins over it.
`bentoml serve`, and so the entrypoint of images made by BentoML, takes its port from `BENTOML_PORT`.

Used by `serinus.core.render.pod_template`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from serinus.api import defaults
from serinus.api.serving import BentoML, Serving
from serinus.core.render.refusal import ReservedField

HOME: Final = "/var/lib/bentoml"
"""BentoML's writable directory. Not the image's own (`/home/bentoml`), where the service and its models lie, which an
empty volume would hide."""

PORT_VARIABLE: Final = "BENTOML_PORT"
OPTIONS_VARIABLE: Final = "BENTOML_CONFIG_OPTIONS"

_BELOW_5_MS: Final = tuple(Decimal(text) for text in ("0.001", "0.002", "0.003", "0.004"))
_MANTISSAS: Final = tuple(
    Decimal(text) for text in ("1", "1.25", "1.5", "1.75", "2", "2.5", "3", "3.5", "4", "5", "6", "7.5", "8")
)
_EXPONENTS: Final = range(-3, 4)
_DENSE_FROM: Final = Decimal("0.005")
_ALWAYS_UP_TO: Final = Decimal(60)
_NEVER_ABOVE: Final = Decimal(3600)


def request_timeout_seconds(bentoml: BentoML | None) -> int:
    """Seconds after which a request is answered with 504."""
    timeout = bentoml.request_timeout_seconds if bentoml else None
    return defaults.REQUEST_TIMEOUT_SECONDS if timeout is None else timeout


def duration_buckets(timeout_seconds: int) -> tuple[Decimal, ...]:
    """Bounds in seconds of the request duration histogram, rising.

    From 5 ms on no bound is more than 1.25 times the one before, and the round numbers that people choose as thresholds
    (100, 150, 200, 250, 300, 400, 500, 750, 800 ms, 1 s, …) are bounds themselves: "slower than the threshold" is then
    exact, or known to within a quarter. The last bound is the first one at or above the request timeout, where 504
    takes over; 60 s at least, an hour at most. They depend on nothing outside the revision, so that they never change
    under a running comparison.
    """
    decades = (mantissa.scaleb(exponent) for exponent in _EXPONENTS for mantissa in _MANTISSAS)
    dense = [bound for bound in decades if _DENSE_FROM <= bound < _NEVER_ABOVE] + [_NEVER_ABOVE]
    wanted = max(_ALWAYS_UP_TO, Decimal(timeout_seconds))
    top = next((bound for bound in dense if bound >= wanted), _NEVER_ABOVE)
    return (*_BELOW_5_MS, *(bound for bound in dense if bound <= top))


def config_options(bentoml: BentoML | None) -> str:
    """The options that Serinus sets, in the syntax of `BENTOML_CONFIG_OPTIONS`.

    BentoML refuses bucket bounds that are not floats, so each is written with a point and without an exponent, and the
    list without blanks.
    """
    timeout = request_timeout_seconds(bentoml)
    options = [f"services.traffic.timeout={timeout}"]
    if bentoml and bentoml.workers is not None:
        options.insert(0, f"services.workers={bentoml.workers}")
    if bentoml and bentoml.max_concurrency is not None:
        options.append(f"services.traffic.max_concurrency={bentoml.max_concurrency}")
    return " ".join([*options, f"services.metrics.duration.buckets=[{_buckets(timeout)}]"])


@lru_cache(maxsize=256)
def _buckets(timeout_seconds: int) -> str:
    return ",".join(_as_float(bound) for bound in duration_buckets(timeout_seconds))


def environment(serving: Serving, port: int) -> list[dict[str, Any]]:
    """Environment variables of the model's container: Serinus' own, then the user's, each name once.

    A user's variable replaces Serinus' of the same name, but for two: the port has a field of its own and is refused,
    and the user's BentoML options are kept and come before Serinus', which win where both set the same key.
    """
    refuse_reserved(serving.env, "spec.serving.env")
    options = config_options(serving.bentoml)
    own: dict[str, dict[str, Any]] = {
        name: {"name": name, "value": value}
        for name, value in (
            (PORT_VARIABLE, str(port)),
            (OPTIONS_VARIABLE, options),
            ("BENTOML_HOME", HOME),
            ("BENTOML_DO_NOT_TRACK", "True"),
            ("BENTOML_DISABLE_GPU_ALLOCATION", "1"),
        )
    }
    given = {str(variable["name"]): dict(variable) for variable in serving.env}
    if OPTIONS_VARIABLE in given:
        given[OPTIONS_VARIABLE] = _joined_options(given[OPTIONS_VARIABLE], options)
    return [variable for name, variable in own.items() if name not in given] + list(given.values())


def refuse_reserved(variables: Iterable[Mapping[str, Any]], path: str, also: Sequence[str] = ()) -> None:
    """Raise `ReservedField` where a variable is set that Serinus derives from a field of the spec."""
    for variable in variables:
        name = variable.get("name")
        if name == PORT_VARIABLE:
            raise ReservedField(f"{path}[{name}]", "the port is known to probes and Services; set spec.serving.port")
        if name in also:
            raise ReservedField(f"{path}[{name}]", "is joined with Serinus' own options; put it into spec.serving.env")


def _joined_options(variable: Mapping[str, Any], options: str) -> dict[str, Any]:
    if "valueFrom" in variable:
        raise ReservedField(
            f"spec.serving.env[{OPTIONS_VARIABLE}]",
            "can't be joined with Serinus' own options when it comes from elsewhere; give it as a value",
        )
    return {"name": OPTIONS_VARIABLE, "value": f"{variable.get('value', '')} {options}".strip()}


def _as_float(bound: Decimal) -> str:
    return format(bound, "f").rstrip("0") if bound % 1 else format(bound.to_integral_value(), "f") + ".0"
