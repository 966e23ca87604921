"""Addresses of stores, and names as parts of paths in one."""

from __future__ import annotations

import re
from difflib import get_close_matches

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_USUAL_PARENT = "/var/lib/nightshift"  # of a store on this machine's disk
# What Airflow's object storage can be given: scheme -> the package that brings it. "" comes with Airflow.
_AMAZON, _GOOGLE = "apache-airflow-providers-amazon[s3fs]", "apache-airflow-providers-google"
_AZURE = "apache-airflow-providers-microsoft-azure"
STORE_PACKAGES = {
    "file": "",
    "s3": _AMAZON,
    "s3a": _AMAZON,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
}
_LOCAL = re.compile(r"(file://)?/[^/].*")
_REMOTE = re.compile(r"(?P<scheme>[a-z0-9]+)://([^/@\s]+@)?[^/@\s]+(/\S*)?")
_ALMOST = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9]*)(:/*|/+)(?P<rest>[^/].*)")


def require_store_url(url: str) -> str:
    """Return the address of a store as it is: a local path, or a URL that Airflow's object storage can be given.

    Raises:
        ValueError: it is neither; with the nearest right form.
    """
    if _is_store_url(url):
        return url
    nearest = _nearest_url(url)
    hint = f"did you mean {nearest!r}? " if nearest else ""
    raise ValueError(
        f"{url!r} is no address of a store; {hint}It is file:///path, or s3://[connection@]bucket[/path], "
        "and the same with gs or abfs"
    )


def _is_store_url(url: str) -> bool:
    remote = _REMOTE.fullmatch(url)
    is_remote = remote is not None and remote["scheme"] in STORE_PACKAGES and remote["scheme"] != "file"
    return is_remote or _LOCAL.fullmatch(url) is not None


def _nearest_url(url: str) -> str | None:
    """What somebody who wrote this may have meant, if it is an address; None: nothing is near."""
    text = url.strip()
    meant = text if _is_store_url(text) else _corrected(text)
    return meant if meant is not None and _is_store_url(meant) else None


def _corrected(url: str) -> str | None:
    """The same with its scheme made right, or as a path below the usual parent; None where neither is near."""
    almost = _ALMOST.fullmatch(url)
    if almost is None:
        path = url.lstrip("./~")
        return f"file://{_USUAL_PARENT}/{path}" if path and ":" not in path and "//" not in url else None
    scheme, rest = almost["scheme"].lower(), almost["rest"]
    if scheme not in STORE_PACKAGES:
        if "//" not in url:
            return None if ":" in url else f"file://{_USUAL_PARENT}/{url}"
        scheme = next(iter(get_close_matches(scheme, STORE_PACKAGES, 1, cutoff=0.6)), "")
    if not scheme:
        return None
    return f"file:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def path_safe(text: str) -> str:
    """A run id as part of a path: Airflow's contain colons and plus signs."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)


def is_safe(name: str) -> bool:
    """Tell whether a name can be a part of a path in the store, and is no way out of its folder."""
    return _SAFE.fullmatch(name) is not None and ".." not in name
