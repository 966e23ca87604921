"""`./nightshift airflow …`: Airflow's own command line with this installation's settings."""

from __future__ import annotations

import os
import sys

from nsdemo.lab import lab_environment, lab_facts
from nsdemo.processes import airflow_program
from nsdemo.settings import Home, airflow_environment


def main() -> None:
    """Become the airflow command."""
    facts = lab_facts()
    environment = airflow_environment(Home.default(), lab_environment(facts) if facts else {})
    os.execve(airflow_program(), ["airflow", *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
