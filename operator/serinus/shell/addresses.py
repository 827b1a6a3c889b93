"""The index of who asks for which address, and who has it: one look-up in a pass, however many resources there are.

Kept by `serinus.shell.caches` from the ModelDeployments and their HTTPRoutes as they are told of. What an address is,
and who comes first, is decided in `serinus.core.addresses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.core.addresses import Address, Claim, Key, Standing, TakenAddress, asked_address, held_address
from serinus.core.gateways import GatewayKey, GatewayState


@dataclass(slots=True)
class _Entry:
    """What is known of one ModelDeployment."""

    asked: Address | None = None
    held: Address | None = None
    asks_for: frozenset[Claim] = frozenset()
    standings: Mapping[Claim, Standing] = field(default_factory=dict)


class Addresses:
    """Claims of all ModelDeployments, and of HTTPRoutes whose ModelDeployment is gone and that are not gone yet."""

    def __init__(
        self, gateways: Callable[[], Mapping[GatewayKey, GatewayState]], on_change: Callable[[Key], None]
    ) -> None:
        """`on_change` hears of those whose place among others may have changed by what another one did."""
        self._gateways = gateways
        self._on_change = on_change
        self._entries: dict[Key, _Entry] = {}
        self._claimants: dict[Claim, set[Key]] = {}
        self._up_to_date = False

    def put(self, key: Key, manifest: Mapping[str, Any] | None) -> None:
        """The ModelDeployment as it is now, or None where it is gone."""
        entry = self._entries.get(key) or _Entry()
        asked = asked_address(manifest) if manifest is not None else None
        if asked != entry.asked:
            entry.asked = asked
            self._changed(key, entry)

    def put_route(self, key: Key, route: Mapping[str, Any] | None) -> None:
        """The HTTPRoute of a ModelDeployment as it is now, or None where it is gone."""
        entry = self._entries.get(key) or _Entry()
        held = held_address(route) if route is not None else None
        if held != entry.held:
            entry.held = held
            self._changed(key, entry)

    def forget_gateways(self) -> None:
        """Gateways have changed: all is worked out anew when it is next asked for. Whoever says so tells everybody."""
        self._up_to_date = False

    def taken(self, key: Key) -> TakenAddress | None:
        """A claim of this ModelDeployment's spec that somebody else comes before; None where it may have all."""
        entry = self._entries.get(key)
        if entry is None or entry.asked is None:
            return None
        if not self._up_to_date:
            self._work_out()
        for claim in sorted(entry.asks_for):
            first = min(self._entries[other].standings[claim] for other in self._claimants[claim])
            if first.key != key:
                return TakenAddress(claim, first.key, by_route_alone=self._entries[first.key].asked is None)
        return None

    def _changed(self, key: Key, entry: _Entry) -> None:
        if entry.asked is None and entry.held is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry
        if self._up_to_date:
            for other in self._place(key, entry):
                self._on_change(other)

    def _work_out(self) -> None:
        self._claimants.clear()
        for key, entry in self._entries.items():
            entry.standings = {}
            self._place(key, entry)
        self._up_to_date = True

    def _place(self, key: Key, entry: _Entry) -> Iterable[Key]:
        """Work out the claims of one anew; returns the others whom that concerns."""
        gateways, before = self._gateways(), entry.standings
        entry.asks_for = entry.asked.claims(gateways) if entry.asked else frozenset()
        held = entry.held.claims(gateways) if entry.held else frozenset()
        after = {claim: Standing(True, entry.asked.since, key) for claim in entry.asks_for} if entry.asked else {}
        after |= {claim: Standing(False, entry.held.since, key) for claim in held} if entry.held else {}
        entry.standings = after
        for claim in before.keys() - after.keys():
            self._claimants[claim].discard(key)
            if not self._claimants[claim]:
                del self._claimants[claim]
        for claim in after:
            self._claimants.setdefault(claim, set()).add(key)
        changed = (claim for claim in before.keys() | after.keys() if before.get(claim) != after.get(claim))
        return {other for claim in changed for other in self._claimants.get(claim, ()) if other != key}
