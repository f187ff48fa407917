"""Starts the `jupyter lab` of the class environment, as its own start script does, with two differences.

`rfc3987_syntax` is hidden from it. jsonschema imports it for two formats that Jupyter does not use (`iri` and
`iri-reference`), and building its 38 grammars takes 0.8 s of the 1.3 s that JupyterLab needs to start, and 16 MB in each
server (measured with rfc3987-syntax 1.1.0). jsonschema does without where the import fails.

The settings in jupyter_server_config.py, beside this file, come first in Jupyter's search path, so they win over the
user's own, which are read as well. With `--config` those would not be.
"""

import os
import sys

sys.modules["rfc3987_syntax"] = None

import tljh_server  # noqa: E402
from jupyterlab.labapp import main  # noqa: E402

tljh_server.use_settings_in(os.path.dirname(__file__))
sys.argv[0] = "jupyter-lab"
sys.exit(main())
