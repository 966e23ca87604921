"""What people read in the Airflow UI beside each task: what it does, when it is red, what clearing it does."""

from __future__ import annotations

from nightshift.domain.errors import ConfigError
from nightshift.domain.policy import ClusterPolicy

_ANY_TIME = "Clearing it is safe at any time: it looks first, and does only what is still missing."

TASKS: dict[str, str] = {
    "open_night": f"""
**May the night begin?** Asks the brake (ConfigMap `nightshift-brake`), the maintenance window and frozen dates,
the permissions of our service account, and whether somebody else holds the cluster. Takes back what a dead run left,
and logs in on every node: one that cannot be reached, or is not what was enrolled, ends the night here by name.

A closed window or the brake *holds* the night: the run ends green and says so. {_ANY_TIME}
""",
    "detect_target": f"""
**Which version comes next?** Reads every running component and kubelet, and a freshly fetched package index.
A patch goes before a minor; never two minors at once; never down. {_ANY_TIME}
""",
    "reclaim_scratch": f"""
**Makes room before room is measured**: reaps kubeadm's leftovers in `/etc/kubernetes/tmp` older than the policy
says. Only exact names kubeadm gives, never the newest of a kind, never while kubeadm runs or somebody else holds the
cluster. Best effort. {_ANY_TIME}
""",
    "ask": f"""
**Asks all gates that answer at once, in one round**: everything they need is read once, side by side, then each judges it.
A verdict is an answer, so this task is green whatever they say; the mark of a gate that is shut (hold, block or blind) is
skipped, and this task's log has its reason. What a gate looks at is written at its mark and in `docs/gates.md`. {_ANY_TIME}
""",
    "decide": f"""
**Folds everything said so far into one answer**: go, nothing to do, held, blocked or blind. Only *go* touches a
node. *Blind* (something that must be known is not) makes this task red; every other answer is green. After a step
that failed it is red too, without an error of its own: that step's log has it.

The plan (who, in which order, in which wave) is in this task's XCom. {_ANY_TIME}
""",
    "claim": f"""
**Takes the cluster**: Lease with a fencing token, annotations on the namespace `nightshift`, and
`k8s_upgrade_in_flight 1` in the Pushgateway. `release` gives it back. {_ANY_TIME}
""",
    "snapshot": f"""
**A proven way back**: etcd snapshot, restored into a throwaway etcd on the node, compared (revision, keys, hash),
and stored off the node together with PKI and manifests, readable by its owner only. {_ANY_TIME}
""",
    "reconcile_drift": f"""
**Tells kubeadm what runs**: flags, volumes and environment variables that every control plane runs with and that
ConfigMap `kubeadm-config` lacks are written there by kubeadm itself, because the upgrade writes the manifests from there
(OIDC flags added by hand would be gone). With the policy `drift.reconcile: block` it writes nothing. What the ConfigMap
said before is kept in the store and on the node; nothing of this is taken back. `verify_node` proves that the flags still
run afterwards. {_ANY_TIME}
""",
    "stage": f"""
**Everything fetched before anything is touched**: exact packages downloaded and images pulled on every node, from
the target minor's repository beside the live one. Nothing is installed. Brake and window are asked before each node: when
they say no, no other node is begun, and the task is skipped. {_ANY_TIME}
""",
    "rehearse": f"""
**Starts the target's API server where nothing can happen**: with the manifest kubeadm will write, on an etcd restored from
tonight's snapshot, in namespaces of its own on the node that took it. It must become ready and list all that it serves.
Red: it did not; its own words are the cause, and nothing was changed on the cluster. What cannot be rehearsed (policy,
memory, runtime) is green and said in the run's note. {_ANY_TIME}
""",
    "check_etcd": """
**May the night go on to the next node?** Is etcd still fast enough, and do the other gates that are asked between two
nodes (node health, version skew, static pods, …) still say yes? Red means: this node and all later ones stay as they are;
the error names the gate that is shut. It asks three more times by itself before it gives up.

The brake, the window and frozen dates are asked again, too, also while it waits, and whether the nodes will be done
before the window closes: when they say no, this task and everything up to `postflight` is skipped, and these nodes
continue on the next night. The run stays green.

Clear this task (with *downstream*) when what it names is repaired: the night goes on from here.
""",
    "quiesce": f"""
**Makes quiet what the policy names under `quiesce`**, before the first control-plane node is drained: Deployments and
StatefulSets without replicas, CronJobs suspended (their jobs that run already come to their own end). Each is recorded on
the cluster first, in the ConfigMap `nightshift-debts`, so that it is given back whatever happens. Skipped when the policy
names nothing, and when brake or window end the night here, as they would in the drain. {_ANY_TIME}
""",
    "restore": f"""
**Gives back what was made quiet**, after the last control-plane node: replicas and `suspend` as they were. What somebody
else changed or deleted meanwhile stays as it is, and is said here. After a failure `release` does it. {_ANY_TIME}
""",
    "drain_node": f"""
**Cordons the node and empties it** through the eviction API, so PodDisruptionBudgets are law. Nothing is deleted
by force. Red names the pods that would not go, and their budgets. When brake or window end the night meanwhile, the
node takes pods again, the task is skipped, and the node continues on the next night. {_ANY_TIME}
""",
    "upgrade_node": f"""
**`kubeadm upgrade`** (`apply` once, `node` elsewhere) as a systemd unit on the node: it outlives this task. A retry
or a second run attaches to it instead of starting another. Evidence is saved off the node when it fails. {_ANY_TIME}
""",
    "upgrade_kubelet": f"""
**Installs the staged kubelet and kubectl**, restarts the kubelet, waits until the Node says so. {_ANY_TIME}
""",
    "verify_node": f"""
**Did the node follow?** Versions, readiness, running arguments equal to the manifests. Only looks. {_ANY_TIME}
""",
    "uncordon_node": f"""
**Gives the node back**, if it was this project that cordoned it. {_ANY_TIME}
""",
    "quarantine_node": f"""
**Sets a failed worker aside** so that the others go on: gives it back, marks it with `nightshift.io/quarantined` (reason, run,
time), tells it. Skipped when nothing failed. Green: set aside; the run still ends red. Red: the night stops here, because
the policy says so (`workers.on_failure`, `workers.max_quarantined`) or because it is not this node alone. The canary's
wave has no such task. Clearing the red task of the node (with *downstream*) tries it again. {_ANY_TIME}
""",
    "verify_cluster": f"""
**The whole cluster after the night**: versions, readiness, arguments and marks of every node. Only looks. {_ANY_TIME}
""",
    "list_nodes": "Names the upgraded nodes, one probe each. Only reads the plan.",
    "probe_pod": f"""
**A pod on each upgraded node** resolves `kubernetes.default.svc` and asks the API through its Service: name
resolution, Service routing, CNI and certificates of that node in one request. {_ANY_TIME}
""",
    "release": f"""
**Gives the cluster back**, whatever happened (a teardown: it also runs when a task is killed or the run is marked
failed): fences this run, waits for a kubeadm that still works, uncordons what this run cordoned, starts what it made quiet,
drops marks, empties the Lease, clears `k8s_upgrade_in_flight`. {_ANY_TIME}
""",
    "report": f"""
**One ledger entry and two sentences**, also when nothing was done; the sentences are the run's note. {_ANY_TIME}
""",
    "watcher": """
**Makes the run red** when any task failed: `release` and `report` end green after a failure, and Airflow looks
only at the last tasks. It does nothing else.
""",
    "recover": f"""
**The one recovery**: takes back what a dead run left (cordons, marks, Lease, gauge). It looks at the cluster, not
at Airflow's opinion; a live run or a working kubeadm is left alone. Red means that something is still owed. While
the API is away it is green and says that it knows nothing; the next one comes in a minute. {_ANY_TIME}
""",
    "set_brake": f"""
**Pulls or releases the brake** (ConfigMap `nightshift-brake`), reads it back, and says in the run's note what goes on
in the cluster at this moment and what comes of it. Waits for an API that is away. {_ANY_TIME}
""",
}


