from collections.abc import Iterator

import pytest
from support.crash_node import CrashNodes


@pytest.fixture(scope="session")
def nodes() -> Iterator[CrashNodes]:
    with CrashNodes() as process:
        yield process
