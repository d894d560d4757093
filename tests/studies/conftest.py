"""What several studies' tests share: a real object store."""

from __future__ import annotations

import pytest
from servers import ObjectStore


@pytest.fixture(scope="module")
def object_store(tmp_path_factory):
    """An S3-compatible server with an empty bucket, `studies`."""
    store = ObjectStore(tmp_path_factory.mktemp("objects"))
    store.start()
    yield store
    store.kill()


@pytest.fixture
def bucket(object_store, monkeypatch, request):
    """An empty place in the bucket, for this process too, by its address."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://studies/group/{request.node.name[:40]}"
