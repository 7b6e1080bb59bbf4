"""Change modules of speechtok in every Python process that is started from here on, Ray's and readers included."""

SITE = """
import importlib.abc, importlib.machinery, sys

{prelude}
CHANGES = {changes!r}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            exec(CHANGES[name], module.__dict__)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def write_site(folder, changes, prelude=""):
    """Write a folder that, on PYTHONPATH, runs lines in a module once it is imported: {module: lines}."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(SITE.format(changes=changes, prelude=prelude))
    return folder
