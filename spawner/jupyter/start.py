"""Starts the `jupyter lab` of the class environment, as its own start script does, with three differences.

1. `rfc3987_syntax` is hidden from it. jsonschema imports it for two formats that Jupyter does not use (`iri` and
   `iri-reference`), and building its 38 grammars takes 0.8 s of the 1.3 s that JupyterLab needs to start, and 16 MB in
   each server (measured with rfc3987-syntax 1.1.0). jsonschema does without where the import fails.
2. The server is a `HubServerApp` (hub_settings.py), which no settings of a user's own can move.
3. What Jupyter must write goes elsewhere while the home takes nothing (home.py).
"""

import os
import sys

sys.modules["rfc3987_syntax"] = None

import home  # noqa: E402
import tljh_server  # noqa: E402

# Where a start fails or hangs, the spawner finds this line in the journal, and the hub offers a start without them.
own_settings = home.own_settings()
if own_settings:
    print(f"own settings: {', '.join(own_settings)}", file=sys.stderr, flush=True)
home.find_places_to_write()

from hub_settings import HubServerApp  # noqa: E402
from jupyterlab.labapp import LabApp, main  # noqa: E402

# JupyterLab reads the defaults of its settings in labconfig/, beside this file, as in all folders of the path.
tljh_server.use_settings_in(os.path.dirname(__file__))
LabApp.serverapp_class = HubServerApp
sys.argv[0] = "jupyter-lab"
sys.exit(main())
