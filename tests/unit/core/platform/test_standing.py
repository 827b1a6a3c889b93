"""What status says of policies: what each did, and no more of them than there is room for."""

from __future__ import annotations

from serinus.core.platform import govern
from serinus.core.platform.standing import standing
from tests.unit.core.platform.policies import cluster_policy, namespace_policy, spec


def test_of_more_policies_than_status_has_room_for_those_that_do_nothing_are_left_out():
    """The API server takes 64, and would refuse every write of the status, that of a rollback too."""
    idle = [namespace_policy(f"idle-{number:02}") for number in range(70)]
    house = cluster_policy("house", defaults={"rollout": {"watchSeconds": 900}})

    told = standing(govern(spec(), [*idle, house]), ())

    assert len(told) == 64
    assert [each.name for each in told if each.fields] == ["house"]
