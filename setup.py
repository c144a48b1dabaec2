"""Packaging: everything is read from settings.ini, the one place for it."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read(Path(__file__).parent / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]

extras = {name.removesuffix("_requirements"): settings[name].split()
          for name in settings if name.endswith("_requirements")}

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    author_email=settings["author_email"],
    url=settings["git_url"],
    project_urls={"Documentation": settings["doc_host"]},
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=settings["keywords"].split(),
    classifiers=["Intended Audience :: Education", "Programming Language :: Python :: 3"],
    packages=find_packages(include=["slugnet", "slugnet.*"]),
    package_data={"slugnet": ["py.typed", "*.npz"]},
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require=extras,
)
