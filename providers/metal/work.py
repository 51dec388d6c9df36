"""What is done with a host in each of its states. See `states` for the way through them."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from autonodes.core.durations import parse_duration
from autonodes.core.ledger import WIPE_LEVELS, Entry, Event, UnlawfulEntryError, digest, following
from autonodes.kube.client import KubeClient
from autonodes.kube.errors import ConflictError, NotFoundError
from autonodes.kube.ledger import Ledger
from autonodes.kube.resources import NODES, node_class
from providers.metal import seeds
from providers.metal.allocations import Allocation
from providers.metal.bmc import BMC, BMCError, Media
from providers.metal.engine import Controllers
from providers.metal.hosts import Host, Hosts, conditions
from providers.metal.media import MediaServer
from providers.metal.seeds import Seed, Seeds
from providers.metal.states import Reset, State, is_hopeless, recent, reset_of

log = logging.getLogger(__name__)

PATIENCE: Final = 300.0
"""Seconds for a controller to do what it has accepted, and for one that does not answer to come back."""
RETRY: Final = 30.0
"""Seconds between two tries of a host that can't be registered."""
WIPE_TIMEOUT: Final[Mapping[str, float]] = {"metadata": 1800.0, "full": 24 * 3600.0, "secure-erase": 4 * 3600.0}
"""Seconds from power-on to the proof: a large disk is written at some hundred MB/s."""

STARTING: Final = "starting"
COLD: Final = "switching off"
BOOTING: Final = "booting"
WIPING: Final = "wiping"

Act = Callable[[Host, Allocation | None, BMC, float], Awaitable[None]]


