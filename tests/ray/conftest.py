"""The plain server that replicas are compared with."""

from tests.server.conftest import server  # noqa: F401 - a fixture
