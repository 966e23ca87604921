"""Faults of a node as others see it: cordoned by hand, away for a moment, a clock that is wrong, a certificate that ends."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from nslab.faults.model import Case, Fault, node_name, positive, read_arguments
from nslab.nodes import cluster, machine
from nslab.shell import wait_until

CORDON_USAGE = "cordoned-by-human NODE"
FLAP_USAGE = "node-flap NODE"
CLOCK_USAGE = "clock-offset NODE MS"
EXPIRED_USAGE = "certificate-expired NODE"
SOON_USAGE = "certificate-soon NODE DAYS"

_LOST = 120  # seconds until the API calls a silent node not Ready: 40 by default, and a slow machine
_BACK = 120


def parse_cordon(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, CORDON_USAGE, 1)
    return [Case("cordoned-by-human", node_name(name))]


def cordon(case: Case) -> str:
    """Cordon as a person does."""
    cluster.kubectl(["cordon", case.subject])
    return f"{case.subject} is cordoned"


def uncordon(case: Case) -> str:
    """Uncordon."""
    cluster.kubectl(["uncordon", case.subject])
    return f"{case.subject} is schedulable"


def parse_flap(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`; since when it has been Ready is written down, for the undo."""
    (name,) = read_arguments(arguments, FLAP_USAGE, 1)
    node_name(name)
    return [Case("node-flap", name, {"since": ready_condition(name).get("lastTransitionTime", "")})]


def ready_condition(name: str) -> dict[str, str]:
    """Return the Ready condition of a node as the API has it, {} when it has none."""
    answer = cluster.kubectl(["get", "node", name, "-o", "json", "--request-timeout=5s"], check=False)
    if answer.returncode != 0:
        return {}
    conditions: list[dict[str, str]] = json.loads(answer.stdout).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == "Ready"), {})


def flap(case: Case) -> str:
    """Keep the kubelet silent until the API has lost the node, then let it come back."""
    name = case.subject
    machine.enter(name, ["systemctl", "stop", "kubelet"])
    wait_until(lambda: ready_condition(name).get("status") == "Unknown", f"the API has lost {name}", _LOST)
    machine.enter(name, ["systemctl", "start", "kubelet"])
    wait_until(lambda: ready_condition(name).get("status") == "True", f"{name} is Ready again", _BACK)
    cluster.wait_healthy(_BACK)  # its pods were called unready meanwhile
    return f"{name} was away and is Ready since a moment ago"


def settle(case: Case) -> str:
    """Make sure that the kubelet runs, and give the Ready condition its age back."""
    name, since = case.subject, case.text("since")
    machine.enter(name, ["systemctl", "start", "kubelet"])
    wait_until(lambda: ready_condition(name).get("status") == "True", f"{name} is Ready", _BACK)
    if since:
        # Conditions are merged by their type; the kubelet keeps the time of a status that stays the same.
        patch = {"status": {"conditions": [{"type": "Ready", "lastTransitionTime": since}]}}
        cluster.kubectl(["patch", "node", name, "--subresource=status", "--patch", json.dumps(patch)])
    return f"{name} is Ready since {since or 'a moment ago'}"


