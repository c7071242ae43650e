"""Which archive an association is for."""

from collections.abc import Iterator, Mapping

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

    Attributes
    ----------
    ignores_case
        Whether AE titles that differ in case only are the same; may change while the node runs.
    """

    def __init__(self, settings: Settings, archives: Mapping[str, Archive]) -> None:
        self.ignores_case = settings.admission.ignore_ae_title_case
        self._archives = archives
        self._default = archives[settings.archives[0].name]
        self._by_title = {
            title: archives[archive.name]
            for archive in settings.archives
            for title in archive.titles(settings)
        }
        self._by_folded_title = {title.upper(): archive for title, archive in self._by_title.items()}

    def __iter__(self) -> Iterator[Archive]:
        return iter(self._archives.values())

    def called(self, called_ae_title: str) -> Archive:
        """Return the archive that `called_ae_title` leads to; the first one if admission let another in."""
        archive = self._by_title.get(called_ae_title)
        if archive is None and self.ignores_case:
            archive = self._by_folded_title.get(called_ae_title.upper())
        return archive or self._default
