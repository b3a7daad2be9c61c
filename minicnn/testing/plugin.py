"""For pytest: Hypothesis profiles under which the first example of a test may compile a kernel without being flaky.

Once minicnn is installed, ``pytest --hypothesis-profile=minicnn`` (or minicnn-thorough, for 10,000 examples each) has
no deadline, and does not complain that drawing is slow. Nothing changes for those who do not name them.
"""

from typing import Any

import pytest

PROFILES: dict[str, dict[str, Any]] = {"minicnn": {}, "minicnn-thorough": {"max_examples": 10_000}}


@pytest.hookimpl(tryfirst=True)  # before Hypothesis looks for the profile
def pytest_configure(config: pytest.Config) -> None:
    """Make the profile known that the command line names."""
    name = config.getoption("--hypothesis-profile", None)
    if name in PROFILES:
        from hypothesis import HealthCheck, settings

        settings.register_profile(name, deadline=None, print_blob=True,
                                  suppress_health_check=[HealthCheck.too_slow], **PROFILES[name])
