"""A pytest plugin that runs the tests again and again, each time with another mistake planted.

``python -m minicnn.mutate`` starts pytest with it. What to do is in the environment: MINICNN_MISTAKES, names on lines
of their own, the empty one for no mistake; MINICNN_NOTICED, the file for lines "mistake, tab, test that failed"; and
MINICNN_ALL, not empty if a mistake is to meet all tests though one has failed.
"""

import os
import sys
from contextlib import nullcontext

import pytest
from _pytest.runner import runtestprotocol

from .mistakes import named, planted


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Whether a test fails is all that is asked, so Hypothesis need not look for the smallest example."""
    if "hypothesis" in sys.modules:
        from hypothesis import Phase, settings

        settings.register_profile("planting", settings(), phases=[Phase.explicit, Phase.generate])
        settings.load_profile("planting")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """All collected tests for every mistake, in the place of once."""
    with open(os.environ["MINICNN_NOTICED"], "a", encoding="utf-8") as noticed:
        for name in os.environ["MINICNN_MISTAKES"].split("\n"):
            with planted(named(name)) if name else nullcontext():
                for item in session.items:
                    if _fails(item):
                        print(f"{name}\t{item.nodeid}", file=noticed, flush=True)
                        if not os.environ.get("MINICNN_ALL"):
                            break
    return True


def _fails(item: pytest.Item) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))
