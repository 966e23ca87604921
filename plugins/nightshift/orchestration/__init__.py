"""The only Airflow-aware code besides dags/: operators, sensors, triggers, callbacks and the DAG builders."""
