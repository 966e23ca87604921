"""One Airflow DAG `brake_<cluster>` per cluster file, readable or not: wiring only, see orchestration.brake_dag."""

from nightshift.clients.cluster_config import clusters_directory, load_clusters
from nightshift.orchestration.brake_dag import build_brake_dag

clusters = load_clusters(clusters_directory())
for policy in (*clusters.policies.values(), *clusters.salvaged.values()):
    globals()[f"brake_{policy.name}"] = build_brake_dag(policy)
