"""Settings of property tests: a short run, the same each time, or a long one with new examples each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

NIGHTLY = int(os.environ.get("EDGEFC_PROPERTY_EXAMPLES") or 0)


def property_settings(examples: int, *, share: float = 1.0) -> settings:
    """Return settings for a property test.

    examples  number of examples in the short run; EDGEFC_PROPERTY_EXAMPLES asks for a long one
    share     part of the long run's examples that a costly test takes
    """
    return settings(
        max_examples=max(examples, int(NIGHTLY * share)),
        derandomize=not NIGHTLY,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
