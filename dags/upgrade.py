"""One Airflow DAG `upgrade_<cluster>` per cluster file: wiring only, see orchestration.dag_builder."""

from nightshift.clients.cluster_config import clusters_directory, load_clusters
from nightshift.orchestration.dag_builder import build_invalid_dag, build_upgrade_dag

clusters = load_clusters(clusters_directory())
for policy in clusters.policies.values():
    globals()[f"upgrade_{policy.name}"] = build_upgrade_dag(policy)
for file_name, error in clusters.errors.items():
    if (policy := clusters.salvaged.get(file_name)) is not None:
        globals()[f"upgrade_{policy.name}"] = build_upgrade_dag(policy, error)
    else:
        globals()[f"invalid_{file_name}"] = build_invalid_dag(file_name, error)
