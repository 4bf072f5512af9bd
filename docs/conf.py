"""Sphinx settings of the manual: `make docs`."""

from resilient import __version__

project = "resilient-connect"
author = "The resilient authors"
copyright = author
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # the slugs that GitHub makes, so that links work in both places
html_theme = "furo"
html_title = f"resilient {__version__}"
html_show_copyright = False
