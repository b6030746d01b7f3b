"""The two xDS conversations, state of the world and Delta, as sans-IO objects: requests and views in, effects and sends
out. Pure; one step never waits, so a request and a push cannot interleave.

xDS transport protocol: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from sds.delivery.messages import (
    OTHER_TYPE,
    SECRET_TYPE,
    STALE_NONCE,
    DeltaRequest,
    Effect,
    Ignored,
    Node,
    Send,
    SotwRequest,
)
from sds.delivery.subscription import Limits, Slot, Subscription
from sds.delivery.view import View


class Stream:
    """What both conversations share. Feed `receive` (of the subclass) and `offer`, then `take` until it gives None."""

    __slots__ = ("_limits", "_subscription", "_typeless", "node")

    def __init__(
        self, *, nonce_prefix: str = "", limits: Limits | None = None, typeless: bool = True, tells_absence: bool
    ) -> None:
        """`typeless`: a request without a type means secrets (the SDS service); on ADS it means nothing."""
        self._limits = limits or Limits()
        self._subscription = Subscription(nonce_prefix, tells_absence=tells_absence)
        self._typeless = typeless
        self.node = Node()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Each name's state, in the order in which they were asked for. To be read, not to be changed."""
        return tuple(self._subscription.slots.values())

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names that the client wants now."""
        return tuple(self._subscription.slots)

    def offer(self, view: View) -> list[Effect]:
        """Compare everything that the client wants with `view`; what it lacks is there to `take`."""
        return self._subscription.settle(self._subscription.slots, view, spiffe_validator=self.node.spiffe_validator)

    @property
    def ready(self) -> bool:
        """Whether there is something to `take`."""
        return self._subscription.ready

    def take(self, tick: float) -> Send | None:
        """The next response to write, as of the last step; None: nothing to say. `tick` is monotonic seconds."""
        return self._subscription.take(tick)

    def _meet(self, node: Node | None, view: View) -> list[Effect]:
        """Remember the node of the last request that carried one; a new form of bundle goes out like a new version."""
        if node is None:
            return []
        changed = node.spiffe_validator != self.node.spiffe_validator
        self.node = node
        return self.offer(view) if changed else []

    def _speaks_of_secrets(self, type_url: str) -> bool:
        return type_url == SECRET_TYPE or (not type_url and self._typeless)


class SotwStream(Stream):
    """StreamSecrets, and secrets in StreamAggregatedResources.

    Which names does a request leave wanted?

    * Empty nonce: those it lists, beside those wanted before; the listed ones are answered, again if need be. MOSN
      asks for each secret in a request of its own, so one does not replace the other.
    * Current nonce: those it lists, so that Envoy drops a name by omitting it. But MOSN's acknowledgements list what it
      has *received* so far. So a name is kept, although omitted, if it was asked for with an empty nonce and the client
      cannot have received it when it wrote this (no response up to that nonce carried it). Envoy's list says what it
      *wants*; once a client has listed a name that was never sent on this stream it is of that kind, and an omission
      always drops. Where a name outlives its omission wrongly, the ACK of its next push drops it.
    * Any other nonce (stale, or of an older stream): those wanted before and those it lists. It acknowledges nothing.
    """

    __slots__ = ("_lists_wants",)

    def __init__(self, *, nonce_prefix: str = "", limits: Limits | None = None, typeless: bool = True) -> None:
        super().__init__(nonce_prefix=nonce_prefix, limits=limits, typeless=typeless, tells_absence=False)
        self._lists_wants = False

    def receive(self, request: SotwRequest, view: View, tick: float) -> list[Effect]:
        """One request. Raises InvalidRequest or LimitExceeded: the stream has to end."""
        if not self._speaks_of_secrets(request.type_url):
            return [*self._meet(request.node, view), Ignored(OTHER_TYPE)]
        names = tuple(dict.fromkeys(request.names))
        read = self._subscription.read_up_to(request.nonce) if request.nonce else None
        kept = self._kept(set(names), read)
        self._limits.check(names, len(kept.union(names)))
        effects = self._meet(request.node, view)
        if read is not None:
            effects += self._subscription.acknowledge(request.nonce, request.error, tick)
        elif request.nonce:
            effects.append(Ignored(STALE_NONCE))
        for name in self._subscription.slots.keys() - kept:
            self._subscription.forget(name)
        asked = names if not request.nonce else [name for name in names if name not in self._subscription.slots]
        for name in asked:
            self._subscription.ask(name, opening=not request.nonce, held=request.holds)
        effects += self._subscription.settle(asked, view, spiffe_validator=self.node.spiffe_validator)
        return effects

    def _kept(self, listed: set[str], read: int | None) -> set[str]:
        """The names wanted so far that this request does not drop; `read` is None unless its nonce is current."""
        slots = self._subscription.slots
        if read is None:
            return set(slots)
        if not self._lists_wants:
            self._lists_wants = any(name not in slots or not slots[name].first_number for name in listed)
        return {name for name, slot in slots.items() if name in listed or self._cannot_know(slot, read)}

    def _cannot_know(self, slot: Slot, read: int) -> bool:
        """Whether a client that lists what it received could not have listed this name after `read` responses."""
        return not self._lists_wants and slot.opening and not 0 < slot.first_number <= read


class DeltaStream(Stream):
    """DeltaSecrets, and secrets in DeltaAggregatedResources.

    Every subscribed name is answered, with `removed_resources` where there is nothing, and told so again when a secret
    goes away. Subscriptions count even in a request with a stale nonce. `*` is a name like any other, and unknown.
    """

    __slots__ = ()

    def __init__(self, *, nonce_prefix: str = "", limits: Limits | None = None, typeless: bool = True) -> None:
        super().__init__(nonce_prefix=nonce_prefix, limits=limits, typeless=typeless, tells_absence=True)

    def receive(self, request: DeltaRequest, view: View, tick: float) -> list[Effect]:
        """One request. Raises InvalidRequest or LimitExceeded: the stream has to end."""
        if not self._speaks_of_secrets(request.type_url):
            return [*self._meet(request.node, view), Ignored(OTHER_TYPE)]
        names = tuple(dict.fromkeys(request.subscribe))
        wanted = self._subscription.slots.keys() - set(request.unsubscribe)
        self._limits.check(names, len(wanted.union(names)))
        effects = self._meet(request.node, view)
        if request.nonce and self._subscription.read_up_to(request.nonce) is None:
            effects.append(Ignored(STALE_NONCE))
        elif request.nonce:
            effects += self._subscription.acknowledge(request.nonce, request.error, tick)
        # A name in both lists ends up subscribed: better one answer too many than a client that waits for ever.
        for name in request.unsubscribe:
            self._subscription.forget(name)
        for name in names:
            self._subscription.ask(name, held=name in request.holds)
        effects += self._subscription.settle(names, view, spiffe_validator=self.node.spiffe_validator)
        return effects
