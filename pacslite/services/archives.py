"""Which archive an association is for."""

from collections.abc import Iterator, Mapping
from typing import Final

from pacslite.archive.archive import Archive
from pacslite.settings.schema import Settings


class Archives:
    """The node's archives by called AE title.

    Parameters
    ----------
    settings
        Of the node; AE titles were checked to be unique.
    archives
        By name.
    """

    def __init__(self, settings: Settings, archives: Mapping[str, Archive]) -> None:
        self._ignores_case: Final = settings.admission.ignore_ae_title_case
        self._archives = archives
        self._default = archives[settings.archives[0].name]
        self._by_title = {
            self._fold(title): archives[archive.name]
            for archive in settings.archives
            for title in archive.titles(settings)
        }

    def __iter__(self) -> Iterator[Archive]:
        return iter(self._archives.values())

    def called(self, called_ae_title: str) -> Archive:
        """Return the archive that `called_ae_title` leads to; the first one if admission let another in."""
        return self._by_title.get(self._fold(called_ae_title), self._default)

    def _fold(self, title: str) -> str:
        return title.upper() if self._ignores_case else title
