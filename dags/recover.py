"""One Airflow DAG `recover_<cluster>` per cluster file, readable or not; a file of its own, so that it always parses."""

from nightshift.clients.cluster_config import clusters_directory, load_clusters
from nightshift.orchestration.dag_builder import build_recover_dag

clusters = load_clusters(clusters_directory())
for policy in (*clusters.policies.values(), *clusters.salvaged.values()):
    globals()[f"recover_{policy.name}"] = build_recover_dag(policy)
