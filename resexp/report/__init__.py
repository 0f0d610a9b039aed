"""Reports on experiments: one self-contained HTML file, or the same content as Markdown or plain text."""

from resexp.report.content import READ_FILES
from resexp.report.pages import html
from resexp.report.pictures import FIGURE_FORMATS, Pictures, figures_of, restricted, save_chart, save_figures
from resexp.report.plain import markdown, text

FORMATS = {"html": html, "md": markdown, "text": text}
