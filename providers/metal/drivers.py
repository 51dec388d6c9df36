"""Which driver speaks to which host."""

from __future__ import annotations

from collections.abc import Mapping

from autonodes.api.baremetal import BMC as BMCSpec
from autonodes.api.baremetal import SSH, BareMetalHostSpec
from providers.metal.bmc import BMC, BadCredentialsError
from providers.metal.hosts import NAMESPACE
from providers.metal.ipmi import Ipmi
from providers.metal.redfish import Redfish


def driver(spec: BareMetalHostSpec, secret: Mapping[str, str], ca_file: str | None) -> BMC:
    """:param secret: what the host's Secret holds
    :param ca_file: with the authority's certificate out of it, if there is one
    :raises BadCredentialsError: it is not whole
    """
    if spec.bmc is not None:
        return _of_controller(spec.bmc, secret, ca_file)
    assert spec.ssh is not None  # noqa: S101 -- validated
    return _of_login(spec.ssh, secret)


def _of_controller(bmc: BMCSpec, secret: Mapping[str, str], ca_file: str | None) -> BMC:
    username, password = secret.get("username", ""), secret.get("password", "")
    if not username or not password:
        raise BadCredentialsError(
            f"Secret {NAMESPACE}/{bmc.credentials_secret} has no username or no password: add both"
        )
    if bmc.address.startswith("ipmi:"):
        return Ipmi(bmc.address, username, password)
    return Redfish(bmc.address, username, password, verify=False if bmc.skip_certificate_check else ca_file or True)


def _of_login(ssh: SSH, secret: Mapping[str, str]) -> BMC:
    from providers.metal.ssh import Ssh

    key = secret.get("ssh-privatekey", "")
    if not key:
        raise BadCredentialsError(f"Secret {NAMESPACE}/{ssh.credentials_secret} has no ssh-privatekey: add it")
    return Ssh(ssh, secret.get("username", "root"), key)
