"""Reads `include/clusters/<name>.yaml` into a `ClusterPolicy`, and says precisely what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nightshift.domain.errors import ConfigError
from nightshift.domain.policy import ClusterPolicy


class LoadedClusters(NamedTuple):
    """All clusters of a directory: one broken file must not take the other clusters' nights away."""

    policies: dict[str, ClusterPolicy]  # by cluster name
    errors: dict[str, ConfigError]  # by file name


def load_cluster(path: Path) -> ClusterPolicy:
    """Read one cluster's file.

    Raises:
        ConfigError: CONFIG_INVALID, naming file, line and - for an unknown key - the nearest valid one.
    """
    raise NotImplementedError


def load_clusters(directory: Path) -> LoadedClusters:
    """Read every `*.yaml` of the directory (not `*.yaml.sample`)."""
    raise NotImplementedError


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a cluster file, for editors."""
    raise NotImplementedError
