# JupyterHub as The Littlest JupyterHub sets it up (tljh/jupyterhub_config.py): systemdspawner, accounts jupyter-NAME, the
# class environment first in PATH. Instead of Traefik there is configurable-http-proxy, JupyterHub's own default. The limits
# are those of our server: PEER_LIMITS has them, as systemd writes them.
import json
import os

c = get_config()  # noqa: F821

c.JupyterHub.bind_url = "http://:80"
c.JupyterHub.hub_port = 15001
c.ConfigurableHTTPProxy.command = json.loads(os.environ["PEER_PROXY"])

# With 'dummy' nobody's password is hashed, where the login is not part of what is measured.
c.JupyterHub.authenticator_class = os.environ["PEER_AUTHENTICATOR"]
c.FirstUseAuthenticator.dbm_path = "/opt/peer/state/passwords.dbm"
c.Authenticator.allow_all = True

limits = json.loads(os.environ["PEER_LIMITS"])
c.JupyterHub.spawner_class = "systemdspawner.SystemdSpawner"
c.Spawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.mem_limit = int(limits.pop("MemoryMax"))
c.SystemdSpawner.slice = limits.pop("Slice")
c.SystemdSpawner.unit_extra_properties = limits
c.SystemdSpawner.dynamic_users = False
c.SystemdSpawner.username_template = "jupyter-{USERNAME}"
c.SystemdSpawner.unit_name_template = "jupyter-{USERNAME}"
c.SystemdSpawner.default_shell = "/bin/bash"
c.SystemdSpawner.extra_paths = ["/opt/tljh/user/bin"]

# As TLJH has it, with a time that no benchmark lasts.
c.JupyterHub.services = [
    {
        "name": "cull-idle",
        "command": ["/opt/peer/hub/bin/python", "-m", "jupyterhub_idle_culler", "--timeout=36000", "--cull-every=60", "--concurrency=5"],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "cull-idle",
        "services": ["cull-idle"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
