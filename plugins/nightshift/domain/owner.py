"""Who is at a cluster: the one name under which a run holds its Lease, marks its nodes and starts its jobs.

Airflow's own run ids do not tell two Airflows apart, nor two files that describe one cluster: the name of a
scheduled run follows from its hour, and every night begins at the same one.
"""

from __future__ import annotations

import re

from nightshift.domain.errors import ConfigError

UNNAMED = "unnamed"  # an Airflow that was given no name; it may look and repair, but begin nothing
_INSTALLATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_RECOVERY = " (recovery)"
_SEPARATOR = "/"  # neither in an installation's or a cluster's name nor in a run id as Airflow makes them


def owner_name(installation: str, cluster: str, run_id: str) -> str:
    """The name of one run on every cluster in the world: `<installation>/<cluster>/<run id>`."""
    return _SEPARATOR.join((installation, cluster, run_id))


def meant_owner(text: str, installation: str, cluster: str) -> str:
    """Whom a person means: an owner as the Lease shows it, or one of our own runs by Airflow's run id."""
    words = run_behind(text.strip())
    return words if words.count(_SEPARATOR) >= 2 else owner_name(installation, cluster, words)


def recovery_of(owner: str) -> str:
    """The Lease's holder while what `owner` left is taken back: the run itself holds nothing any more."""
    return f"{run_behind(owner)}{_RECOVERY}"


def is_recovery(holder: str) -> bool:
    """Tell whether a Lease is held by a recovery."""
    return holder.endswith(_RECOVERY)


def run_behind(holder: str) -> str:
    """The run that a Lease is about, whether it holds it itself or is being recovered; "" = nobody."""
    return holder.removesuffix(_RECOVERY)


def require_installation(name: str) -> str:
    """Return the installation's name when it is usable as one.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    if _INSTALLATION.fullmatch(name):
        return name
    raise ConfigError(
        "CONFIG_INVALID",
        f"NIGHTSHIFT_INSTALLATION is {name!r}, which cannot be part of an owner's name.",
        cause="It may have letters, digits, dots, dashes and underscores, and at most 63 of them.",
        next_step="Correct it in the environment of every Airflow process of this installation.",
    )


def require_own_name(installation: str) -> None:
    """Refuse an Airflow without a name of its own: the Lease could not tell it from another one.

    Raises:
        ConfigError: CONFIG_INVALID.
    """
    if installation != UNNAMED:
        return
    raise ConfigError(
        "CONFIG_INVALID",
        f"This Airflow has no name of its own: NIGHTSHIFT_INSTALLATION is not set, is empty, or is {UNNAMED!r}.",
        cause="Every Lease is held under that name. Two Airflows with the same one, at one cluster, would take each other's "
        "Lease for their own and both work.",
        next_step="Set it to a name that no other Airflow has, the same in the environment of every process of this one "
        "(`./nightshift enrol ... --write-env FILE` and include/airflow/make_env.py make one up), and restart them.",
    )
