"""A report as one HTML page that needs neither network nor script."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.report.document import Document
from trainer.printable import printable


def page(document: Document) -> str:
    """The page's HTML. Everything that comes from data, names or sweep files is escaped.

    So are characters that act where text is shown: the page never has them itself.
    """
    environment = Environment(
        loader=PackageLoader("orchestrator.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Only our own CSS and the figures, which escape their texts themselves, are not escaped.
    css = Markup(resources.files("orchestrator.report").joinpath("page.css").read_text("utf-8"))
    drawn = {figure.key: Markup(figure.inline()) for figure in document.figures()}
    template = environment.get_template("page.html")
    return printable(template.render(document=document, css=css, drawn=drawn))
