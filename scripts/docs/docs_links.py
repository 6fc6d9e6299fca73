"""A hook of MkDocs (mkdocs.yml): pages may link to files of the repository, which then are part of the site.

``[...](../conf/model/r3d_18.yaml)`` leads to the file on GitHub and in an editor; MkDocs finds only files in docs/.
So every linked file below conf/ and multirun_examples/ is copied into the site, and such a link loses the ``../`` that
leaves docs/. A link to a file that is not there stays as it is, and fails ``mkdocs build --strict``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FOLDERS = ("conf", "multirun_examples")
_LINK = re.compile(rf"\]\((?P<up>(?:\.\./)+)(?P<file>(?:{'|'.join(FOLDERS)})/[^)]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages may link to."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    for path in sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.*")):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ at the files added above."""
    leaves = "../" * (page.file.src_uri.count("/") + 1)

    def inside(link: re.Match[str]) -> str:
        return f"]({link['up'].removeprefix('../')}{link['file']})" if link["up"] == leaves else link[0]

    return _LINK.sub(inside, markdown)