class Work:
    """:param cleaning_image: URL of the image that wipes"""

    def __init__(
        self,
        kube: KubeClient,
        hosts: Hosts,
        ledger: Ledger,
        media: MediaServer,
        seeds_: Seeds,
        controllers: Controllers,
        *,
        cleaning_image: str,
    ) -> None:
        self._kube, self._hosts, self._ledger, self._media = kube, hosts, ledger, media
        self._seeds, self._controllers, self._cleaning_image = seeds_, controllers, cleaning_image

    def steps(self) -> Mapping[State, Act]:
        return {
            State.REGISTERING: self.register,
            State.INSPECTING: self.inspect,
            State.AVAILABLE: self.assign,
            State.PROVISIONING: self.provision,
            State.PROVISIONED: self.watch,
            State.CLEANING: self.clean,
            State.QUARANTINED: self.rest,
        }

    def is_due(self, host: Host, allocation: Allocation | None, now: float) -> bool:
        """Whether the step of its state would do anything."""
        if host.state is State.REGISTERING:
            return not host.status.step_since or now - host.status.step_since >= RETRY or _changed(host)
        if host.state is State.AVAILABLE:
            return allocation is not None and not allocation.terminating
        if host.state is State.PROVISIONED:
            return allocation is None or allocation.claim_uid != host.status.claim
        return host.state is not State.QUARANTINED or _changed(host)

    async def register(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        """Can it be reached, and is it listed once?"""
        del allocation
        host = await self._hosts.write(host, step_since=now, generation=host.generation)
        twin = await self._twin(host, lambda other: other.name < host.name and _same(other, host))
        if twin is not None:
            await self._refuse(host, "Duplicate", f"{twin.name} has the same address: delete one", now)
            return
        await self._controllers.call(bmc.power)
        await self._enter(host, State.INSPECTING, now)

    async def inspect(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        """What is it? Then it must be wiped, if there is no proof that it was."""
        del allocation
        facts = await self._controllers.call(bmc.facts)
        uuid = facts.get("uuid", "")
        host = await self._hosts.write(host, facts=dict(facts), system_uuid=uuid)
        # strictly after that: of two that do this at once, one at least sees the other
        twin = await self._twin(host, lambda other: bool(uuid) and other.status.system_uuid == uuid)
        if twin is not None:
            message = f"{twin.name} is the same machine ({uuid}): delete one"
            host = await self._enter(host, State.REGISTERING, now, step_since=now, system_uuid="")
            await self._refuse(host, "Duplicate", message, now)
            return
        chain = await self._ledger.chain(host.uid) or await self._note(host, [], "registered", now)
        proven = _proven(chain, host.spec.wipe)
        await self._enter(host, State.AVAILABLE if proven else State.CLEANING, now, ledger_head=digest(chain[-1]))

    async def assign(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        """It has a tenant now, if it has one: written to the ledger before it is touched."""
        del bmc
        if allocation is None:
            return
        chain = await self._ledger.chain(host.uid)
        mine = chain and chain[-1].event == "tenant" and chain[-1].claim == allocation.claim_uid
        try:
            if not mine:
                if not _proven(chain, host.spec.wipe):
                    raise UnlawfulEntryError(f"{host.name}: there is no proof that it was wiped ({host.spec.wipe})")
                chain = await self._note(
                    host, chain, "tenant", now, tenant=allocation.cluster, claim=allocation.claim_uid
                )
        except UnlawfulEntryError as error:
            log.error("%s; it is looked at anew", error)
            await self._enter(host, State.REGISTERING, now)
            return
        await self._enter(
            host, State.PROVISIONING, now, claim=allocation.claim_uid, ledger_head=digest(chain[-1]), attempts=0
        )

    async def provision(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        if allocation is None or allocation.claim_uid != host.status.claim:
            await self._enter(host, State.CLEANING, now, attempts=0)
            return
        if allocation.terminating:
            return  # it is being switched off
        if await self.has_joined(allocation):
            self._media.withdraw(host.name)
            await self._enter(host, State.PROVISIONED, now, attempts=0)
            return
        if not host.at_work:
            host = await self._begin(host, now)
        if host.status.step == BOOTING:
            await self._watch_boot(host, allocation, bmc, now)
        else:
            await self._boot(host, allocation, bmc, now)

    async def watch(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        """In use until it is given back."""
        del allocation, bmc
        await self._enter(host, State.CLEANING, now, attempts=0)

    async def clean(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        del allocation
        if not host.at_work or (host.status.step == WIPING and not self._media.expects(host.name)):
            begun_elsewhere = host.at_work  # by a process that is gone: its token went with it
            host = await self._begin(host, now, attempts=host.status.attempts + (not begun_elsewhere))
        if host.status.step == WIPING:
            await self._watch_wipe(host, bmc, now)
        else:
            await self._wipe(host, bmc, now)

    async def rest(self, host: Host, allocation: Allocation | None, bmc: BMC, now: float) -> None:
        """Until somebody has changed its spec, which says that it was seen to."""
        del allocation, bmc
        await self._enter(host, State.REGISTERING, now, attempts=0, flaps=())

    async def has_joined(self, allocation: Allocation) -> bool:
        """The only evidence of a boot: the machine has come in as the node that it was to be."""
        try:
            node = await self._kube.get(NODES, allocation.claim_name)
        except NotFoundError:
            return False
        given = (node.get("spec") or {}).get("providerID")
        return bool(given == provider_id(allocation.cluster, allocation.claim_uid))

    async def _boot(self, host: Host, allocation: Allocation, bmc: BMC, now: float) -> None:
        seed = await self._seeds.read(allocation.claim_uid)
        if seed is None:
            await self._failed_if_late(host, now, PATIENCE, "its boot data was never written")
            return
        try:
            reset = reset_of(host.status.attempts)
            if reset is Reset.COLD and not await self._is_off(bmc):
                await self._controllers.call(bmc.switch, "ForceOff")
                await self._hosts.write(host, step=COLD)
                return
            media = self._offer(host, await self._image(allocation), lambda _: seed)
            await self._start(host, bmc, media, reset)
        except BMCError as error:
            await self._failed_if_late(host, now, PATIENCE, str(error))
            raise
        await self._hosts.write(host, step=BOOTING, step_since=now)

    async def _watch_boot(self, host: Host, allocation: Allocation, bmc: BMC, now: float) -> None:
        timeout = await self._boot_timeout(allocation)
        if now - host.status.step_since > timeout:
            await self._failed(host, now, f"no node has joined {timeout:.0f} s after it was switched on")
        elif now - host.status.step_since > min(PATIENCE, timeout / 2) and await self._is_off(bmc):
            await self._failed(host, now, "it was told to switch on, and is off")

    async def _wipe(self, host: Host, bmc: BMC, now: float) -> None:
        try:
            if not await self._is_off(bmc):
                await self._controllers.call(bmc.switch, "ForceOff")
                await self._failed_if_late(host, now, PATIENCE, "it does not switch off")
                return
            host = await self._released(host, now)
            done = await self._controllers.call(bmc.reset)
            if done is not None:
                await self._wiped(host, bmc, {**done, "nonce": secrets.token_hex(32)}, now)
                return
            media = self._offer(host, self._cleaning_image, lambda url: seeds.wiping(host.spec.wipe, url))
            await self._start(host, bmc, media, Reset.FORCED)
        except BMCError as error:
            await self._failed_if_late(host, now, PATIENCE, str(error))
            raise
        await self._hosts.write(host, step=WIPING, step_since=now)

    async def _watch_wipe(self, host: Host, bmc: BMC, now: float) -> None:
        proof = self._media.proof(host.name)
        if proof is None:
            limit = WIPE_TIMEOUT[host.spec.wipe]
            await self._failed_if_late(host, now, limit, "no proof that it was wiped")
        else:
            await self._wiped(host, bmc, proof, now)

    async def _wiped(self, host: Host, bmc: BMC, proof: Mapping[str, str], now: float) -> None:
        """Available, if that was enough."""
        level = proof.get("level", "")
        if level not in WIPE_LEVELS or WIPE_LEVELS.index(level) < WIPE_LEVELS.index(host.spec.wipe):
            await self._failed(host, now, f"it was wiped at level {level}, {host.spec.wipe} is asked for")
            return
        chain = await self._ledger.chain(host.uid)
        if not any(each.proof.get("nonce") == proof["nonce"] for each in chain[-1:]):
            chain = await self._note(host, chain, "wiped", now, level=level, proof=proof)
        await self._controllers.call(bmc.switch, "ForceOff")
        await self._controllers.call(bmc.eject)
        await self._enter(host, State.AVAILABLE, now, ledger_head=digest(chain[-1]), claim="", attempts=0)
        self._media.withdraw(host.name)

    async def _released(self, host: Host, now: float) -> Host:
        """In the ledger, strictly after the host is off."""
        chain = await self._ledger.chain(host.uid)
        if chain and chain[-1].event == "tenant":
            last = chain[-1]
            chain = await self._note(host, chain, "released", now, tenant=last.tenant, claim=last.claim)
        return await self._hosts.write(host, ledger_head=digest(chain[-1]) if chain else "")

    def _offer(self, host: Host, image: str, seed: Callable[[str], Seed]) -> Media:
        mac = host.spec.boot_mac if host.spec.boot == "pxe" else None
        return self._media.offer(host.name, image, seed, mac=mac or "")

    async def _start(self, host: Host, bmc: BMC, media: Media, reset: Reset) -> None:
        call = self._controllers.call
        if host.spec.boot == "pxe":
            await call(bmc.boot_once_from, "Pxe")
        else:
            await call(bmc.insert, media)
            await call(bmc.boot_once_from, "Cd")
        if await self._is_off(bmc):
            await call(bmc.switch, "On")
        else:
            await call(bmc.switch, "GracefulRestart" if reset is Reset.GRACEFUL else "ForceRestart")

    async def _begin(self, host: Host, now: float, *, attempts: int | None = None) -> Host:
        count = host.status.attempts + 1 if attempts is None else attempts
        return await self._hosts.write(host, step=STARTING, step_since=now, attempts=count)

    async def _failed_if_late(self, host: Host, now: float, limit: float, message: str) -> None:
        if now - host.status.step_since > limit:
            await self._failed(host, now, message)

    async def _failed(self, host: Host, now: float, message: str) -> None:
        self._media.withdraw(host.name)
        flaps = (*recent(host.status.flaps, now), now)
        log.warning("%s: attempt %d failed: %s", host.name, host.status.attempts, message)
        said = conditions(host, "False", "AttemptFailed", message, now=now)
        if not is_hopeless(host.status.attempts, flaps, now):
            await self._hosts.write(host, step="", flaps=flaps, conditions=said)
            return
        message = f"quarantined after {host.status.attempts} attempts: {message}; mend it, then change its spec"
        said = conditions(host, "False", "Quarantined", message, now=now)
        await self._hosts.write(
            host,
            **{"state": State.QUARANTINED.value, "since": now, "step": "", "flaps": flaps, "conditions": said},
            generation=host.generation,
        )

    async def _enter(self, host: Host, state: State, now: float, **changes: object) -> Host:
        good = state not in (State.REGISTERING, State.QUARANTINED)
        changes = {"step": "", "step_since": 0.0, "conditions": host.status.conditions, **changes}
        if good:
            changes["conditions"] = conditions(host, "True", "Ready", "", now=now)
        return await self._hosts.write(host, state=state.value, since=now, **changes)

    async def _refuse(self, host: Host, reason: str, message: str, now: float) -> None:
        await self._hosts.write(host, conditions=conditions(host, "False", reason, message, now=now))

    async def _twin(self, host: Host, same: Callable[[Host], bool]) -> Host | None:
        """Another host that is the same: that one is used."""
        return next((each for each in await self._hosts.all() if each.name != host.name and same(each)), None)

    async def _note(
        self,
        host: Host,
        chain: list[Entry],
        event: Event,
        now: float,
        *,
        tenant: str = "",
        claim: str = "",
        level: str = "",
        proof: Mapping[str, str] | None = None,
    ) -> list[Entry]:
        """The chain with a further entry.

        :raises UnlawfulEntryError: it may not come next
        :raises ConflictError: somebody else has written one
        """
        entry = following(chain, event, host=host.name, at=now, tenant=tenant, claim=claim, level=level, proof=proof)
        if not await self._ledger.append(host.uid, entry):
            raise ConflictError(f"the ledger of {host.name} has another entry {entry.sequence}")
        return [*chain, entry]

    async def _is_off(self, bmc: BMC) -> bool:
        return await self._controllers.call(bmc.power) == "Off"

    async def _image(self, allocation: Allocation) -> str:
        return str((await self._class(allocation))["image"])

    async def _boot_timeout(self, allocation: Allocation) -> float:
        given = (await self._class(allocation)).get("bootTimeout", "15m")
        return parse_duration(given, path="spec.bootTimeout") or 0.0

    async def _class(self, allocation: Allocation) -> Mapping[str, str]:
        body = await self._kube.get(node_class("MetalNodeClass"), allocation.node_class)
        spec: Mapping[str, str] = body["spec"]
        return spec


def provider_id(cluster: str, claim_uid: str) -> str:
    return f"metal://{cluster}/{claim_uid}"


def _same(one: Host, other: Host) -> bool:
    """Whether they have one controller, or were found to be one machine."""
    uuid = one.status.facts.get("uuid")
    return one.spec.address == other.spec.address or bool(uuid and uuid == other.status.facts.get("uuid"))


def _changed(host: Host) -> bool:
    return host.generation != host.status.generation


def _proven(chain: list[Entry], level: str) -> bool:
    """Whether its last event was a wipe of this level at least."""
    if not chain or chain[-1].event != "wiped":
        return False
    return WIPE_LEVELS.index(chain[-1].level) >= WIPE_LEVELS.index(level)
