"""What mkdocs loads: pages made from the code, formulas as MathML, and reports of runs made now."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from mkdocs.structure.files import File

from _pages import cells, checks, formulas, mistakes, python, runs, snippets

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made from the code, and the reports and pictures of runs."""
    for make in (cells.pages, checks.pages, mistakes.pages, python.pages):
        for path, text in make():
            files.append(File.generated(config, path, content=text))
    for path, content in runs.made():
        files.append(File.generated(config, path, content=content))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pages = [file for file in files.documentation_pages() if not file.generated_by]
        list(pool.map(lambda file: snippets.with_outputs(file.content_string, file.src_uri), pages))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas between dollar signs become MathML; commands have their output, and pictures of experiments stand in the page."""
    top = "../" * page.file.src_uri.count("/")
    return formulas.in_page(snippets.with_outputs(runs.in_page(markdown, top), page.file.src_uri))
