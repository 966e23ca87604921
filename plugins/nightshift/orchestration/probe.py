"""The in-cluster probe: a pod on a node that was upgraded, asking the API through its Service by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from nightshift.domain.errors import VerificationError
from nightshift.domain.policy import ClusterPolicy
from nightshift.orchestration.operators import label, remembered, resolve
from nightshift.orchestration.runtime import import_step, open_session

if TYPE_CHECKING:
    from airflow.sdk import Context

NAMESPACE = "nightshift"
# Name resolution, Service routing, the API's certificate and the CNI of this very node, in one request.
# A node that was just upgraded may still be programming its Service rules, hence the retries.
_SCRIPT = """
set -eu
ca=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt
curl --fail --silent --show-error --cacert "$ca" --connect-timeout 5 --max-time 10 \
  --retry 5 --retry-delay 2 --retry-all-errors https://kubernetes.default.svc/readyz
echo " (kubernetes.default.svc resolves and answers from this node)"
"""
_STARTUP_SECONDS = 180


class ProbePodOperator(BaseOperator):
    """Runs the probe through the provider's `KubernetesPodOperator`, which is built when the task runs.

    Importing that operator takes longer than parsing all of our DAGs, and every task start parses its file.

    Args:
        policy: the cluster's policy (connection, image).
        node: name of the node, or an input that finds it.
    """

    template_fields: Sequence[str] = ("node",)
    ui_color = "#e6f4ea"

    def __init__(self, *, policy: ClusterPolicy, node: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.policy = policy
        self.node = node
        self._pod: Any = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the pod to its end.

        Raises:
            VerificationError: PROBE_FAILED.
        """
        from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchFailedException
        from airflow.sdk.exceptions import AirflowException

        node = label(context, resolve(self.node, context))
        self._pod = _pod_operator(self.task_id, self.policy, node)
        with remembered(self, context), self._renewing(context):
            try:
                self._pod.execute_sync(context)
            except (AirflowException, PodLaunchFailedException) as error:
                raise VerificationError(
                    "PROBE_FAILED",
                    f"The probe pod on {node} could not reach https://kubernetes.default.svc by name.",
                    cause=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no detail'}.",
                    next_step="Read the pod's own words above: name resolution (CoreDNS), Service routing "
                    "(kube-proxy), CNI or image. Clear this task to probe again; it changes nothing.",
                ) from error
        return {"node": node, "sentence": f"{node}: pods resolve names and reach the API."}

    @contextmanager
    def _renewing(self, context: Context) -> Iterator[None]:
        """Keep the run's Lease alive: a pod may take longer than a Lease lives, and the sweeper would recover the run."""
        with (
            open_session(self.policy, context["run_id"], self.log.info) as session,
            import_step("hold:renewing_if_ours")(session),
        ):
            yield

    def on_kill(self) -> None:
        """Take the pod away when a person stops the task."""
        if self._pod is not None:
            self._pod.on_kill()


def _pod_operator(task_id: str, policy: ClusterPolicy, node: str) -> Any:
    """Build the provider's operator for one pod on `node`, whatever its taints."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    return KubernetesPodOperator(
        task_id=f"{task_id.rpartition('.')[2]}_pod",
        kubernetes_conn_id=policy.kubernetes_connection,
        namespace=NAMESPACE,
        image=policy.probe_image,
        image_pull_policy="IfNotPresent",
        cmds=["sh", "-c", _SCRIPT],
        labels={"app.kubernetes.io/name": "nightshift-probe"},
        pod_template_dict=_pod_template(node),
        startup_timeout_seconds=_STARTUP_SECONDS,
        get_logs=True,
        log_events_on_failure=True,
        log_pod_spec_on_failure=False,
        on_finish_action="delete_pod",
        active_deadline_seconds=2 * _STARTUP_SECONDS,
        in_cluster=False,
    )


def _pod_template(node: str) -> dict[str, Any]:
    """Pin the pod to one node by its name; labels may differ from names, and taints must not hide a broken node."""
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [by_name]}}
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "nightshift-probe"},
        "spec": {
            "affinity": affinity,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "base",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                }
            ],
        },
    }
