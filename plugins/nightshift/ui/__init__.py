"""Pages in the Airflow UI: authenticated by Airflow, read only."""
