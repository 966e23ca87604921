"""`./nightshift demo`: the lab, an Airflow of its own on the loopback, and one night followed in the terminal."""
