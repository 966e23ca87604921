from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from nightshift.clients.questions.certificates import parse_certificates
from nightshift.clients.questions.clock import parse_clock

BEGINS = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def pem(name: str, days: int, *, is_ca: bool | None = None) -> bytes:
    """A certificate as kubeadm's, signed by itself; `is_ca` None: without basic constraints."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGINS)
        .not_valid_after(BEGINS + timedelta(days=days))
    )
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def line(path: str, *certificates: bytes) -> str:
    return f"{path}\t{base64.b64encode(b''.join(certificates)).decode()}\n"


def test_files_and_bundles() -> None:
    text = line("/a/ca.crt", pem("kubernetes", 3650, is_ca=True)) + line(
        "/a/bundle.crt", pem("leaf", 365, is_ca=False), pem("", 100)
    )
    ca, leaf, nameless = parse_certificates(text)
    assert (ca.file, ca.subject, ca.is_ca) == ("/a/ca.crt", "kubernetes", True)
    assert ca.begins == BEGINS.timestamp()
    assert ca.ends == BEGINS.timestamp() + 3650 * 86_400
    assert (leaf.file, leaf.subject, leaf.is_ca) == ("/a/bundle.crt", "leaf", False)
    assert (nameless.subject, nameless.is_ca) == ("", False)


def test_a_node_without_certificates_is_no_fault_of_its_answer() -> None:
    """The gate knows what should be there, and says what is missing."""
    assert parse_certificates("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/a/ca.crt\t\n", "/a/ca.crt holds no certificate"),
        ("/a/ca.crt\n", "/a/ca.crt holds no certificate"),
        ("/a/ca.crt\tnot base64\n", "/a/ca.crt holds no certificate"),
        (line("/a/ca.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "/a/ca.crt"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_certificates(text)


def test_a_clock() -> None:
    assert parse_clock("1790000000.123456789\n") == pytest.approx(
        (1_790_000_000.123457, 1_790_000_000.123457)
    )
    assert parse_clock("1790000000.5 1790000001.25\n") == (1_790_000_000.5, 1_790_000_001.25)


@pytest.mark.parametrize("text", ["", "nan", "inf", "12:30", "1790000000,5", "1 nan", "1 2 3"])
def test_no_clock(text: str) -> None:
    with pytest.raises(ValueError):
        parse_clock(text)
