import math

import pytest
from tests.fakes.cluster import etcd_text

from nightshift.clients.etcd_metrics import parse_etcd_metrics


def test_reads_everything_the_gate_needs() -> None:
    sample = parse_etcd_metrics(etcd_text(), "cp1", 5.0)
    assert sample is not None
    assert (sample.member, sample.taken, sample.process_start) == ("cp1", 5.0, 1000.0)
    assert (sample.has_leader, sample.is_leader, sample.server_version) == (True, True, "3.6.5")
    assert (sample.db_size_bytes, sample.quota_bytes) == (1000.0, 2147483648.0)
    assert sample.wal_fsync is not None
    assert sample.wal_fsync.buckets[-1] == (math.inf, 1000.0)
    assert sample.wal_fsync.count == 1000


def test_apply_is_added_up_over_its_labels() -> None:
    name = "etcd_server_apply_duration_seconds"
    lines = [f"# TYPE {name} histogram"]
    for operation in ("Put", "Txn"):
        labels = f'version="v3",op="{operation}",success="true"'
        lines += [f'{name}_bucket{{{labels},le="0.1"}} 3', f'{name}_bucket{{{labels},le="+Inf"}} 5']
        lines += [f"{name}_sum{{{labels}}} 0.5", f"{name}_count{{{labels}}} 5"]
    sample = parse_etcd_metrics("\n".join(["process_start_time_seconds 1", *lines]), "cp1", 0.0)
    assert sample is not None
    assert sample.apply is not None
    assert sample.apply.buckets == ((0.1, 6.0), (math.inf, 10.0))
    assert (sample.apply.count, sample.apply.total_seconds) == (10.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        "etcd_server_has_leader 1",
        "process_start_time_seconds NaN",
        "process_start_time",
    ],
)
def test_what_is_not_etcds_metrics_is_unknown(text: str) -> None:
    assert parse_etcd_metrics(text, "cp1", 0.0) is None


def test_what_is_absent_or_not_a_number_is_unknown_not_zero() -> None:
    name = "etcd_disk_wal_fsync_duration_seconds"
    text = f'process_start_time_seconds 1\n{name}_bucket{{le="+Inf"}} NaN\n{name}_count 1\n{name}_sum 1\n'
    sample = parse_etcd_metrics(text, "cp1", 0.0)
    assert sample is not None
    assert (sample.wal_fsync, sample.apply, sample.has_leader, sample.db_size_bytes) == (
        None,
        None,
        None,
        None,
    )
