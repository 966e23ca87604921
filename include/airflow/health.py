"""Health of one Airflow component: `health.py scheduler`. Exit code 0 = healthy.

The API answers 200 also when a component is ill, so the body is what counts.
"""

import json
import sys
import urllib.request


def main(component: str) -> int:
    """Ask the API server's monitor; it knows every component by its heartbeat."""
    with urllib.request.urlopen("http://api-server:8080/api/v2/monitor/health", timeout=8) as answer:
        status = json.load(answer)[component]["status"]
    print(f"{component}: {status}")
    return 0 if status == "healthy" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