def invalid_doc(file_name: str, error: ConfigError) -> str:
    """Return the text above a DAG whose cluster file cannot be read."""
    return f"""
# `{file_name}` is not valid

{error.message}

**Cause**: {error.cause}

**Next step**: {error.next_step}

Until then no step touches the cluster. A run that was under way stops at its next step, and the cluster is given back.
"""


def upgrade_doc(policy: ClusterPolicy, error: ConfigError | None = None) -> str:
    """Return the text above the upgrade DAG of one cluster; `error`: why its file cannot be read."""
    warning = invalid_doc(f"{policy.name}.yaml", error) if error else ""
    return f"""{warning}
# Nightly upgrade of `{policy.name}`

Upgrades the kubeadm cluster `{policy.name}` to the next version while you sleep, and says in the morning what it did
or exactly why it did not. **Read the run's note first.**

| The night ends | Colour | What to do |
|---|---|---|
| upgraded, or nothing to do | green | nothing |
| held (brake, window, waiting for upstream) | green | nothing; the next night asks again |
| blocked (a gate said no) | green | `decide` names gate, number, threshold and remedy; no node was touched |
| blind (could not know) | red | make it readable; no node was touched |
| failed or half done | red | the first red task names cause and next step; clearing it goes on from there |

* **Stop it**: trigger `brake_{policy.name}`. *pause* holds all later nights, and a running one in front of its next
  node; *stop now* ends a running one after the job that works at this moment. Its run's note says what comes of it.
* **Retry one task**: clear it with *downstream*, and "only failed" switched off. Every task looks first and does only
  what is still missing.
* **One node at a time**: control-plane nodes fill the slots in order; workers go in waves, the first wave is a canary.
  A worker behind it that fails is set aside, if the policy says so, and the others go on; the run ends red.
* Whatever dies, the sweeper `recover_{policy.name}` takes back what was left within minutes.

Policy: `{policy.name}.yaml` in `include/clusters`, or where `NIGHTSHIFT_CLUSTERS` points.
"""


