"""What the policies of a platform team make of one resource's spec.

    policies ─┐
              ├─ govern ──▶ the spec in force, where each field came from, and what is outside the bounds
    spec ─────┘

Pure: the same spec, policies and status give the same result. `defaults` fills in what the resource does not set,
`govern` looks up the metrics that it names, `bounds` compares, and `standing` keeps for a rollout under way what guards
it. Called by `serinus.shell.reconciler` in every pass, before `decide`, and by the plugin.
"""

from serinus.core.platform.defaults import Origin
from serinus.core.platform.govern import Governed, Kept, Violation, govern
from serinus.core.platform.standing import keeping
from serinus.core.platform.told import with_fields

__all__ = ["Governed", "Kept", "Origin", "Violation", "govern", "keeping", "with_fields"]
