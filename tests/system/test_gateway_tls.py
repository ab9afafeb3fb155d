"""Encryption: a certificate of our own, made once and pinned; given files; plain only where it is asked for."""
import hashlib
import socket
import ssl
import subprocess

import pytest
from berthpool import Worker, pool, running  # noqa: F401


def certificate_of(pool):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(pool.address, 60) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        return tls.getpeercert(True), tls.version()


def test_own_certificate(tmp_path):
    for secure in running(tmp_path / "pool", arguments=["--tls", "auto"]):
        assert secure.url.startswith("https://")
        der, version = certificate_of(secure)
        assert version == "TLSv1.3"
        pin = hashlib.sha256(der).hexdigest()
        assert secure.pin == pin
        # It stands for the names it is reached by.
        pem = tmp_path / "pinned.pem"
        pem.write_text(ssl.DER_cert_to_PEM_cert(der))
        context = ssl.create_default_context(cafile=str(pem))
        with socket.create_connection(secure.address, 60) as sock, context.wrap_socket(sock, server_hostname="127.0.0.1"):
            pass
        assert (secure.folder / "tls-key.pem").stat().st_mode & 0o777 == 0o600
        # Everything works through it: a large body both ways, a stream, a worker.
        data = bytes(range(256)) * 8192
        path = "/api/v1/artifacts/" + hashlib.sha256(data).hexdigest()
        assert secure.ask("PUT", path, data).status == 201
        assert secure.ask("GET", path).body == data
        assert secure.ask("GET", path, headers={"Range": "bytes=70000-200000"}).body == data[70000:200001]
        stream = secure.websocket("/events")
        assert stream.receive()["type"] == "snapshot"
        worker = Worker(secure)
        task = secure.submit()
        worker.finish(worker.lease(), {"fine": True})
        assert secure.good("GET", f"/api/v1/tasks/{task['id']}?wait=60")["state"] == "done"
        assert secure.stop() == 0
        secure.start()
        assert secure.pin == pin, "the same certificate after a restart"


def test_old_versions_and_plain_text_are_refused(tmp_path):
    for secure in running(tmp_path / "pool", arguments=["--tls", "auto"]):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(secure.address, 60) as sock, pytest.raises((ssl.SSLError, ConnectionResetError)):
            context.wrap_socket(sock)
        with socket.create_connection(secure.address, 60) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                assert b"HTTP/1.1" not in sock.recv(1000)
            except ConnectionResetError:
                pass
        # A handshake that never comes does not keep the door open, nor one cut in the middle.
        with socket.create_connection(secure.address, 60) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert secure.ask("GET", "/healthz", token=None).status == 200


def test_given_files(tmp_path):
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=given", "-keyout", key,
                    "-out", certificate], check=True, capture_output=True, timeout=60)
    for secure in running(tmp_path / "pool", arguments=["--tls", f"{certificate},{key}"]):
        assert ssl.DER_cert_to_PEM_cert(certificate_of(secure)[0]) in certificate.read_text() or certificate_of(secure)[0] in ssl.PEM_cert_to_DER_cert(certificate.read_text())
        assert secure.ask("GET", "/healthz", token=None).status == 200
