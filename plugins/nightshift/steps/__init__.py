"""One file per task of the night: gather, decide (domain), act (clients), verify. No Airflow, no client libraries."""
