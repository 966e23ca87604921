from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from nightshift.clients import cluster_config
from nightshift.clients.cluster_config import (
    clusters_directory,
    json_schema,
    load_cluster,
    load_clusters,
    write_schema,
)
from nightshift.domain.errors import ConfigError
from nightshift.domain.facts import WorkloadName
from nightshift.domain.facts.addons import AddOn, AddOnRelease
from nightshift.domain.policy import AlertPolicy, ClusterPolicy, CompatibilityPolicy, Override, Rule

PROJECT = Path(__file__).parents[3]
CLUSTERS = PROJECT / "include" / "clusters"
RULE = "rules:\n- name: calm\n  message: not calm\n"
MINIMAL = "kubernetes_connection: k\nssh_connection: s\nstore: file:///store\n"


def written(tmp_path: Path, text: str, name: str = "prod.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str, name: str = "prod.yaml") -> str:
    with pytest.raises(ConfigError) as caught:
        load_cluster(written(tmp_path, text, name))
    assert caught.value.code == "CONFIG_INVALID"
    assert name in str(caught.value)
    assert caught.value.next_step
    return str(caught.value)


def test_three_keys_are_enough_and_everything_else_is_the_shipped_default(tmp_path: Path) -> None:
    policy = load_cluster(written(tmp_path, MINIMAL))
    assert policy == ClusterPolicy("prod", "k", "s", "file:///store")


def test_the_sample_shows_exactly_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTSHIFT_STORE", raising=False)
    sample = (CLUSTERS / "example.yaml.sample").read_text(encoding="utf-8")
    policy = load_cluster(written(tmp_path, sample))
    expected = ClusterPolicy(
        "prod", "nightshift_prod_kubernetes", "nightshift_prod_ssh", "file:///var/lib/nightshift/store"
    )
    assert policy == expected


def test_the_sample_takes_the_store_its_deployment_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose has one writable place, its volume, and says so in NIGHTSHIFT_STORE."""
    monkeypatch.setenv("NIGHTSHIFT_STORE", "file:///opt/airflow/store")
    sample = (CLUSTERS / "example.yaml.sample").read_text(encoding="utf-8")
    assert load_cluster(written(tmp_path, sample)).store == "file:///opt/airflow/store"


def test_alerts_and_rules_arrive(tmp_path: Path) -> None:
    text = MINIMAL + (
        "alerts:\n  prometheus_url: http://prometheus:9090\n  alertmanager_url: http://alertmanager:9093\n"
        "  required: true\n  severities: [critical, page]\n  ignore: [Watchdog]\n"
        "rules:\n- {name: down, promql: up == 0, message: Something is down., outcome: warn}\n"
        "- {name: calm, cel: 'nodes.all(n, n.ready)', message: All is calm., resolution: Wait.}\n"
        "api_use:\n  ignored_api_services: [v1beta1.metrics.k8s.io]\n"
        "nodes:\n  settle_seconds: 0\ncertificates:\n  block_hours: 48\n"
    )
    policy = load_cluster(written(tmp_path, text))
    assert policy.alerts == AlertPolicy(
        prometheus_url="http://prometheus:9090",
        alertmanager_url="http://alertmanager:9093",
        required=True,
        severities=("critical", "page"),
        ignore=("Watchdog",),
    )
    assert policy.rules == (
        Rule("down", "Something is down.", "warn", promql="up == 0"),
        Rule("calm", "All is calm.", cel="nodes.all(n, n.ready)", resolution="Wait."),
    )
    assert policy.api_use.ignored_api_services == ("v1beta1.metrics.k8s.io",)
    assert (policy.nodes.settle_seconds, policy.certificates.block_hours) == (0, 48)


def test_every_value_arrives(tmp_path: Path) -> None:
    text = MINIMAL + (
        "pushgateway_url: http://push:9091\naccept_api_outage: true\nschedule: null\n"
        "target:\n  newest_minor: '1.35'\n  pinned_version: 1.34.4\n  patch_first: false\n"
        "window:\n  start: '22:00'\n  end: '04:00'\n  frozen_dates: [2026-12-24, '2026-12-31']\n"
        "disk:\n  margin_percent: 5\nworkers:\n  max_unavailable: 3\n"
        "quiesce:\n- {kind: StatefulSet, namespace: shop, name: queue}\n"
        "compatibility:\n  too_old: warn\n  pinned: [calico]\n  addons:\n"
        "  - {name: own, images: [a/own], source: 'https://a', releases: [{release: '2.4', newest: '1.35'}]}\n"
    )
    policy = load_cluster(written(tmp_path, text))
    assert policy.pushgateway_url == "http://push:9091"
    assert policy.accept_api_outage is True
    assert policy.schedule is None
    assert (policy.target.newest_minor, policy.target.pinned_version) == ("1.35", "1.34.4")
    assert policy.target.patch_first is False
    assert policy.window.frozen_dates == ("2026-12-24", "2026-12-31")
    assert policy.disk.margin_percent == 5.0
    assert policy.workers.max_unavailable == 3
    assert policy.quiesce == (WorkloadName("StatefulSet", "shop", "queue"),)
    own = AddOn("own", ("a/own",), (AddOnRelease("2.4", None, "1.35"),), "https://a")
    assert policy.compatibility == CompatibilityPolicy("warn", ("calico",), (own,))


OVERRIDE = (
    MINIMAL
    + "overrides:\n- gate: {gate}\n  code: ALERT_FIRING\n  reason: known for weeks\n  person: ann\n  until: {until}\n"
)


@pytest.mark.parametrize(
    "until", ["2026-12-01", "'2026-12-01'", "2026-12-01T01:00:00+01:00", "2026-12-01 00:00:00"]
)
def test_an_override_ends_at_a_moment_in_utc(tmp_path: Path, until: str) -> None:
    policy = load_cluster(written(tmp_path, OVERRIDE.format(gate="alerts", until=until)))
    assert policy.overrides == (Override("alerts", "ALERT_FIRING", "known for weeks", "ann", 1796083200.0),)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param(
            MINIMAL.replace("ssh_connection: s", "ssh_connection: K"),
            1,
            "one and the same",
            id="one connection",
        ),
        pytest.param(
            OVERRIDE.format(gate="alert", until="2026-12-01"), 5, "did you mean 'alerts'", id="no such gate"
        ),
        pytest.param(
            OVERRIDE.format(gate="alerts", until="2026-12-01").replace("ALERT_FIRING", "ALERTS_FIRING"),
            5,
            "there is no code ALERTS_FIRING; did you mean ALERT_FIRING",
            id="no such code",
        ),
        pytest.param(
            OVERRIDE.format(gate="alerts", until="soon"), 9, "overrides.0.until", id="an end that is none"
        ),
        pytest.param(
            MINIMAL + "overrides:\n- {gate: alerts, code: ALERT_FIRING, person: ann, until: 2026-12-01}\n",
            5,
            "overrides.0.reason",
            id="no reason",
        ),
        pytest.param(
            MINIMAL + "compatibility:\n  addons:\n  - name: own\n    images: [a]\n    source: https://a\n"
            "    releases:\n    - {release: '2.4', newset: '1.35'}\n",
            10,
            "did you mean 'newest'",
            id="typo in an add-on",
        ),
        pytest.param(MINIMAL + "acept_api_outage: true\n", 4, "did you mean 'accept_api_outage'", id="typo"),
        pytest.param(
            MINIMAL + "disk:\n  margin: 2.0\n", 5, "did you mean 'margin_percent'", id="nested typo"
        ),
        pytest.param(MINIMAL + "disk:\n  zzz: 2.0\n", 5, "valid keys: margin_percent", id="nothing near"),
        pytest.param("ssh_connection: s\nstore: x\n", 1, "'kubernetes_connection' is missing", id="missing"),
        pytest.param(MINIMAL + "disk:\n  margin_percent: 90\n", 5, "less than or equal to 30", id="bound"),
        pytest.param(MINIMAL + "disk:\n  margin_percent: two\n", 5, "valid number", id="no number"),
        pytest.param(MINIMAL + "accept_api_outage: 'yes'\n", 4, "valid boolean", id="text for a boolean"),
        pytest.param(MINIMAL + "window:\n  start: 23:00\n", 5, "write it in quotes", id="YAML reads 1380"),
        pytest.param(MINIMAL + "window:\n  start: '25:00'\n", 5, "window.start", id="no such hour"),
        pytest.param(
            MINIMAL + "window:\n  frozen_dates:\n    - '2026-12-24'\n    - soon\n", 7, "soon", id="date"
        ),
        pytest.param(MINIMAL + "window:\n  frozen_dates: [7]\n", 5, "7", id="a number as date"),
        pytest.param(
            MINIMAL + "target:\n  newest_minor: 1.40\n", 5, "write it in quotes", id="YAML reads 1.4"
        ),
        pytest.param(MINIMAL + "target:\n  newest_minor: newest\n", 5, "not a Kubernetes minor", id="minor"),
        pytest.param(MINIMAL + "target:\n  pinned_version: '1.34'\n", 5, "release version", id="release"),
        pytest.param(
            MINIMAL + "target:\n  newest_minor: '1.34'\n  pinned_version: 1.35.4\n", 4, "beyond", id="pin"
        ),
        pytest.param(
            MINIMAL + "limits:\n  lease_seconds: 30\n  lease_renew_seconds: 20\n", 4, "a third", id="lease"
        ),
        pytest.param(
            MINIMAL + "limits:\n  upgrade_manifests_seconds: 3600\n", 4, "must be more", id="time limits"
        ),
        pytest.param(MINIMAL + RULE + "  cel: 'nodes.exists(n'\n", 7, "no CEL expression", id="no CEL"),
        pytest.param(MINIMAL + RULE + "  promql: up == 0\n", 1, "alerts.prometheus_url", id="nobody to ask"),
        pytest.param(MINIMAL + RULE, 5, "exactly one of promql and cel", id="no expression"),
        pytest.param(
            MINIMAL + RULE + "  cel: 'true'\n  promql: up == 0\n", 5, "exactly one of", id="two expressions"
        ),
        pytest.param(
            MINIMAL + RULE + "  cel: 'true'\n- {name: calm, cel: 'true', message: m}\n",
            1,
            "calm twice",
            id="twice",
        ),
        pytest.param(MINIMAL + "alerts:\n  required: true\n", 4, "needs prometheus_url", id="whose answer"),
        pytest.param(
            MINIMAL + "pushgateway_url: https://pusher:hunter2@gauges\n", 4, "holds a password", id="password"
        ),
        pytest.param(
            MINIMAL.replace("file:///store", "s3://KEY:hunter2@bucket"),
            3,
            "the name of an Airflow connection",
            id="store's key",
        ),
        pytest.param(
            MINIMAL + "workers:\n  on_failure: ignore\n", 5, "'quarantine' or 'stop'", id="no such choice"
        ),
        pytest.param(MINIMAL + "schedule: sometimes\n", 4, "schedule", id="cron"),
        pytest.param(
            MINIMAL + "quiesce:\n- kind: Deployment\n  namespace: a\n  nmae: b\n",
            5,
            "line 7: unknown key 'quiesce.0.nmae'; did you mean 'name'",
            id="typo in a list",
        ),
        pytest.param(
            MINIMAL + "quiesce:\n- {kind: DaemonSet, namespace: a, name: b}\n",
            5,
            "'Deployment', 'StatefulSet' or 'CronJob'",
            id="what cannot be quiesced",
        ),
        pytest.param(
            MINIMAL + "quiesce:\n- {kind: CronJob, namespace: a, name: B_}\n",
            5,
            "quiesce.0.name",
            id="no name",
        ),
        pytest.param(
            MINIMAL + "quiesce:\n" + 2 * "- {kind: CronJob, namespace: a, name: b}\n",
            1,
            "quiesce names CronJob a/b twice",
            id="quiesced twice",
        ),
        pytest.param(
            MINIMAL.replace("file:///store", "S3//bucket"), 3, "did you mean 's3://bucket'", id="no store"
        ),
        pytest.param(MINIMAL + "disk: 5\n", 4, "disk", id="section is no mapping"),
        pytest.param(MINIMAL + "pushgateway_url: push:9091\n", 4, "pushgateway_url", id="no URL"),
        pytest.param(MINIMAL + "store: file:///b\n", 4, "was given before, in line 3", id="key twice"),
        pytest.param(
            MINIMAL + "window:\n  frozen_dates:\n  - {a: 1, a: 2}\n", 6, "given before", id="twice in list"
        ),
        pytest.param("a: [1\n", 2, "It is not YAML", id="broken YAML"),
        pytest.param("- a\n", 1, "not a mapping", id="a list"),
        pytest.param("", 1, "not a mapping", id="empty"),
        pytest.param(MINIMAL + "pushgateway_url: http://${oh no}\n", 4, "only ${NAME}", id="odd variable"),
        pytest.param(
            MINIMAL + "pushgateway_url: ${NIGHTSHIFT_TEST_UNSET}\n", 4, "is not set", id="unset variable"
        ),
    ],
)
def test_bad_files_are_refused_with_file_line_and_reason(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    message = refused(tmp_path, text)
    assert f"prod.yaml:{line}:" in message
    assert said in message


def test_all_problems_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    message = refused(tmp_path, MINIMAL + "workers:\n  waves: 0\ndisk:\n  nonsense: 1\n")
    assert message.index("line 5: workers.waves") < message.index("line 7: unknown key 'disk.nonsense'")


@pytest.mark.parametrize("name", ["Prod.yaml", "a b.yaml", "-x.yaml"])
def test_names_that_make_no_dag_id_are_refused(tmp_path: Path, name: str) -> None:
    assert "no cluster name" in refused(tmp_path, MINIMAL, name)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prod.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_cluster(tmp_path / "prod.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_cluster(tmp_path / "absent.yaml")


def test_control_characters_are_no_crash(tmp_path: Path) -> None:
    assert "It is not YAML" in refused(tmp_path, "a: \x01\n")


def test_environment_is_replaced_only_where_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_TEST_HOST", "10.1.1.1")
    text = (
        "kubernetes_connection: k\nssh_connection: s\nstore: ${NIGHTSHIFT_TEST_STORE:-file:///fallback}\n"
        "pushgateway_url: http://${NIGHTSHIFT_TEST_HOST:-unused}:9091\nprobe_image: a/${NIGHTSHIFT_TEST_HOST}\n"
        "target:\n  package_repository: http://${NIGHTSHIFT_TEST_HOST}:8081\n"
    )
    policy = load_cluster(written(tmp_path, text))
    assert policy.store == "file:///fallback"
    assert policy.pushgateway_url == "http://10.1.1.1:9091"
    assert policy.target.package_repository == "http://10.1.1.1:8081"
    assert policy.probe_image == "a/${NIGHTSHIFT_TEST_HOST}"


def test_one_broken_file_leaves_the_others(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "good.yaml")
    written(tmp_path, "nonsense: 1\n", "bad.yaml")
    written(tmp_path, "nonsense: 1\n", "ignored.yaml.sample")
    loaded = load_clusters(tmp_path)
    assert set(loaded.policies) == {"good"}
    assert set(loaded.errors) == {"bad.yaml"}


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param("drain:\n  time_out_seconds: 5\n", id="unknown key"),
        pytest.param("drain: 5\n", id="no section"),
        pytest.param("limits:\n  lease_renew_seconds: 500\n", id="limits that contradict each other"),
        pytest.param("pushgateway_url: ${NIGHTSHIFT_TEST_UNSET}\n", id="unset variable"),
        pytest.param("window:\n  start: 23:00\n", id="not quoted"),
        pytest.param("probe_image: 'x\n", id="no YAML"),
        pytest.param("\tschedule: null\n  - a\n", id="wild indentation"),
        pytest.param("nonsense\n", id="stray word"),
        pytest.param("ssh_connection: s\n", id="given twice"),
    ],
)
def test_of_a_broken_file_everything_else_is_salvaged(tmp_path: Path, wrong: str) -> None:
    text = f"{MINIMAL}control_plane_slots: 5\n{wrong}workers:\n  waves: 3 # more tomorrow\n  max_unavailable: 2\n"
    refused(tmp_path, text)
    salvaged = load_clusters(tmp_path).salvaged["prod.yaml"]
    assert (salvaged.name, salvaged.kubernetes_connection, salvaged.ssh_connection) == ("prod", "k", "s")
    assert (salvaged.store, salvaged.control_plane_slots) == ("file:///store", 5)
    assert (salvaged.workers.waves, salvaged.workers.max_unavailable) == (3, 2)


def test_a_list_that_is_quiesced_does_not_disturb_what_is_salvaged(tmp_path: Path) -> None:
    broken = "workers:\n  waves: 3\nquiesce:\n- kind: CronJob\n  namespace: a\n  name: b\n- [\n"
    written(tmp_path, MINIMAL + broken)
    salvaged = load_clusters(tmp_path).salvaged["prod.yaml"]
    assert (salvaged.ssh_connection, salvaged.workers.waves, salvaged.quiesce) == ("s", 3, ())


@pytest.mark.parametrize(
    "text", ["", "\x00\x01", "kubernetes_connection: [\nssh_connection: 'no spaces'\nstore:\n"]
)
def test_of_a_file_that_says_nothing_the_usual_names_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORE", "file:///there")
    written(tmp_path, text)
    usual = ClusterPolicy("prod", "nightshift_prod_kubernetes", "nightshift_prod_ssh", "file:///there")
    assert load_clusters(tmp_path).salvaged == {"prod.yaml": usual}


def test_an_environment_whose_store_is_none_does_not_hang_what_is_salvaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORE", "S3//bucket")
    written(
        tmp_path,
        "kubernetes_connection: k\nssh_connection: s\nstore: ${NIGHTSHIFT_STORE}\nworkers:\n  waves: 3\n",
    )
    salvaged = load_clusters(tmp_path).salvaged["prod.yaml"]
    assert (salvaged.store, salvaged.ssh_connection) == ("file:///var/lib/nightshift/store", "s")
    assert salvaged.workers.waves == 3


def test_a_file_whose_name_is_no_clusters_leaves_an_error_only(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "Prod.yaml")
    loaded = load_clusters(tmp_path)
    assert (loaded.policies, set(loaded.errors), loaded.salvaged) == ({}, {"Prod.yaml"}, {})


def test_a_deployment_ships_no_cluster() -> None:
    assert load_clusters(CLUSTERS) == ({}, {}, {})


def test_cluster_files_lie_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIGHTSHIFT_CLUSTERS", raising=False)
    assert clusters_directory() == CLUSTERS
    monkeypatch.setenv("NIGHTSHIFT_CLUSTERS", str(tmp_path))
    assert clusters_directory() == tmp_path


def test_the_lab_keeps_the_default_thresholds() -> None:
    loaded = load_clusters(PROJECT / "lab" / "clusters")
    assert loaded.errors == {}
    lab, default = loaded.policies["lab"], ClusterPolicy("x", "k", "s", "file:///s")
    assert lab.accept_api_outage
    assert (lab.etcd_latency, lab.disk, lab.drain, lab.limits) == (
        default.etcd_latency,
        default.disk,
        default.drain,
        default.limits,
    )


def test_schema_beside_the_clusters_is_up_to_date() -> None:
    stored = json.loads((CLUSTERS / cluster_config.SCHEMA_NAME).read_text(encoding="utf-8"))
    assert stored == json_schema(), "run: python -m nightshift.clients.cluster_config"


def test_schema_is_written_whole(tmp_path: Path) -> None:
    path = write_schema(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8")) == json_schema()
    assert [p.name for p in tmp_path.iterdir()] == ["schema.json"]


def test_the_file_and_the_policy_have_the_same_keys_and_defaults() -> None:
    def same(model: type[BaseModel], policy: type) -> None:
        fields = {f.name: f for f in dataclasses.fields(policy) if f.name != "name"}
        assert set(model.model_fields) == set(fields)
        for name, field in fields.items():
            section = model.model_fields[name].annotation
            if isinstance(section, type) and issubclass(section, BaseModel):
                assert callable(field.default_factory)
                same(section, type(field.default_factory()))

    same(cluster_config.ClusterFile, ClusterPolicy)
