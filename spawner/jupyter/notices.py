"""What JupyterLab tells its user by itself: that the home is full. It has one plugin for that and for news of Jupyter.

Until somebody has answered, that plugin asks each user whether they want news, which no class needs. So it is switched
on in a full home only, and there the question is answered (labconfig/default_setting_overrides.json).
"""

from jupyterlab.handlers.announcements import CheckForUpdateABC

import home

PLUGIN = "@jupyterlab/apputils-extension:announcements"

HOME_IS_FULL = (
    "Your home folder is full, so nothing can be saved. Delete files that you do not need, also in the folder .local "
    "and in Trash, then stop and start your server. Your teacher can give you more room."
)


class HomeIsFull(CheckForUpdateABC):
    """What JupyterLab asks when a page is opened, for the newest version. Its answer is shown as it is."""

    async def __call__(self):
        return HOME_IS_FULL if home.is_full() else None


def without_news(handler, page_config):
    if not home.is_full():
        page_config["disabledExtensions"] = [*page_config.get("disabledExtensions", []), PLUGIN]
    return page_config
