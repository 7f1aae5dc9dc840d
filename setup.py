"""What pyproject.toml cannot say: the top level's ``conf/`` is ``anneal/conf`` in the wheel.

An editable install copies nothing: it reads the checkout's own.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONF = Path("conf")


class BuildWithConf(build_py):
    """Builds the package as ever, and adds the files of ``conf/`` to it."""

    def run(self) -> None:
        """Copy the modules, then ``conf/`` in place of what an earlier build left."""
        super().run()
        if not self.editable_mode:
            shutil.rmtree(self._copied(CONF), ignore_errors=True)
            for file in self._files():
                self._copied(file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, self._copied(file))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return what the build makes, the copies of ``conf/`` too."""
        copies = [] if self.editable_mode else [str(self._copied(file)) for file in self._files()]
        return [*super().get_outputs(include_bytecode), *copies]

    def get_source_files(self) -> list[str]:
        """Return what a source distribution needs."""
        return [*super().get_source_files(), *map(str, self._files())]

    def _files(self) -> list[Path]:
        return sorted(CONF.rglob("*.yaml"))

    def _copied(self, file: Path) -> Path:
        return Path(self.build_lib) / "anneal" / file


setup(cmdclass={"build_py": BuildWithConf})
