"""A real nginx with the configuration that we ship, on ports of its own."""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CONFIGURATION = Path(__file__).parents[1] / "deployment" / "nginx.conf"
HOST = "rrm.example.org"
_START_SECONDS = 60.0


@contextmanager
def running_nginx(folder: Path, text: str) -> Iterator[None]:
    """Serve what `text` says; all of it lies in `folder`. Skips the test where there is no nginx."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("nginx is not installed")
    folders = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    paths = f"{folders}client_body_temp_path {folder}/body; access_log off;"
    file = folder / "nginx.conf"
    file.write_text(
        f"user root; worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;\n"
        f"events {{ }}\nhttp {{ gzip on; gzip_types *; {paths}\n{text}\n}}\n"
    )
    running = subprocess.Popen([program, "-c", file, "-p", folder], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _START_SECONDS
        while not (folder / "pid").exists():
            assert running.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, "nginx does not start"
            time.sleep(0.02)
        yield
    finally:
        running.terminate()
        running.wait(60)


def plain(port: int, upstream: int) -> str:
    """Our configuration without TLS."""
    ours = _led_to(upstream)
    ours = re.sub(r"server \{\s+listen 80;.*?\n\}\n", "", ours, flags=re.DOTALL)
    ours = re.sub(r"listen 443 ssl http2", f"listen 127.0.0.1:{port}", ours)
    return re.sub(r"\n *(listen \[::\]|ssl_certificate).*", "", ours)


def encrypted(port: int, redirecting: int, upstream: int, folder: Path) -> str:
    """Our configuration as it is, but for ports and the certificate, which is made in `folder`."""
    certify(folder)
    ours = re.sub(r"\n *listen \[::\].*", "", _led_to(upstream))
    ours = ours.replace("listen 443", f"listen 127.0.0.1:{port}").replace(
        "listen 80", f"listen 127.0.0.1:{redirecting}"
    )
    return re.sub(r"/etc/ssl/\w+/", f"{folder}/", ours)


def _led_to(upstream: int) -> str:
    return CONFIGURATION.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{upstream}")


def certify(folder: Path) -> None:
    """Write HOST.pem and HOST.key, signed by itself and good for an hour."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.OID_COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{HOST}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{HOST}.key").write_bytes(private)
