"""`RayHead`: what runs the studies."""

from __future__ import annotations

import os
from collections.abc import Mapping

import requests

from cluster.service.part import BIN, Broken, Part
from cluster.service.settings import LOOPBACK


class RayHead(Part):
    """A Ray head with its job server and dashboard. Jobs get its environment."""

    name = "ray"
    needs_seconds = 120.0

    def ports(self) -> dict[str, int]:
        s = self.settings
        names = ("ray_port", "jobs_port", "agent_port", "client_port")
        return {name: getattr(s, name) for name in names}

    def command(self) -> list[str]:
        s = self.settings
        command = [str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"]
        node = LOOPBACK if s.on_loopback else s.called
        command += [f"--node-ip-address={node}", f"--port={s.ray_port}"]
        command += [f"--dashboard-host={s.host}", f"--dashboard-port={s.jobs_port}"]
        command += [f"--dashboard-agent-listen-port={s.agent_port}", f"--num-cpus={s.cpus}"]
        command += [f"--ray-client-server-port={s.client_port}", "--include-log-monitor=true"]
        return command + ([f"--num-gpus={s.gpus}"] if s.gpus >= 0 else [])

    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",  # the jobs' `python`
            **self.settings.for_ray,
            **self.settings.for_studies(),
        }

    def well(self) -> bool:
        return self._status({"Authorization": f"Bearer {self.settings.token.read_text()}"}) == 200

    def before(self) -> None:
        """Nothing."""

    def after(self) -> None:
        if (code := self._status({})) not in (401, 403):
            raise Broken(f"Ray answers without the token, with {code}")

    def _status(self, headers: Mapping[str, str]) -> int:
        try:
            url = f"{self.settings.jobs}/api/jobs/"
            return requests.get(url, headers=headers, timeout=5).status_code
        except (requests.ConnectionError, requests.Timeout):
            return 0
