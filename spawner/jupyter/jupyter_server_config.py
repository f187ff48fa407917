"""What the hub needs of a user's Jupyter server (see start.py). It wins over the user's own settings.

The server is a plain `jupyter lab` on a unix socket. It trusts two things only: the folder of the socket (the hub and
the user may enter, nobody else) and the headers that the hub sets and strips from everybody else. Its own XSRF and
Origin checks stay on, and for that the token must be empty: a token switches both off for requests that carry it.
"""

import os

import tljh_server

c = get_config()  # noqa: F821

user = os.environ["JUPYTERHUB_USER"]

c.ServerApp.sock = os.environ["TLJH_SOCKET"]
# The folder has the hub's group and the setgid bit, so this lets the hub connect, and nobody else.
c.ServerApp.sock_mode = "0660"
c.ServerApp.base_url = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
c.ServerApp.default_url = os.environ["JUPYTERHUB_DEFAULT_URL"]
c.ServerApp.root_dir = os.path.expanduser("~")
# Without this every Host but localhost is refused, even on a unix socket.
c.ServerApp.allow_remote_access = True
# The hub is the only way in, and it overwrites X-Forwarded-*.
c.ServerApp.trust_xheaders = True
c.ServerApp.open_browser = False
c.ServerApp.quit_button = False
c.FileContentsManager.delete_to_trash = False

c.ServerApp.identity_provider_class = tljh_server.HubIdentityProvider
c.IdentityProvider.token = ""
c.MultiKernelManager.kernel_manager_class = "tljh_server.KernelManager"
# Over TCP, every user of the machine could listen to what a kernel prints. The sockets lie in JUPYTER_RUNTIME_DIR.
c.KernelManager.transport = "ipc"
# The default of 1 MB a second cuts off a cell that prints a big table; what is too much is the memory limit's to say.
c.ZMQChannelsWebsocketConnection.iopub_data_rate_limit = 50_000_000
c.ZMQChannelsWebsocketConnection.iopub_msg_rate_limit = 10_000
c.ServerApp.terminado_settings = {"shell_command": [*tljh_server.EXPENDABLE, os.environ.get("SHELL", "/bin/bash"), "-l"]}

# Whether JupyterLab is new enough is the instructor's business, and no student's browser need ask the outside.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"

# JupyterLab shows 'Hub Control Panel' and 'Log Out' where these three are set.
c.ServerApp.tornado_settings = {
    "hub_prefix": os.environ["JUPYTERHUB_BASE_URL"] + "hub/",
    # Empty where the hub is on this very origin.
    "hub_host": os.environ.get("JUPYTERHUB_HOST", ""),
    "user": user,
}
