import pytest

from nightshift.domain.brake import Brake, BrakeMode, NodeAtWork, foresee, parse_until, read_brake

NOW = parse_until("2027-01-15T08:00:00+00:00")
LATER = "2027-01-15T08:00:01Z"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, None),
        ({"paused": "false", "reason": "x"}, None),
        ({"paused": " True "}, Brake()),
        ({"paused": "true", "reason": "holidays"}, Brake(reason="holidays")),
        ({"paused": "true", "mode": "stop now"}, Brake(BrakeMode.STOP)),
        ({"paused": "true", "mode": " Stop"}, Brake(BrakeMode.STOP)),
        ({"paused": "true", "mode": "what?"}, Brake(BrakeMode.PAUSE)),
        ({"paused": "true", "until": "2027-01-15T08:00:00Z"}, None),
        ({"paused": "true", "until": "2027-01-15T08:30:00+01:00"}, None),
        ({"paused": "true", "until": "2027-01-15"}, None),
        ({"paused": "true", "until": LATER}, Brake(until=NOW + 1)),
        ({"paused": "true", "until": "2027-01-15T08:00:01"}, Brake(until=NOW + 1)),
        ({"paused": "true", "until": "tomorrow"}, Brake(unread="tomorrow")),
    ],
)
def test_what_cannot_be_read_never_releases_it(data: dict[str, str], expected: Brake | None) -> None:
    assert read_brake(data, NOW) == expected


@pytest.mark.parametrize(
    "brake", [Brake(), Brake(BrakeMode.STOP, "why", "anna", NOW + 1.0), Brake(reason="why", until=NOW + 0.5)]
)
def test_what_is_written_is_what_is_read(brake: Brake) -> None:
    assert read_brake(brake.to_data(), NOW) == brake


def test_it_says_who_why_how_and_until_when() -> None:
    assert Brake().sentence == "The brake is on: no reason given."
    full = Brake(BrakeMode.STOP, "Migration.", "anna", NOW)
    assert full.sentence == "The brake is on (stop now): Migration, by anna, until 2027-01-15 08:00 UTC."
    assert "'tomorrow' cannot be read, so it has none" in Brake(unread="tomorrow").sentence


PAUSE, STOP = Brake(), Brake(BrakeMode.STOP)
DRAINED = NodeAtWork("w1", ())
WORKING = NodeAtWork("w1", ("kubeadm-upgrade",), is_begun=True)
BETWEEN = NodeAtWork("w1", (), is_begun=True)
UNKNOWN = NodeAtWork("w1", None)


@pytest.mark.parametrize(
    ("brake", "node", "said"),
    [
        (PAUSE, DRAINED, "w1 is drained. w1 is given back as it was. It begins no other node"),
        (STOP, DRAINED, "w1 is given back as it was."),
        (PAUSE, WORKING, "kubeadm-upgrade runs on w1. w1 is carried to its end."),
        (
            STOP,
            WORKING,
            "The job comes to its end; w1 is given back, and done to its end on the next night.",
        ),
        (PAUSE, BETWEEN, "w1 is between two steps. w1 is carried to its end."),
        (STOP, BETWEEN, "w1 is between two steps. w1 is given back, and done to its end on the next night."),
        (STOP, UNKNOWN, "w1 is cordoned and cannot be asked what runs there. A job that runs on w1 comes to"),
        (None, WORKING, "kubeadm-upgrade runs on w1. It goes on"),
    ],
)
def test_what_comes_of_it_follows_from_what_goes_on(brake: Brake | None, node: NodeAtWork, said: str) -> None:
    text = foresee(brake, "airflow/lab/run-1", (node,))
    assert text.startswith("airflow/lab/run-1 holds the cluster: ")
    assert said in text


def test_without_a_run_it_is_about_the_nights_to_come() -> None:
    assert foresee(PAUSE, "", ()) == "Nobody is at the cluster; nights are held until it is released."
    assert foresee(Brake(until=NOW), "", ()).endswith("held until 2027-01-15 08:00 UTC.")
    assert foresee(None, "", ()) == "Nobody is at the cluster; the next night may begin."
    assert "no node is taken at this moment. It begins no other node" in foresee(PAUSE, "r", ())
