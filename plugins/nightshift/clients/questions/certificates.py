"""Reads the section `certificates`: one line per file, `path TAB base64 of its PEM certificates`. No keys travel."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import NameOID

from nightshift.clients.questions import NodeQuestion
from nightshift.domain.facts.certificates import CertificateFacts


def parse_certificates(text: str) -> tuple[CertificateFacts, ...]:
    """Read the section.

    Raises:
        ValueError: a file holds no certificate. That a file is not there is the gate's to judge.
    """
    return tuple(fact for line in text.splitlines() for fact in _file(line))


def _file(line: str) -> Iterator[CertificateFacts]:
    path, _, encoded = line.partition("\t")
    try:
        certificates = x509.load_pem_x509_certificates(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{path} holds no certificate that can be read: {error}") from error
    for certificate in certificates:
        yield CertificateFacts(
            file=path,
            subject=_common_name(certificate),
            begins=certificate.not_valid_before_utc.timestamp(),
            ends=certificate.not_valid_after_utc.timestamp(),
            is_ca=_is_ca(certificate),
        )


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


CERTIFICATES_QUESTION = NodeQuestion("certificates", parse_certificates)
