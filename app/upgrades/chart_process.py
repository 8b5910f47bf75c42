"""The process that draws charts, and ends: `python -m app.upgrades.chart_process`.

On its standard input are Vega-Lite specifications, a JSON list; on its standard output, as many SVG elements, likewise.
Nothing else imports `vl_convert`, which runs JavaScript: it takes a second to start and 100 MiB, and while it draws
nothing else of its process runs. Nothing is loaded from anywhere, and the SVG runs nothing: a page with it stays one
file that its own policy admits.
"""

import json
import sys

import vl_convert


def main() -> None:
    charts = json.load(sys.stdin)
    json.dump([vl_convert.vegalite_to_svg(chart, allowed_base_urls=[]) for chart in charts], sys.stdout)


if __name__ == "__main__":
    main()
