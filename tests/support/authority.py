"""Certificates for tests, made with the openssl command."""

import ssl
import subprocess
from pathlib import Path


class Authority:
    """A certificate authority of our own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.certificate = directory / "ca.pem"
        self._key = directory / "ca.key"
        make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        self._openssl(*make, "-keyout", str(self._key), "-out", str(self.certificate), "-subj", "/CN=Test CA")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=self._directory)

    def server_context(self, name: str) -> ssl.SSLContext:
        """TLS for a server with a certificate for ``name``, such as `IP:127.0.0.1`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._issue(name))
        return context

    def client_files(self) -> tuple[Path, Path]:
        """A client's certificate and its key."""
        return self._issue("DNS:client.example")

    def _issue(self, name: str) -> tuple[Path, Path]:
        stem = name.replace(":", "-")
        key, request, certificate = (self._directory / f"{stem}.{kind}" for kind in ("key", "csr", "pem"))
        make = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        self._openssl(*make, "-keyout", str(key), "-out", str(request), "-subj", "/CN=server")
        extensions = self._directory / f"{stem}.ext"
        extensions.write_text(f"subjectAltName={name}\n")
        sign = ["x509", "-req", "-days", "1", "-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial"]
        self._openssl(*sign, "-in", str(request), "-out", str(certificate), "-extfile", str(extensions))
        return certificate, key
