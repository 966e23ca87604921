"""`lab/chaos`: the real Airflow and the real lab cluster, killed at every moment of a night."""
