"""One Airflow DAG `readiness_<cluster>` per cluster file, readable or not: wiring only, see orchestration.dag_builder."""

from nightshift.clients.cluster_config import clusters_directory, load_clusters
from nightshift.orchestration.dag_builder import build_readiness_dag

clusters = load_clusters(clusters_directory())
for policy in clusters.policies.values():
    globals()[f"readiness_{policy.name}"] = build_readiness_dag(policy)
for file_name, error in clusters.errors.items():
    if (policy := clusters.salvaged.get(file_name)) is not None:
        globals()[f"readiness_{policy.name}"] = build_readiness_dag(policy, error)
