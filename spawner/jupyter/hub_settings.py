"""The settings of a user's Jupyter server that are the hub's to make. No configuration file changes them.

The server is a plain `jupyter lab` on a unix socket. It trusts two things only: the folder of the socket (the hub and
the user may enter, nobody else) and the headers that the hub sets and strips from everybody else. Its own XSRF and
Origin checks stay on, and for that the token must be empty: a token switches both off for requests that carry it.

All configuration that reaches the server goes through `update_config`: files of the user's, of the class and of the
machine, in their old and new names (`NotebookApp`), and what extensions hand on. So that is where the hub's word is put in.
"""

import os

from jupyter_server.serverapp import ServerApp
from traitlets.config import Config

import notices
import tljh_server

# Where and how the server listens, beside what `settings` names. With a `port` of a user's own, Jupyter refuses `sock`.
NOT_FOR_USERS = {
    *("ip", "port", "port_retries", "certfile", "keyfile", "client_ca", "ssl_options", "custom_display_url"),
    *("file_to_run", "notebook_dir", "token", "password", "login_handler_class", "logout_handler_class", "pylab"),
    *("config_file", "config_file_name"),
}


def settings():
    c = Config()

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
    c.HubIdentityProvider.token = ""
    c.ServerApp.kernel_manager_class = "kernels.Kernels"
    c.ServerApp.kernel_websocket_connection_class = "output.KernelConnection"
    c.Kernels.kernel_manager_class = "kernels.KernelManager"
    c.ServerApp.terminado_settings = {"shell_command": tljh_server.shell_command()}

    # Whether JupyterLab is new enough is the instructor's business, and no student's browser need ask the outside.
    c.LabApp.news_url = None
    c.LabApp.check_for_updates_class = "notices.HomeIsFull"

    # JupyterLab shows 'Hub Control Panel' and 'Log Out' where these three are set.
    c.ServerApp.tornado_settings = {
        "hub_prefix": os.environ["JUPYTERHUB_BASE_URL"] + "hub/",
        # Empty where the hub is on this very origin.
        "hub_host": os.environ.get("JUPYTERHUB_HOST", ""),
        "user": os.environ["JUPYTERHUB_USER"],
        "page_config_hook": notices.without_news,
    }
    return c


class HubServerApp(ServerApp):
    def update_config(self, config):
        theirs = Config(config)
        for section in (kind.__name__ for kind in type(self).__mro__):
            if section in theirs:
                theirs[section] = Config({k: v for k, v in theirs[section].items() if k not in NOT_FOR_USERS})
        # A section of the very class is stronger than that of its base, which the hub's settings are in.
        theirs.pop(type(self).__name__, None)
        theirs.merge(settings())
        super().update_config(theirs)

    def migrate_config(self):
        """Nothing of IPython's years before Jupyter is looked for in the home: it may be full, or another's in part."""
