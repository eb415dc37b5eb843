"""What setup.cfg cannot say: in a wheel, tools/ and experiments/ are inside the package.

They stay folders beside it in a checkout, where tools are run as files.
"""

import setuptools

FOLDERS = {"lvm_jax.tools": "tools", "lvm_jax.experiments": "experiments"}


def packages() -> list[str]:
    """All packages, by their names in the wheel."""
    found = setuptools.find_packages(include=["lvm_jax", "lvm_jax.*"])
    for package, folder in FOLDERS.items():
        inside = setuptools.find_namespace_packages(folder, exclude=["results*"])
        found += [package, *(f"{package}.{name}" for name in inside)]
    return found


setuptools.setup(packages=packages(), package_dir=FOLDERS)
