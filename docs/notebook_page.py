"""A hook of mkdocs: makes the page of the site from the notebook, which is committed without
outputs."""

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NAME = "notebook.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``notebook.md``; the notebook itself is copied beside it."""
    notebook = files.get_file_from_path(NAME)
    assert notebook is not None
    title, *cells = json.loads(notebook.content_string)["cells"]
    parts = [
        "".join(title["source"]),
        f"<a href='{NAME}' download>Download the notebook</a>, which makes the pictures and numbers.",
    ]
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    files.append(File.generated(config, "notebook.md", content="\n\n".join(parts)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Let links to the notebook, which lead to the file in the repository, lead to its page."""
    return markdown.replace(f"]({NAME})", "](notebook.md)")
