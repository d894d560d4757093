"""`Mlflow`: what is known of every run."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from cluster.service.part import BIN, Broken, Part
from cluster.service.postgres import Postgres
from cluster.service.settings import BUCKETS, LOOPBACK, USER, write_private


class Mlflow(Part):
    """`mlflow server` on both, with basic authentication."""

    name = "mlflow"
    needs_seconds = 180.0  # it imports for long, and its tables are made at the first start

    def ports(self) -> dict[str, int]:
        return {"mlflow_port": self.settings.mlflow_port}

    def command(self) -> list[str]:
        port = self.settings.mlflow_port
        names = {LOOPBACK, "localhost", self.settings.called, *self.settings.names.split(",")}
        allowed = ",".join(f"{name}:{port}" for name in sorted(names) if name)
        command = [str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--workers", "2"]
        command += ["--host", self.settings.host, "--port", str(port)]
        return [*command, "--allowed-hosts", allowed]

    def before(self) -> None:
        uri = Postgres(self.settings).uri("mlflow_auth")
        lines = ["[mlflow]", "default_permission = EDIT", f"database_uri = {uri}"]
        lines += ["admin_username = admin", "auth_cache_ttl_seconds = 60"]
        function = "mlflow.server.auth:authenticate_request_basic_auth"
        lines += [f"authorization_function = {function}", ""]
        write_private(self.settings.folder / "mlflow-auth.ini", "\n".join(lines))

    def environment(self) -> Mapping[str, str]:
        known = self.settings.secrets()
        return {
            "MLFLOW_BACKEND_STORE_URI": Postgres(self.settings).uri("mlflow"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKETS[1]}",
            "MLFLOW_AUTH_CONFIG_PATH": str(self.settings.folder / "mlflow-auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": known["mlflow_admin"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": known["mlflow_flask"],
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 27 s and 1.8 GB for what is not used
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_S3_ENDPOINT_URL": self.settings.s3,
            **self.settings.for_s3(),
        }

    def well(self) -> bool:
        try:
            return requests.get(f"{self.settings.mlflow}/health", timeout=3).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def after(self) -> None:
        known = self.settings.secrets()
        admin = ("admin", known["mlflow_admin"])
        base = f"{self.settings.mlflow}/api/2.0/mlflow"
        user = {"username": USER, "password": known["mlflow_study"]}
        there = requests.get(f"{base}/users/get", params={"username": USER}, auth=admin, timeout=30)
        if there.status_code == 404:
            requests.post(
                f"{base}/users/create", json=user, auth=admin, timeout=30
            ).raise_for_status()
        body = {"max_results": 1}
        for auth, wanted in (((USER, known["mlflow_study"]), 200), (None, 401)):
            answer = requests.post(f"{base}/experiments/search", json=body, auth=auth, timeout=30)
            if answer.status_code != wanted:
                who = USER if auth else "nobody"
                raise Broken(f"MLflow answers {who} with {answer.status_code}, not {wanted}")
