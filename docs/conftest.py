"""What pytest leaves out here: all but pages whose libraries are installed."""

from importlib.util import find_spec

NEEDED = {"other_libraries.rst": ("cleanlab", "imblearn")}

collect_ignore = [
    page for page, names in NEEDED.items() if not all(map(find_spec, names))
]
collect_ignore_glob = ["*.py", "_*", "api", "gallery", "results"]