def readiness_doc(policy: ClusterPolicy, error: ConfigError | None = None) -> str:
    """Return the text above the daily look at one cluster; `error`: why its file cannot be read."""
    warning = invalid_doc(f"{policy.name}.yaml", error) if error else ""
    return f"""{warning}
# Is `{policy.name}` ready for the next night?

Asks by day everything that `upgrade_{policy.name}` asks before it touches a node, and changes nothing. **Read the run's
note**: what the next night would do, or what would keep it from beginning. In the group `gates` a gate that is shut is
skipped (pink); the log of `ask` and of `decide` names number, threshold and remedy of each, the order of the nodes, what
each drain evicts and how long it takes.

Green whatever the gates say: nothing was meant to happen. Red when it could not look at all.
"""


def recover_doc(policy: ClusterPolicy) -> str:
    """Return the text above the recovery DAG of one cluster."""
    return f"""
# Recovery of `{policy.name}`

Every minute: is there a run that died and left something behind on `{policy.name}`? If so, take it back: fence it,
uncordon what it cordoned, drop its marks, empty the Lease, clear `k8s_upgrade_in_flight`. Looks at the cluster, not at
Airflow. Leave this DAG unpaused.

By hand: *Trigger* it; name a run in the form to end that run's hold on the cluster although its Lease is still alive.
With *Only say what it would do* it writes nothing, and the run's note says what a recovery would do now.
"""


def brake_doc(policy: ClusterPolicy) -> str:
    """Return the text above the brake of one cluster."""
    return f"""
# Brake of `{policy.name}`

*Trigger* it. **The run's note says what goes on in the cluster at this moment, and what will happen.**

| You choose | A running night | Later nights |
|---|---|---|
| pause | begins no other node; one whose kubeadm was begun is carried to its end, one that is being drained is given back; ends green | held |
| stop now | ends after the job that runs at this moment (a kubeadm is never interrupted); green, or red when that leaves a node half done | held |
| release | goes on; what it already left for the next night stays there | begin again |

A time in *Until* releases it by itself. Without Airflow: `kubectl -n nightshift create configmap nightshift-brake
--from-literal=paused=true --from-literal=reason=…`, and with `--from-literal=mode='stop now'` it stops; `delete` releases.
"""