def parse_clock(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE MS`."""
    name, offset = read_arguments(arguments, CLOCK_USAGE, 2)
    return [
        Case(
            "clock-offset",
            node_name(name),
            {"milliseconds": positive(offset, "the offset in milliseconds", 3_600_000)},
        )
    ]


# All nodes have the machine's clock, and no node may have another: so only what scripts read is wrong. It comes before
# /usr/bin in every script's PATH, and lies to whoever asks for seconds with a fraction.
LYING_DATE = "/usr/local/bin/date"
_DATE = """\
#!/bin/sh
# The lab's simulated clock offset: {milliseconds} ms ahead for `date +%s.%N`, and for nothing else.
[ "$*" = +%s.%N ] || exec /usr/bin/date "$@"
nanoseconds=$(($(/usr/bin/date +%s%N) + {milliseconds} * 1000000))
printf '%d.%09d\\n' $((nanoseconds / 1000000000)) $((nanoseconds % 1000000000))
"""


def date_script(milliseconds: int) -> str:
    """Return the `date` that is ahead."""
    return _DATE.format(milliseconds=milliseconds)


def set_clock(case: Case) -> str:
    """Put the lying `date` in front of the true one."""
    write = f"cat >{LYING_DATE}.new && chmod 755 {LYING_DATE}.new && mv {LYING_DATE}.new {LYING_DATE}"
    machine.enter(case.subject, ["sh", "-c", write], stdin=date_script(case.number("milliseconds")))
    return (
        f"the clock of {case.subject} is {case.number('milliseconds')} ms ahead (simulated: in scripts only)"
    )


def right_clock(case: Case) -> str:
    """Take it away."""
    machine.enter(case.subject, ["rm", "-f", LYING_DATE, f"{LYING_DATE}.new"])
    return f"scripts on {case.subject} read the machine's clock again"


def parse_expired(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE`."""
    (name,) = read_arguments(arguments, EXPIRED_USAGE, 1)
    return [Case("certificate-expired", node_name(name, "control-plane"))]


def parse_soon(arguments: Sequence[str]) -> list[Case]:
    """Read `NODE DAYS`."""
    name, days = read_arguments(arguments, SOON_USAGE, 2)
    return [
        Case(
            "certificate-soon",
            node_name(name, "control-plane"),
            {"days": positive(days, "the number of days", 3650)},
        )
    ]


# Only aggregated APIs are asked with this one, and the lab has none: the cluster goes on working.
PKI = "/etc/kubernetes/pki"
LEAF = f"{PKI}/front-proxy-client"
AUTHORITY = f"{PKI}/front-proxy-ca"
KEPT = "/etc/kubernetes/.nslab-front-proxy-client.crt"
# Arguments: notBefore and notAfter. The true certificate is put aside once; the false one has the same key and subject.
REPLACE = f"""
set -eu
[ -e {KEPT} ] || cp -p {LEAF}.crt {KEPT}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/new"; : >"$work/index"; echo 01 >"$work/serial"
cat >"$work/config" <<END
[ca]
default_ca = here
[here]
database = $work/index
serial = $work/serial
new_certs_dir = $work/new
default_md = sha256
policy = any
x509_extensions = client
[any]
commonName = supplied
[client]
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = clientAuth
basicConstraints = critical,CA:FALSE
END
openssl x509 -x509toreq -in {KEPT} -signkey {LEAF}.key -out "$work/request"
openssl ca -batch -notext -config "$work/config" -in "$work/request" -cert {AUTHORITY}.crt -keyfile {AUTHORITY}.key \\
    -startdate "$1" -enddate "$2" -out "$work/made"
cp -p {KEPT} {LEAF}.crt.new
cat "$work/made" >{LEAF}.crt.new
mv {LEAF}.crt.new {LEAF}.crt
"""
GIVE_BACK = f"""
set -eu
rm -f {LEAF}.crt.new
[ -e {KEPT} ] || exit 0
mv {KEPT} {LEAF}.crt
"""


def expire(case: Case) -> str:
    """Replace the certificate by one that ended yesterday."""
    now = time.time()
    _replace(case.subject, now - 366 * 86_400, now - 86_400)
    return f"{LEAF}.crt on {case.subject} expired yesterday"


def expire_soon(case: Case) -> str:
    """Replace the certificate by one that ends in so many days."""
    now, days = time.time(), case.number("days")
    _replace(case.subject, now - 86_400, now + days * 86_400)
    return f"{LEAF}.crt on {case.subject} expires in {days} days"


def _replace(node: str, begins: float, ends: float) -> None:
    moments = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(moment)) for moment in (begins, ends)]
    machine.enter(node, ["sh", "-c", REPLACE, "replace", *moments])


def renew(case: Case) -> str:
    """Put the true certificate back."""
    machine.enter(case.subject, ["sh", "-c", GIVE_BACK])
    return f"{LEAF}.crt on {case.subject} is the one it was"


CORDONED_BY_HUMAN = Fault(
    "cordoned-by-human", CORDON_USAGE, "cordon a node as a person does", parse_cordon, cordon, uncordon
)
NODE_FLAP = Fault(
    "node-flap",
    FLAP_USAGE,
    "let a node be lost and come back (takes about a minute)",
    parse_flap,
    flap,
    settle,
)
CLOCK_OFFSET = Fault(
    "clock-offset", CLOCK_USAGE, "let a node's scripts read a clock that is ahead (simulated)",
    parse_clock, set_clock, right_clock,
)  # fmt: skip
CERTIFICATE_EXPIRED = Fault(
    "certificate-expired", EXPIRED_USAGE, "replace a control plane's front-proxy-client certificate by an expired one",
    parse_expired, expire, renew,
)  # fmt: skip
CERTIFICATE_SOON = Fault(
    "certificate-soon", SOON_USAGE, "replace it by one that expires in DAYS", parse_soon, expire_soon, renew
)
