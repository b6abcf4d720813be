"""Certificates of the session, made with openssl: one CA, one for each name."""

import os
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Certificates:
    def __init__(self, folder):
        self.folder = folder
        self.made = {}
        self.ca = os.path.join(folder, "ca.pem")
        self.ca_key = os.path.join(folder, "ca.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=Lunette test CA", "-keyout", self.ca_key,
                "-out", self.ca)

    def pair(self, *names):
        """Files with certificate and key for these names."""
        if names in self.made:
            return self.made[names]
        stem = os.path.join(self.folder, f"leaf{len(self.made)}")
        crt, key, csr = stem + ".pem", stem + ".key", stem + ".csr"
        openssl("req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj",
                "/CN=" + names[0], "-keyout", key, "-out", csr)
        with open(stem + ".ext", "w") as f:
            f.write("subjectAltName=" +
                    ",".join("DNS:" + name for name in names) + "\n")
        openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey",
                self.ca_key, "-CAcreateserial", "-days", "2", "-extfile",
                stem + ".ext", "-out", crt)
        # Servers that drop root read them too.
        os.chmod(key, 0o644)
        self.made[names] = (crt, key)
        return crt, key
