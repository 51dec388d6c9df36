"""The conformance kit: what a provider promises, as tests that anybody can run against theirs.

The promises are those of `autonodes.provider`. A provider's author writes a :class:`Rig`, which stands up the
infrastructure (the real one, or a fake that behaves) and can break it in the ways that it breaks in life, and one test
class::

    class TestMine(ProviderConformance):
        @pytest_asyncio.fixture
        async def rig(self, tmp_path):
            async with my_rig(tmp_path) as rig:
                yield rig

The rig asks the infrastructure itself what there is, never the provider: a provider that forgets a machine would say
that it has none. After each test every machine is deleted and the infrastructure is asked for leftovers.

Needs pytest and pytest-asyncio (``pip install autonodes[conformance]``); nothing else of this project imports it.
Limits: a caller is cut off by cancelling it, which runs its clean-up; what a SIGKILL leaves behind is for the
provider's own crash tests.
"""

import pytest

for _module in ("buying", "catalogues", "cutting", "deleting", "faults", "life"):
    pytest.register_assert_rewrite(f"{__name__}.{_module}")

from autonodes.conformance.rig import SECRET, DriftCase, Fault, Rig, Seed, delete_completely  # noqa: E402
from autonodes.conformance.suite import ProviderConformance  # noqa: E402

__all__ = ["SECRET", "DriftCase", "Fault", "ProviderConformance", "Rig", "Seed", "delete_completely"]
